"""Patterns of file names, such as ``{split}/{label}/*.jpg``.

Each placeholder takes as little text as possible, from left to right, such that the whole name fits:

- ``*-{label}/*`` finds the class ``flat-coated_retriever`` in ``n02099267-flat-coated_retriever/1.jpg``,
- ``{label}_*`` finds ``beagle`` in ``beagle_12_flip.jpg``,
- ``{label}_{number}.jpg`` finds ``great_pyrenees`` in ``great_pyrenees_12.jpg``.
"""

import re
import unicodedata
from typing import NamedTuple

from bottletop.core.terminal import visible

_PLACEHOLDER = re.compile(r"(\{label\}|\{split\}|\{number\}|\{group\}|\*\*/|\*\*|\*)")
_REGEX = {
    "{label}": "(?P<label{0}>[^/]+?)",
    "{split}": "(?P<split{0}>[^/]+?)",
    "{group}": "(?P<group{0}>[^/]+?)",
    "{number}": "(?P<number{0}>[0-9]++)",
    "*": "[^/]*?",
    "**/": "(?:[^/]+/)*?",
    "**": ".+",
}


class Match(NamedTuple):
    """What a pattern found in a name; None where it has no such placeholder."""

    label: str | None  # several {label} are joined by "/"
    split: str | None
    number: int | None
    group: str | None


class Pattern:
    """A compiled pattern. Matching takes time in proportion to the name's length, however many ``*`` there are.

    Args:
        text: ``*`` stands for any text within a path component, ``**/`` for any folders or none, ``**`` at the end for
            everything below.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._whole = re.compile(_translate(normalised(text)))
        self._folder = re.compile(_translate(normalised(text).rpartition("/")[0]))

    def match(self, name: str) -> Match | None:
        """Returns what the pattern finds in a member's name, or None if the name does not fit."""
        return _found(self._whole.fullmatch(normalised(name)))

    def match_folder(self, folder: str) -> Match | None:
        """Returns what the pattern's folders find in a folder's name, or None if that does not fit."""
        return _found(self._folder.fullmatch(normalised(folder)))


def placeholders(text: str) -> list[str]:
    """Returns the placeholders of a pattern, in order.

    Raises:
        ValueError: the pattern is ambiguous; the message says how.
    """
    parts = _PLACEHOLDER.split(text)
    texts, found = parts[::2], parts[1::2]
    for left, between, right in zip(found, texts[1:], found[1:], strict=False):
        if not between and left != "**/" and right != "{number}":
            raise ValueError(f"{text!r} needs some text between {left} and {right}")
    if sum(each.startswith("**") for each in found) > 1 or "**" in found[:-1] or ("**" in found and texts[-1]):
        raise ValueError(f"{text!r} may hold ** once, as **/ or at its end")
    for once in ("{split}", "{number}", "{group}"):
        if found.count(once) > 1:
            raise ValueError(f"{text!r} may hold {once} at most once")
    return found


def normalised(name: str) -> str:
    """Returns the name as names are compared and stored.

    It is in Unicode's form NFC, in which é is one character, not e and an accent. Control characters are written out,
    as in the names of files: a class name with a line break, from a table of labels, would break the index.
    """
    return visible(unicodedata.normalize("NFC", name))


def _translate(text: str) -> str:
    parts = _PLACEHOLDER.split(text)
    texts, found = parts[::2], parts[1::2]
    regex = re.escape(texts[0])
    for position, (placeholder, after) in enumerate(zip(found, texts[1:], strict=True)):
        here = _REGEX[placeholder].replace("{0}", str(position)) + re.escape(after)
        following = found[position + 1] if position + 1 < len(found) else None
        # What follows takes any text, so if this place does not fit, no later one does: (?>…) never tries those.
        settled = placeholder != "**/" and "/" not in after and following not in (None, "{number}")
        regex += f"(?>{here})" if settled else here
    return regex


def _found(match: re.Match[str] | None) -> Match | None:
    if match is None:
        return None
    values: dict[str, list[str]] = {"label": [], "split": [], "number": [], "group": []}
    for name, value in match.groupdict().items():
        values[name.rstrip("0123456789")].append(value)
    label, split, number, group = ("/".join(each) if each else None for each in values.values())
    return Match(label, split, None if number is None else int(number), group)
