"""What `bottletop doctor` finds: how bad, what, and the command that mends it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]  # a problem alone makes the exit code 1


@dataclass(frozen=True)
class Finding:
    """One line of the output, with its fix."""

    level: Level
    text: str
    fix: str = ""  # to be pasted into a shell in the repository's root; a remark may follow after #


def ok(text: str) -> Finding:
    return Finding("ok", text)


def note(text: str, fix: str = "") -> Finding:
    return Finding("note", text, fix)


def warning(text: str, fix: str) -> Finding:
    return Finding("warning", text, fix)


def problem(text: str, fix: str) -> Finding:
    return Finding("problem", text, fix)


def hide_passwords(text: str) -> str:
    """The text with ``user:***@`` in its addresses."""
    return re.sub(r"(://[^/:@\s]*:)[^/@\s]+@", r"\1***@", text)


def some(names: Iterable[object], most: int = 3) -> str:
    """The first names, and how many more there are."""
    listed = [str(name) for name in names]
    left_out = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {left_out} more" if left_out > 0 else "")
