"""Recipes: files in ``recipes/`` with settings that belong together. One command runs a recipe as an experiment."""

import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bottletop.core.errors import ArtefactError, ParamsError
from bottletop.core.files import write_text
from bottletop.core.paths import PARAMS
from bottletop.core.settings import differences, parse_yaml, read_yaml
from bottletop.core.terminal import say
from bottletop.experiments import refs
from bottletop.experiments.grid import check, check_key, setting
from bottletop.tracking.origin import git

FOLDER = Path("recipes")


def listing() -> str:
    """One line per recipe: its name and title."""
    names = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
    width = max(map(len, names), default=0)
    return "\n".join(f"{name:{width}}  {_read(name).get('title', '')}" for name in names)


def run(name: str, changes: Sequence[str]) -> None:
    """Runs the recipe as a DVC experiment of the same name; if that is taken, ``name-2`` and so on.

    Args:
        name: of the recipe.
        changes: settings that override the recipe's, such as ``train.epochs=5``.

    Raises:
        ParamsError: there is no such recipe, or a setting is not allowed.
        ArtefactError: there is no commit, git does not know the user, or a stage failed; params.yaml is as before then.
    """
    overrides = {**settings(name), **dict(map(setting, changes))}
    for key in overrides.keys() - {"datasets"}:
        check_key(key)
    check(overrides, f"recipe {name}")
    refs.refuse_anonymous()
    command = ["dvc", "exp", "run", "--name", _free(name), *refs.options(overrides)]
    say(shlex.join(command))
    with _tidied(overrides):
        if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            raise ArtefactError(f"recipe {name} failed, see above")


@contextmanager
def _tidied(overrides: Mapping[str, Any]) -> Iterator[None]:
    """Puts back what DVC changes and should not, and params.yaml if the block fails.

    DVC deletes the results of datasets that the recipe does not list. It writes the recipe's settings into params.yaml,
    and leaves them there if it fails. They stay if somebody has edited other settings since.
    """
    before, missing = PARAMS.read_text(encoding="utf-8"), _deleted_results()
    try:
        yield
    except BaseException:
        with suppress(ParamsError):  # an edited file that is no YAML
            if set(differences(parse_yaml(before), read_yaml(PARAMS))) <= overrides.keys():
                write_text(PARAMS, before)
        raise
    finally:
        if lost := sorted(_deleted_results() - missing):
            subprocess.run(["git", "restore", "--", *lost], check=True)


def settings(name: str) -> dict[str, Any]:
    """The recipe's values, by the name of the setting, such as ``train.epochs``.

    Raises:
        ParamsError: there is no such recipe.
    """
    found: dict[str, Any] = {}
    for section, values in _read(name).items():
        if isinstance(values, Mapping):
            found |= {f"{section}.{key}": value for key, value in values.items()}
        elif section != "title":
            found[section] = values
    return found


def _read(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(each.stem for each in sorted(FOLDER.glob("*.yaml")))
        raise ParamsError(f"there is no recipe {name!r}, only {known}", f"add {path} for one of your own")
    return dict(read_yaml(path) or {})


def _deleted_results() -> set[str]:
    """The committed results that are not in the workspace."""
    return set(filter(None, git("ls-files", "--deleted", "-z", "metrics").split("\0")))


def _free(name: str) -> str:
    """The name or, if an experiment on this commit has it, the name with the first free number."""
    baseline, tried, number = refs.workspace().baseline, name, 1
    while refs.find(baseline, tried) is not None:
        number += 1
        tried = f"{name}-{number}"
    return tried
