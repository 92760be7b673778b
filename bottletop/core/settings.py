"""Typed params: each section of a YAML file is read into a frozen struct."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from bottletop.core.errors import ParamsError, reason
from bottletop.core.mistakes import Mistake, line_of, mistakes

T = TypeVar("T")
FORM = "what belongs together must begin in the same column, and a space must follow each colon"
HINTS = {  # what to look for, by the words of PyYAML
    "block": FORM,
    "mapping values are not allowed": FORM,
    "expected ':'": FORM,
    "in brackets": "put quotes around it",
    "cannot start any token": "indent with spaces, not with tabs, and put quotes around text with signs",
}
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """A safe loader that reads YAML as DVC does.

    1e-4 is a number, and a key that is there twice is an error, as is a colon in brackets without quotes. PyYAML reads
    text, takes the last one, and takes the colon.
    """

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:
        """Converts a node to a list; raises ConstructorError where a colon in brackets has no quotes."""
        _check_brackets(node, node.value)
        return list(super().construct_sequence(node, deep=deep))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Converts a node to a table; raises ConstructorError as above, and where a key is there twice."""
        _check_brackets(node, (each for pair in node.value for each in pair))
        keys: set[Any] = set()
        for key, _ in node.value:
            if key.value in keys:
                problem = f"found {key.value} a second time"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            keys.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), "-+0123456789"
)


def _check_brackets(node: yaml.CollectionNode, values: Iterable[yaml.Node]) -> None:
    for value in values if node.flow_style else ():
        if isinstance(value, yaml.ScalarNode) and not value.style and ":" in value.value:
            raise yaml.constructor.ConstructorError(None, None, f"found {value.value} in brackets", value.start_mark)


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all params structs: immutable, and unknown keys are refused.

    Each subclass sets kw_only itself, because it is not inherited.
    """


def parse_yaml(text: str | bytes) -> Any:
    """Parses YAML with a safe loader, so no tag in it can run code."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)


def read_yaml(path: Path) -> Any:
    """Parses a YAML file. Each call reads it again, so callers may modify the result.

    Raises:
        ParamsError: the file is missing or is not valid YAML.
    """
    try:
        return parse_yaml(path.read_bytes())
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is missing", "run this from the repository's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {_where(error)}", f"edit {path}") from error


def _where(error: yaml.YAMLError) -> str:
    """Says in one line what is wrong with a YAML text, and in which line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return reason(error)
    said = f"{error.problem} in line {error.problem_mark.line + 1}"
    if error.context_mark:
        said += f", {error.context} from line {error.context_mark.line + 1}"
    return said + next((f"; {hint}" for words, hint in HINTS.items() if words in said), "")


def load(kind: type[T], section: str, path: Path = Path("params.yaml")) -> T:
    """Reads one section, such as ``train`` or ``datasets.digits``, into its struct; the whole file if it is empty.

    Raises:
        ParamsError: the section is missing, a key is unknown, or a value has the wrong type or is out of bounds.
    """
    values = read_yaml(path)
    for key in filter(None, section.split(".")):
        if not isinstance(values, dict) or key not in values:
            found = ", ".join(map(str, values)) if isinstance(values, dict) else repr(values)
            raise ParamsError(f"{path} has no '{section}', only: {found}", f"edit {path}")
        values = values[key]
    return parse(kind, values, section, path)


@contextmanager
def unedited(*sections: str, path: Path = Path("params.yaml")) -> Iterator[None]:
    """Rejects the results of the block if one of the sections was edited while it ran.

    DVC reads params again when a stage ends. It would record the new values with results of the old ones.

    Raises:
        ParamsError: a section changed.
    """
    before = read_yaml(path)
    yield
    after = read_yaml(path)
    for section in sections:
        if section_of(after, section) != section_of(before, section):
            raise ParamsError(
                f"{section} in {path} was edited while this ran, so its results are thrown away", "dvc repro"
            )


def section_of(values: Any, section: str) -> Any:
    """Returns the value under a dotted name, or None if there is none."""
    for key in section.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def differences(before: Any, now: Any) -> list[str]:
    """Returns the dotted names of the values that differ between two sections."""
    found = []
    for key in before | now:
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{key}.{name}" for name in differences(one, other)]
        elif one != other:
            found.append(str(key))
    return found


def parse(kind: type[T], values: Any, section: str, path: Path) -> T:
    """Converts plain values to `kind` and checks types and bounds.

    Args:
        kind: a params struct, or another type that msgspec knows.
        values: as parsed from YAML.
        section: dotted name of the section, for the error message.
        path: file of the section, for the error message.

    Raises:
        ParamsError: a key is missing or unknown, or a value has the wrong type or is out of bounds.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        found = located(mistakes(kind, values), section, path)
        whole = found if len(found) == 1 else [f"{len(found)} mistakes:", *found]
        raise ParamsError("\n  ".join(whole), f"edit {path}") from error


def located(found: Iterable[Mistake], section: str, path: Path) -> list[str]:
    """Returns a line of text for each mistake in a section, with the file and the line where it is."""
    text = path.read_bytes() if path.suffix == ".yaml" and path.exists() else b""
    above = tuple(section.split(".")) if section else ()
    whole = [each._replace(place=(*above, *each.place)) for each in found]
    lines = [line_of(text, each.place) for each in whole]
    return [f"{path}{f', line {line}' if line else ''}: {each}" for line, each in zip(lines, whole, strict=True)]
