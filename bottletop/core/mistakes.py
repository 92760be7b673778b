"""Mistakes in settings: each value that its type does not allow, with what was found and what is allowed."""

import difflib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
import yaml

from bottletop.core.addresses import masked

SHOWN = 200  # characters of a wrong value, at most
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
}


class Mistake(NamedTuple):
    """A value that is not allowed."""

    place: tuple[str | int, ...]  # the keys and positions that lead to it
    problem: str  # what is wrong; a predicate, of which the place is the subject

    def __str__(self) -> str:
        return f"{dotted(self.place)} {self.problem}" if self.place else self.problem.removeprefix("is wrong: ")


def mistakes(kind: Any, values: Any) -> list[Mistake]:
    """Returns everything that is wrong with plain values, as parsed from YAML or JSON.

    Args:
        kind: a params struct, or another type that msgspec knows.
        values: what should be of this type.
    """
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        return list(_within(kind, values)) or [Mistake((), _problem(kind, values, error))]
    return []


def dotted(place: tuple[str | int, ...]) -> str:
    """Returns a place as people write it, such as ``train.hidden[1]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


def line_of(text: str | bytes, place: tuple[str | int, ...]) -> int | None:
    """Returns the line, from 1, of the innermost key of `place` that a YAML text has; None if it has none."""
    line, node = None, yaml.compose(text, yaml.SafeLoader)
    for key in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((name, value) for name, value in node.value if name.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found = (node.value[key], node.value[key])
        else:
            found = None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _within(kind: Any, values: Any) -> Iterator[Mistake]:
    """Yields the mistakes in the members of a section, list or table."""
    section = _section(kind)
    if section is not None and isinstance(values, dict):
        fields = msgspec.structs.fields(section)
        known = {field.name for field in fields}
        yield from (Mistake((str(key),), _unknown(section, str(key))) for key in values if key not in known)
        yield from (Mistake((each.name,), "is missing") for each in fields if each.required and each.name not in values)
    if get_origin(kind) is dict and isinstance(values, dict):
        for key in values:
            yield from (Mistake((str(key),), f"is a wrong name: {each}") for each in mistakes(get_args(kind)[0], key))
    for key, member in _members(kind, values):
        place = key if isinstance(values, list) else str(key)
        yield from (Mistake((place, *each.place), each.problem) for each in mistakes(member, values[key]))


def _members(kind: Any, values: Any) -> list[tuple[Any, Any]]:
    """Returns the key or position of each member, and its type."""
    section, origin, arguments = _section(kind), get_origin(kind), get_args(kind)
    if section is not None and isinstance(values, dict):
        return [(field.name, field.type) for field in msgspec.structs.fields(section) if field.name in values]
    if origin is tuple and isinstance(values, list):
        return [(position, arguments[0]) for position in range(len(values))]
    if origin is dict and isinstance(values, dict):
        return [(key, arguments[1]) for key in values]
    return next(filter(None, (_members(each, values) for each in arguments)), [])  # of a union, or below bounds


def _section(kind: Any) -> type[msgspec.Struct] | None:
    """Returns the struct that a type is or allows, as in ``Labels | None``."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return None if get_origin(kind) in (tuple, dict) else next(filter(None, map(_section, get_args(kind))), None)


def _names(section: type[msgspec.Struct]) -> list[str]:
    """Returns the names of all settings of a section and of the sections within it, such as ``train.epochs``."""
    found = []
    for field in msgspec.structs.fields(section):
        inner = _section(field.type)
        found += [field.name, *(f"{field.name}.{name}" for name in (_names(inner) if inner else ()))]
    return found


def _unknown(section: type[msgspec.Struct], key: str) -> str:
    """Says which setting an unknown one may be: one of a similar name, or one of that name in another section."""
    names = _names(section)
    own = [name for name in names if "." not in name]
    near = difflib.get_close_matches(key.lower(), own, n=1) or [name for name in names if name.endswith(f".{key}")]
    return "is unknown: " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(own)}")


def _problem(kind: Any, values: Any, error: msgspec.ValidationError) -> str:
    """Says what is wrong with a value whose members, if it has any, are right one by one."""
    if isinstance(error.__cause__, ValueError):  # from a rule of the section
        return f"is wrong: {error.__cause__}"
    found, section = masked(shown(values)), _section(kind)
    if section is not None and not isinstance(values, dict):
        names = ", ".join(field.name for field in msgspec.structs.fields(section))
        return f"must have settings indented below it, {names}; got {found}"
    schema = msgspec.json.schema(kind)
    return f"must be {allowed(schema)}; got {found}{_hint(schema, values)}"


def _hint(schema: dict[str, Any], value: Any) -> str:
    """Says what may have been meant by a wrong value: a similar choice, a list of one, or a decimal point."""
    near = difflib.get_close_matches(str(value).lower(), map(str, _choices(schema)), n=1)
    if near:
        return f": did you mean {near[0]}?"
    if schema.get("type") == "array" and isinstance(value, str | float | int):
        return f": write [{masked(shown(value))}]"
    if schema.get("type") == "number" and isinstance(value, str) and re.fullmatch(r"\d+,\d+", value):
        return f": write {value.replace(',', '.')}"
    return ""


def shown(value: Any) -> str:
    """Returns a plain value as YAML in one line, cut off where it is long."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def allowed(schema: dict[str, Any]) -> str:
    """Describes the values that a JSON schema, as msgspec makes it, allows."""
    if "anyOf" in schema:
        return ", or ".join(map(allowed, schema["anyOf"]))
    if "enum" in schema:
        return ("one of " if len(schema["enum"]) > 1 else "") + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"a list{' that is not empty' if 'minItems' in schema else ''}, each item {allowed(schema['items'])}"
    if "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    if schema.get("type") == "object":
        return "names, each with a value"
    return TYPES.get(schema.get("type", ""), "a section") + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if schema.get("type") == "integer" and below is not None:
        most, below = below - 1, None
    if least is not None:
        end = f"to {most}" if most is not None else f"to below {below}" if below is not None else "on"
        return f" from {least} {end}"
    ends = {"above": above, "below": below, "at most": most}
    return "".join(f", {word} {end}" for word, end in ends.items() if end is not None)


def _choices(schema: dict[str, Any]) -> list[Any]:
    """Returns the values that a schema lists."""
    return [*schema.get("enum", ()), *(value for each in schema.get("anyOf", ()) for value in _choices(each))]
