"""Finds what killed commands left behind: locks that block other commands, and files that nobody needs."""

import base64
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import psutil

from bottletop.core.files import read_json
from bottletop.doctor.dvc_cache import RECORDS, settings
from bottletop.doctor.findings import Finding, note, ok, problem, some, warning
from bottletop.features.reuse import is_recorded
from bottletop.tracking.owner import LOCK, dvc_commands, is_dvc, lock_holders

TEMPORARY = Path(".dvc/tmp")
EXPERIMENTS = TEMPORARY / "exps"
QUEUED = "dvc.repo.experiments.queue.tasks.run_exp"  # DVC's name for the task that runs a queued experiment


def records() -> Iterator[Finding]:
    """Checks what DVC records of the stages. It writes these files in place: a killed command may have begun one."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    for path in filter(Path.exists, RECORDS):
        try:
            strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
        except DvcException:
            restored = "the next dvc repro takes from the cache what was made since"
            yield problem(
                f"DVC refuses {path}: a killed command left it half-written",
                f"git checkout -- {path} || rm -f {path} # {restored}",
            )


def locks() -> Iterator[Finding]:
    """Checks for locks that block the next command: of dead commands, or with a PID that another program has now."""
    yield from _path_locks(LOCK)
    yield from _lock_files()
    yield ok("nothing blocks the next command")


def _path_locks(path: Path) -> Iterator[Finding]:
    """Checks DVC's record of which process reads or writes which path.

    DVC drops the entries of dead processes, and waits for any other process.
    """
    try:
        pids = lock_holders(path)
    except ValueError:
        yield problem(f"{path} is not JSON: a killed command left it half-written", f"rm -f {path}")
        return
    for pid in sorted(pids):
        if not psutil.pid_exists(pid):
            yield note(f"{path} names process {pid}, which has ended: the next command removes it")
        elif is_dvc(psutil.Process(pid)):
            yield note(f"DVC is running here (PID {pid}): the files that it works on are locked")
        else:
            yield problem(f"{path} names process {pid}, which is not DVC (any more): DVC waits for it", f"rm -f {path}")


def _lock_files() -> Iterator[Finding]:
    """Checks DVC's lock files.

    The operating system releases the lock of a dead command. With ``core.hardlink_lock``, however, the existence of the
    file is the lock.
    """
    found = [path for path in (TEMPORARY / "lock", TEMPORARY / "rwlock.lock") if path.exists()]
    if found and settings()["core"].get("hardlink_lock") and not dvc_commands(Path.cwd()):
        yield problem(
            f"no DVC command runs here, and yet there is {some(found)} (core.hardlink_lock)",
            f"rm -f {_arguments(found)}",
        )


def leftovers() -> Iterator[Finding]:
    """Finds the half-written files, unfinished work and temporary experiments of killed commands."""
    if running := dvc_commands(Path.cwd()):
        yield ok(f"not looked for while DVC runs here (PID {running[0]})")
        return
    unfinished = [path for folder in ("data", "metrics") for path in Path(folder).rglob(".*.unfinished")]
    if unfinished:
        yield note(
            f"a killed stage left {some(unfinished)} ({_size(unfinished)}): its next run removes it",
            f"rm -rf {_arguments(unfinished)}",
        )
    half_linked = [path for folder in ("data", "metrics") for path in Path(folder).rglob(".*.tmp")]
    if half_linked:
        yield note(
            f"a killed DVC left {some(half_linked)} ({_size(half_linked)}), which nobody needs",
            f"rm -f {_arguments(half_linked)}",
        )
    for work, kept in (("extraction", "features/*-*"), ("training", "training/*")):
        if found := [path for path in (TEMPORARY / "bottletop").glob(kept) if not is_recorded(path)]:
            yield note(
                f"a killed {work} left {some(found)} ({_size(found)}): the next one goes on from there",
                f"rm -rf {_arguments(found)}",
            )
    yield from _killed_tasks()
    experiments = [path for place in (".", "standalone") for path in (EXPERIMENTS / place).glob("tmp*")]
    if experiments:
        yield note(
            f"a killed experiment left {some(experiments)} ({_size(experiments)})",
            f"rm -rf {_arguments(experiments)}",
        )
    yield ok("none")


def _killed_tasks() -> Iterator[Finding]:
    """Finds queued experiments whose worker was killed: DVC lists them as running for ever.

    DVC's command that removes them ends the process whose number the worker noted. If another program has that number
    now, the note is removed first.
    """
    names, taken = [], []
    for path in sorted((EXPERIMENTS / "celery/broker/processed").glob("*.celery.msg")):
        message = read_json(path)
        task = message["headers"]
        if task["task"] == QUEUED and not (EXPERIMENTS / f"celery/result/celery-task-meta-{task['id']}").exists():
            [entry], *_ = json.loads(base64.b64decode(message["body"]))
            revision = entry["stash_rev"]
            names.append(entry["name"] or revision)
            process = EXPERIMENTS / f"run/{revision}/{revision}.json"
            if process.exists() and psutil.pid_exists(read_json(process)["pid"]):
                taken.append(process)
    if names:
        forget = f"rm -f {_arguments(taken)}; " if taken else ""
        yield warning(
            f"the worker of {some(names)} was killed, and yet dvc queue status says Running",
            f"{forget}dvc queue kill --force {shlex.join(names)}",
        )


def _size(paths: list[Path]) -> str:
    """The space that removing the files and folders frees: files with further hard links do not count."""
    files = (file for path in paths for file in (path, *path.rglob("*")) if not file.is_dir())
    return f"{sum(file.lstat().st_size for file in files if file.lstat().st_nlink == 1) / 1e6:.1f} MB"


def _arguments(paths: list[Path]) -> str:
    return shlex.join(map(str, paths))
