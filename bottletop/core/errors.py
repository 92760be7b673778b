"""Errors shown to users: each states the problem, the value found, the values allowed and the fix."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bottletop.core.terminal import visible

WHERE_ELSE = "put it there, edit its entry in datasets.yaml, or take what a colleague has pushed: dvc repro --pull"

RESTORE = "run bottletop doctor, which prints the command that restores it"  # for outputs that were changed since


class BottletopError(Exception):
    """Base of all errors that the user can fix.

    Args:
        problem: what is wrong.
        fix: what the user can do about it; may be empty.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}: {fix}" if fix else problem)
        self.problem, self.fix = problem, fix


class ParamsError(BottletopError):
    """A value in params.yaml, datasets.yaml or the environment is invalid."""


class DataError(BottletopError):
    """Images, archives or downloads are missing, damaged or not as declared."""


class ArtefactError(BottletopError):
    """Files written by earlier stages are damaged or do not fit together."""


def reason(error: BaseException) -> str:
    """Returns what a library says about an error, in one line; the error's name if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def exit_on_error(what: str) -> Iterator[None]:
    """Exits with a message on stderr, instead of a traceback, on errors whose cause the user can fix.

    However the process ends, Python does not look for garbage then: among all that libraries define, that takes up to a
    second, and memory is freed anyway.

    Args:
        what: the command or stage; the message begins with it.
    """
    atexit.register(gc.freeze)
    try:
        yield
    except BottletopError as error:
        sys.exit(_shown(f"{what}: {error}"))
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does: end as other commands do, without a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:  # such as a full disk, missing permissions or an unreachable host
        sys.exit(_shown(f"{what}: {type(error).__name__}: {error}"))
    except MemoryError as error:
        sys.exit(
            _shown(f"{what}: out of memory ({reason(error)}): close other programs, or set BOTTLETOP_THREADS to 1")
        )
    except KeyboardInterrupt:
        sys.exit(f"{what}: interrupted")


def _shown(message: str) -> str:
    return visible(message, keep="\n\t")


def exit_on_sigterm() -> None:
    """Turns SIGTERM into SystemExit, so that a terminated process still ends its children and removes its files."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
