"""`python -m bottletop.experiments.alone dvc exp run --temp …`: runs DVC's command safely beside others of its kind.

All such commands share one stash of waiting experiments, and each command runs experiments until the stash is empty.
DVC assumes that the stash never holds more than one (its pull request 7894; several at a time were asked for in its
issue 5718). A command that ends just as another begins therefore runs the other's experiment too: a second time, and
without its name. Here each command runs only the experiment that it has stashed itself.
"""

import inspect
import sys
from importlib.metadata import version
from typing import Any

from filelock import FileLock

from bottletop.core.errors import ArtefactError, exit_on_error, exit_on_sigterm
from bottletop.core.paths import repository

STARTING = FileLock(repository() / ".dvc/tmp/bottletop/starting")  # held while an experiment is in the stash
PARAMETERS = {  # of the methods of DVC's TempDirQueue, which are not part of its public interface
    "get": ["self"],
    "reproduce": ["self", "copy_paths", "message"],
    "_reproduce_entry": ["self", "entry", "executor", "copy_paths", "message", "kwargs"],
}


def run_one_each() -> None:
    """Makes this process's DVC take one experiment from the stash instead of all.

    Raises:
        ArtefactError: DVC's queue is not the one that this was written for.
    """
    try:
        from dvc.repo.experiments.queue.tempdir import TempDirQueue

        found = {name: list(inspect.signature(getattr(TempDirQueue, name)).parameters) for name in PARAMETERS}
    except (ImportError, AttributeError) as error:
        raise _other(str(error)) from error
    for name, expected in PARAMETERS.items():
        if found[name] != expected:
            raise _other(f"TempDirQueue.{name} takes {', '.join(found[name])}, expected {', '.join(expected)}")
    TempDirQueue.reproduce = _reproduce_one


def _reproduce_one(queue: Any, **options: Any) -> Any:
    """Takes one experiment from the stash, releases the lock, and runs the experiment."""
    entry, executor = queue.get()
    STARTING.release()
    return queue._reproduce_entry(entry, executor, **options)


def _other(difference: str) -> ArtefactError:
    return ArtefactError(
        f"DVC {version('dvc')} can't run experiments side by side here ({difference})",
        "make install, for the version in requirements.lock",
    )


if __name__ == "__main__":
    from dvc.cli import main

    with exit_on_error("sweep"):
        run_one_each()
    exit_on_sigterm()
    STARTING.acquire()
    sys.exit(main(sys.argv[2:]))
