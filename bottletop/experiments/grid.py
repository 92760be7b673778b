"""The points of a sweep: every combination of the given values. All are checked before anything runs."""

import difflib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from bottletop.core.errors import ParamsError
from bottletop.core.mistakes import mistakes
from bottletop.core.paths import PARAMS
from bottletop.core.settings import load, parse_yaml, read_yaml
from bottletop.params_file import SECTIONS, ParamsFile

COSTLY = {"download", "extract", "train.model"}  # sections and settings that change images or features


class Point(NamedTuple):
    """One experiment of a sweep."""

    name: str  # of the DVC experiment and of the MLflow run
    overrides: Mapping[str, Any]  # value of each changed setting, by its name, such as "train.epochs"

    @property
    def features(self) -> str:
        """A text that is equal for points that train on the same features."""
        return json.dumps(
            {key: value for key, value in self.overrides.items() if {key, key.partition(".")[0]} & COSTLY}
        )

    def with_seed(self, seed: int) -> "Point":
        """The same point with another training seed, which its name then includes."""
        return Point(f"{self.name},seed={seed}", {**self.overrides, "train.seed": seed})


def points(settings: Sequence[str]) -> list[Point]:
    """All combinations of settings such as ``train.epochs=5,10``, in the given order; the last one changes fastest.

    Raises:
        ParamsError: a setting is unknown or given twice, has no value, or a value is not allowed.
    """
    axes: dict[str, list[Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not text:
            raise ParamsError(f"'{setting}' is not a setting with values", "write, for example, train.epochs=5,10,20")
        if key in axes:
            raise ParamsError(f"{key} is given twice", "write all its values in one, such as train.epochs=5,10,20")
        check_key(key)
        axes[key] = _values(key, text)
    found: dict[str, Point] = {}
    params = _valid_params()
    for values in itertools.product(*axes.values()):
        overrides = dict(zip(axes, values, strict=True))
        name = _name(overrides)
        _refuse_mistakes(params, overrides, f"the sweep's {name}")
        if name in found:  # "a b" and "a-b" give the same name
            name += f",{len(found)}"
        found[name] = Point(name, overrides)
    return list(found.values())


def with_overrides(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the whole params.yaml with some settings changed."""
    changed = {section: dict(values) if isinstance(values, dict) else values for section, values in params.items()}
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if name:
            changed[section][name] = value
        else:
            changed[section] = value
    return changed


def setting(text: str) -> tuple[str, Any]:
    """Parses a setting such as ``train.epochs=5`` into key and value.

    Raises:
        ParamsError: the setting is unknown, cannot be read, or does not have exactly one value.
    """
    key, _, value = text.partition("=")
    values = _values(key, value)
    if len(values) != 1:
        raise ParamsError(f"'{text}' is not a setting with one value", "write, for example, train.epochs=5")
    check_key(key)
    return key, values[0]


def check(overrides: Mapping[str, Any], origin: str) -> None:
    """Checks params.yaml, and the settings that an experiment would change.

    Args:
        overrides: value of each changed setting, by its name.
        origin: where these values come from, for the message.

    Raises:
        ParamsError: a value is not allowed.
    """
    _refuse_mistakes(_valid_params(), overrides, origin)


def _valid_params() -> dict[str, Any]:
    load(ParamsFile, "", PARAMS)
    return dict(read_yaml(PARAMS))


def _refuse_mistakes(params: Mapping[str, Any], overrides: Mapping[str, Any], origin: str) -> None:
    found = mistakes(ParamsFile, with_overrides(params, overrides))
    if found:
        raise ParamsError(f"{origin}: {'; '.join(map(str, found))}", "give other values; params.yaml itself is valid")


def check_key(key: str) -> None:
    """Checks that params.yaml has the setting.

    Raises:
        ParamsError: params.yaml does not have it.
    """
    known = [f"{section}.{name}" for section in SECTIONS for name in read_yaml(PARAMS).get(section) or {}]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or known
        raise ParamsError(f"params.yaml has no setting '{key}'", f"did you mean {', '.join(near)}?")


def _values(key: str, text: str) -> list[Any]:
    """Parses ``5,10`` into two numbers and ``[256],[100,50]`` into two lists; repeated values are dropped."""
    try:
        values = parse_yaml(f"[{text}]")
    except yaml.YAMLError as error:
        raise ParamsError(f"{key}={text} can't be read", "write values with commas between them") from error
    return [value for position, value in enumerate(values) if value not in values[:position]]


def _name(overrides: Mapping[str, Any]) -> str:
    """A name that git allows, such as ``epochs=5,batch_size=16``."""
    return ",".join(f"{key.removeprefix('train.')}={_slug(value)}" for key, value in overrides.items())


def _slug(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(_slug, value)) or "none"
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", str(value).lower()).strip(".-") or "none"
