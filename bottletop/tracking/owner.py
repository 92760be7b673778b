"""Which process an unfinished run belongs to, so that a killed process's run can be told from a live one."""

import json
import socket
from pathlib import Path

import psutil

from bottletop.core.paths import repository
from bottletop.tracking.origin import HIDDEN

LOCK = Path(".dvc/tmp/rwlock")  # in which DVC lists the processes that read or write files of the workspace
HOST, PID, STARTED = (f"{HIDDEN}bottletop.{name}" for name in ("host", "pid", "process_started"))
FOLDER = f"{HIDDEN}bottletop.folder"  # of the main repository


def owner_tags() -> dict[str, str]:
    """Tags that identify the clone and the DVC command that runs this stage, or this process if it is run by hand."""
    me = psutil.Process()
    process = next((parent for parent in me.parents() if is_dvc(parent)), me)
    own = {PID: str(process.pid), STARTED: _started(process), FOLDER: str(repository())}
    return {HOST: socket.gethostname(), **own}


def is_gone(tags: dict[str, str]) -> bool:
    """Whether the process that `owner_tags` identified has ended.

    False for processes of other machines, whose state is unknown here.
    """
    if tags.get(HOST) != socket.gethostname() or PID not in tags:
        return False
    try:
        process = psutil.Process(int(tags[PID]))
        return _started(process) != tags.get(STARTED) or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _started(process: psutil.Process) -> str:
    """When the process started, in seconds: a number that stays the same when somebody sets the clock.

    Linux knows how long after the boot a process started. psutil adds the time of the boot, which moves with the clock,
    so it is taken away again. macOS notes the time of the start once.
    """
    return f"{process.create_time() - (psutil.boot_time() if psutil.LINUX else 0):.2f}"


def dvc_commands(root: Path) -> list[int]:
    """The ids of the DVC processes that run in the repository at `root`, including queued and temporary experiments."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root) and is_dvc(process):
                found.append(process.pid)
        except psutil.Error:  # it has ended, or belongs to another user
            continue
    return found


def lock_holders(lock: Path = LOCK) -> set[int]:
    """The ids of the DVC processes that read or write files of this workspace; some may have ended.

    Raises:
        ValueError: the lock is half-written, by a command that is still writing it or was killed.
    """
    try:
        held = json.loads(lock.read_text(encoding="utf-8")) if lock.exists() else {}
        holders = (holder for paths in held.values() for holder in paths.values())
        entries = (entry for holder in holders for entry in (holder if isinstance(holder, list) else [holder]))
        return {int(entry["pid"]) for entry in entries}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{lock} is damaged") from error


def is_dvc(process: psutil.Process) -> bool:
    """Whether this is a `dvc` command: the program, or Python with its script, its module or `experiments.alone`."""
    try:
        program, *arguments = (Path(part).name for part in process.cmdline()[:4] or [""])
    except psutil.Error:  # it has ended, or belongs to another user
        return False
    return program == "dvc" or (program.startswith("python") and "dvc" in arguments)
