"""Progress bars: updated live on a terminal, every 15 seconds in a log."""

import sys
from typing import Any

from tqdm import tqdm


def bar(description: str, unit: str, total: int | None = None, **options: Any) -> "tqdm[Any]":
    """Returns a progress bar with rate and remaining time; use it in a ``with`` block."""
    seconds = 0.1 if sys.stderr.isatty() else 15
    return tqdm(desc=description, unit=unit, total=total, mininterval=seconds, maxinterval=seconds, **options)
