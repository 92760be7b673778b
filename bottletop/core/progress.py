"""Progress bars with the time left: redrawn once a second on a terminal, a line every ten seconds in a log."""

import os
import sys
from typing import Any

from tqdm import tqdm

from bottletop.core.terminal import say

TERMINAL_S, LOG_S = 1, 10  # longest time between two updates
WITH_TOTAL = (
    "{desc}: {percentage:.0f} % {bar}{n_fmt} of {total_fmt}{unit} in {elapsed}, {remaining} left, "
    "{rate_noinv_fmt}{postfix}"
)
NO_TOTAL = "{desc}: {n_fmt}{unit} in {elapsed}, {rate_noinv_fmt}"


def bar(description: str, unit: str, total: int | None = None, **options: Any) -> "tqdm[Any]":
    """Returns a progress bar with rate and time left; use it in a ``with`` block.

    Args:
        description: what is done, such as ``unpack``.
        unit: what is counted, such as `` images`` with the space before it, or ``B``.
        total: how many there will be; None where that is not known: there is no time left then.
        options: further options of tqdm.
    """
    terminal = sys.stderr.isatty()
    if terminal and not os.get_terminal_size(sys.stderr.fileno()).columns:  # as in containers; tqdm would show nothing
        options |= {"ncols": 80, "nrows": 24}
    options |= {"mininterval": TERMINAL_S if terminal else LOG_S, "miniters": 1}  # tqdm may look at the clock each time
    form = NO_TOTAL if total is None else WITH_TOTAL.replace("{bar}", "{bar} " if terminal else "")
    kind: type[tqdm[Any]] = tqdm if terminal else _Lines
    return kind(desc=description, unit=unit, total=total, bar_format=form, **options)


class _Lines(tqdm):  # type: ignore[type-arg]  # it takes none when it runs
    """Writes lines instead of redrawing one."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002  # as tqdm calls it
        """Writes a line; a message of tqdm's own is empty, to wipe a line."""
        if msg is None:
            say(str(self), file=sys.stderr)

    def close(self) -> None:
        """Writes the last line, where there was something to count."""
        wanted, self.leave = self.leave and not self.disable, False
        if wanted:
            self.display()
        super().close()
