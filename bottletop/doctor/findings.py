"""A finding of `bottletop doctor`: its level, its text, and the command that fixes it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]  # only a problem sets the exit code to 1


@dataclass(frozen=True)
class Finding:
    """One line of the output, with the fix below it."""

    level: Level
    text: str
    fix: str = ""  # shell command, run in the repository's root; a remark may follow after #


def ok(text: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding("ok", text)


def note(text: str, fix: str = "") -> Finding:
    """Something worth knowing."""
    return Finding("note", text, fix)


def warning(text: str, fix: str) -> Finding:
    """Something that may cause trouble."""
    return Finding("warning", text, fix)


def problem(text: str, fix: str) -> Finding:
    """Something that is wrong, and sets the exit code to 1."""
    return Finding("problem", text, fix)


def hide_passwords(command: str) -> str:
    """Replaces the passwords in a command's addresses: ``user:***@``. The rest stays, so that it can be pasted."""
    return re.sub(r"(://[^/:@\s]*:)[^/@\s]+@", r"\1***@", command)


def some(names: Iterable[object], most: int = 3) -> str:
    """The first `most` names, and how many more there are."""
    listed = [str(name) for name in names]
    left_out = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {left_out} more" if left_out > 0 else "")
