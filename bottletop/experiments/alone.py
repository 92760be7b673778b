"""`python -m bottletop.experiments.alone dvc exp run --temp …`: runs DVC's command safely beside others of its kind.

In DVC 3, all such commands share one queue, and each command runs experiments until the queue is empty. A command that
ends just as another begins therefore runs the other's experiment too: a second time, and without its name. Here each
command runs only the experiment that it has queued itself.
"""

import sys
from typing import Any

from dvc.cli import main
from dvc.repo.experiments.queue import tempdir
from filelock import FileLock

from bottletop.core.paths import repository

STARTING = FileLock(repository() / ".dvc/tmp/bottletop/starting")  # held while an experiment is in the queue


class OneExperiment(tempdir.TempDirQueue):  # type: ignore[misc]
    """DVC's own queue, from which only one experiment is taken."""

    def reproduce(self, *arguments: Any, **options: Any) -> Any:
        """Takes one experiment from the queue, releases the lock, and runs the experiment."""
        entry, executor = self.get()
        STARTING.release()
        return self._reproduce_entry(entry, executor, *arguments, **options)


if __name__ == "__main__":
    tempdir.TempDirQueue = OneExperiment
    STARTING.acquire()
    sys.exit(main(sys.argv[2:]))
