"""One DVC command at a time in a workspace."""

import os
from pathlib import Path

import psutil

from bottletop.core.errors import ArtefactError
from bottletop.core.files import write_text
from bottletop.core.paths import PARAMS
from bottletop.tracking.owner import lock_holders

KEPT = Path(".dvc/tmp/bottletop/params.yaml")  # as the command that works here began


def claim() -> None:
    """Keeps the params.yaml that a command begins with, and refuses a second `dvc exp run` beside it.

    DVC writes the settings of a second one into params.yaml before it finds files locked, and the first, which reads
    params.yaml again as each stage ends, would take them for its own: so those of the first are put back.

    Raises:
        ArtefactError: another command works in this folder.
    """
    own = {process.pid for process in psutil.Process().parents()}
    others = [pid for pid in _holders() - own if psutil.pid_exists(pid)]
    if not others:
        write_text(KEPT, PARAMS.read_text(encoding="utf-8"))
    elif "DVC_EXP_NAME" in os.environ and KEPT.exists():
        write_text(PARAMS, KEPT.read_text(encoding="utf-8"))
        raise ArtefactError(
            f"another DVC command works in this folder (PID {others[0]}), and its params.yaml was put back",
            "wait until it ends, or use dvc exp run --temp",
        )


def _holders() -> set[int]:
    try:
        return lock_holders()
    except ValueError:  # another command is just writing the lock, which DVC reads itself before anything runs
        return set()
