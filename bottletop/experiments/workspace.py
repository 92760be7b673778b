"""Allows one DVC command at a time in a workspace."""

import os
from itertools import pairwise
from pathlib import Path

import psutil

from bottletop.core.errors import ArtefactError
from bottletop.core.files import write_text
from bottletop.core.paths import PARAMS
from bottletop.core.settings import differences, read_yaml
from bottletop.tracking.origin import EXPERIMENT
from bottletop.tracking.owner import is_dvc, lock_holders

KEPT = Path(".dvc/tmp/bottletop/params.yaml")  # a copy, as it was when the current command began


def claim() -> None:
    """Keeps a copy of the params.yaml that a command begins with, and refuses a second `dvc exp run` beside it.

    DVC writes the settings of the second command into params.yaml before it finds files locked. The first command reads
    params.yaml again as each stage ends, and would take these settings for its own. So the first command's params.yaml
    is put back, unless somebody has edited the file since.

    Raises:
        ArtefactError: this is a `dvc exp run`, and another DVC command works in this folder.
    """
    own = {process.pid for process in psutil.Process().parents()}
    others = [pid for pid in _holders() - own if psutil.pid_exists(pid)]
    if not others:
        write_text(KEPT, PARAMS.read_text(encoding="utf-8"))
    elif EXPERIMENT in os.environ and KEPT.exists():
        settings = _settings_given()
        edited = [name for name in differences(read_yaml(KEPT), read_yaml(PARAMS)) if not name.startswith(settings)]
        if not edited:
            write_text(PARAMS, KEPT.read_text(encoding="utf-8"))
        outcome = (
            f"was edited meanwhile, and has {' '.join(settings)} of this command now" if edited else "was put back"
        )
        raise ArtefactError(
            f"another DVC command works in this folder (PID {others[0]}), and its params.yaml {outcome}",
            "wait until it ends, or use dvc exp run --temp",
        )


def _settings_given() -> tuple[str, ...]:
    """The names of the settings that ``-S`` or ``--set-param`` changes in the DVC command that runs this stage."""
    words = [word for process in psutil.Process().parents() if is_dvc(process) for word in process.cmdline()]
    given = [after for word, after in pairwise(words) if word in ("-S", "--set-param")]
    given += [word.removeprefix("--set-param=") for word in words if word.startswith("--set-param=")]
    return tuple(setting.partition("=")[0].lstrip("+~") for setting in given)


def _holders() -> set[int]:
    try:
        return lock_holders()
    except ValueError:  # another command is writing the lock, which DVC itself reads before it runs anything
        return set()
