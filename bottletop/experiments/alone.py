"""`python -m bottletop.experiments.alone dvc exp run --temp …`: DVC's command, made safe beside others of its kind.

DVC 3 keeps what such commands are about to run in one queue for all of them, and each goes on until that is empty: one
that ends just when another begins runs the other's experiment too, once more and without its name. Here each takes out
what it has put in, and nothing else.
"""

import sys
from typing import Any

from dvc.cli import main
from dvc.repo.experiments.queue import tempdir
from filelock import FileLock

from bottletop.core.paths import repository

STARTING = FileLock(repository() / ".dvc/tmp/bottletop/starting")  # held while there is something in the queue


class OneExperiment(tempdir.TempDirQueue):  # type: ignore[misc]
    """DVC's own queue, of which one experiment is taken."""

    def reproduce(self, *arguments: Any, **options: Any) -> Any:
        entry, executor = self.get()
        STARTING.release()
        return self._reproduce_entry(entry, executor, *arguments, **options)


if __name__ == "__main__":
    tempdir.TempDirQueue = OneExperiment
    STARTING.acquire()
    sys.exit(main(sys.argv[2:]))
