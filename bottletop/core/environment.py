"""Says in one line that another Python is running than that of the environment, or that the environment lacks packages.

The module uses no package, and no syntax that an older Python does not know.
"""

from __future__ import annotations

import sys
from types import TracebackType

FIX = "activate the environment with `source .venv/bin/activate`; if that does not help, run make install"


def explain_missing_packages() -> None:
    """Lets imports that fail end the process with one line, not with a traceback; exits if Python is too old."""
    if sys.version_info < (3, 11):  # noqa: UP036  # it is not that of the environment
        sys.exit(f"{sys.executable} is Python {sys.version.split()[0]}, which is too old: {FIX}")
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in ("bottletop", "stages"):
        sys.stderr.write(f"{sys.executable} lacks a package ({error}): {FIX}\n")
    else:
        sys.__excepthook__(kind, error, trace)
