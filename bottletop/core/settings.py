"""Typed params: one frozen struct per section of a YAML file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from bottletop.core.errors import ParamsError

T = TypeVar("T")
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """Reads 1e-4 as a number, as YAML 1.2 and DVC do; PyYAML alone takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), "-+0123456789"
)


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every params struct: immutable, unknown keys refused; each adds kw_only, which is not inherited."""


def parse_yaml(text: str | bytes) -> Any:
    """The value that the text describes; never run as code, whatever its tags say."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)


def read_yaml(path: Path) -> Any:
    """The parsed file, read anew each time: what a caller changes is its own."""
    try:
        return parse_yaml(path.read_bytes())
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is missing", "run this from the repository's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}", f"edit {path}") from error


def load(kind: type[T], section: str, path: Path = Path("params.yaml")) -> T:
    """Reads one section, such as ``train`` or ``datasets.digits``, into its struct.

    Raises:
        ParamsError: the section is missing, a key is unknown, or a value has the wrong type or is out of bounds.
    """
    values = read_yaml(path)
    for key in section.split("."):
        if not isinstance(values, dict) or key not in values:
            found = ", ".join(map(str, values)) if isinstance(values, dict) else repr(values)
            raise ParamsError(f"{path} has no '{section}', only: {found}", f"edit {path}")
        values = values[key]
    return parse(kind, values, section, path)


@contextmanager
def unedited(*sections: str, path: Path = Path("params.yaml")) -> Iterator[None]:
    """Refuses what was made meanwhile if a section is another one at the end: DVC reads params anew when a stage has
    ended, and would record the new values as those of the old results.

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
    """The value under a dotted name; None where there is none."""
    for key in section.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def differences(before: Any, now: Any) -> list[str]:
    """The dotted names of values that differ between two sections."""
    found = []
    for key in before | now:
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{key}.{name}" for name in differences(one, other)]
        elif one != other:
            found.append(str(key))
    return found


def parse(kind: type[T], values: Any, section: str, path: Path) -> T:
    """Checks plain values against the struct's types and bounds; see `load`."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        message, _, location = str(error).partition(" - at `$")
        location = location.rstrip("`")
        message += _allowed(kind, message, location)
        got = f"{'' if ', got `' in message else ', got'} {_value_at(values, location)!r}" if location else ""
        raise ParamsError(f"{section}{location}: {message[0].lower()}{message[1:]}{got}", f"edit {path}") from error


def _allowed(kind: Any, message: str, location: str) -> str:
    """What a params struct takes, where msgspec's message leaves that out."""
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType):
        return ""
    if "unknown field" in message and not location:
        return f", known are {', '.join(field.name for field in info.fields)}"
    for field in info.fields:
        types = getattr(field.type, "types", [field.type])
        values = [value for kind in types for value in getattr(kind, "values", ())]
        if values and location == f".{field.name}":
            return f", allowed are {', '.join(map(str, values))}"
    return ""


def _value_at(values: Any, location: str) -> Any:
    """The value that ``.urls[0]`` names."""
    for key in location.replace("[", ".").replace("]", "").split(".")[1:]:
        if isinstance(values, list | tuple):
            values = values[int(key)] if key.isdigit() else values
        elif isinstance(values, dict):
            values = values.get(key, values)  # "[...]" stands for some key: the whole table
    return values
