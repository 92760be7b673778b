"""Typed params: each section of a YAML file is read into a frozen struct."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from bottletop.core.addresses import masked
from bottletop.core.errors import ParamsError

T = TypeVar("T")
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """A safe loader that reads 1e-4 as a number, as YAML 1.2 and DVC do; PyYAML reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), "-+0123456789"
)


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
        message, _, location = str(error).partition(" - at `$")
        location = location.rstrip("`")
        message += _allowed(kind, message, location)
        found = masked(repr(_value_at(values, location)))
        got = f"{'' if ', got `' in message else ', got'} {found}" if location else ""
        raise ParamsError(f"{section}{location}: {message[0].lower()}{message[1:]}{got}", f"edit {path}") from error


def _allowed(kind: Any, message: str, location: str) -> str:
    """Returns the allowed keys or values as text, where msgspec's message omits them."""
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
    """Returns the value at a location in msgspec's notation, such as ``.urls[0]``."""
    for key in location.replace("[", ".").replace("]", "").split(".")[1:]:
        if isinstance(values, list | tuple):
            values = values[int(key)] if key.isdigit() else values
        elif isinstance(values, dict):
            values = values.get(key, values)  # for "[...]", which means any key, keep the whole table
    return values
