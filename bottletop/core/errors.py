"""Errors that users see: each says what, what it got, what is allowed, and what to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

WHERE_ELSE = "put it there, edit its entry in datasets.yaml, or take what a colleague has pushed: dvc repro --pull"


class BottletopError(Exception):
    """The base of every error that is the user's to fix: what is wrong, and what to do about it."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}: {fix}" if fix else problem)
        self.problem, self.fix = problem, fix


class ParamsError(BottletopError):
    """A value in params.yaml or datasets.yaml is wrong."""


class DataError(BottletopError):
    """Images, archives or downloads are not as promised."""


class ArtefactError(BottletopError):
    """Files made by an earlier stage do not fit together."""


@contextmanager
def exit_on_error(what: str) -> Iterator[None]:
    """Ends the process with one line on stderr instead of a traceback, where the user can fix the cause."""
    try:
        yield
    except BottletopError as error:
        sys.exit(f"{what}: {error}")
    except OSError as error:  # full disks, permissions, unreachable hosts
        sys.exit(f"{what}: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{what}: interrupted")
