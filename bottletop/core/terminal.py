"""Printing: names, servers' words and tags cannot move the terminal's cursor, colour it or turn the text around."""

import re
from typing import TextIO

# Control characters, those that turn the direction of text, and halves of characters, which stand for the bytes of
# names that are not UTF-8.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    r"""Writes out control characters, such as ``\x1b`` or ``\u202e``, apart from those in `keep`."""

    def written(found: re.Match[str]) -> str:
        sign = found[0]
        return sign if sign in keep else f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"

    return _CONTROL.sub(written, text)


def say(text: str, file: TextIO | None = None) -> None:
    """Prints text of one or more lines, in which control characters are written out.

    A name from outside that could hold a line break is made `visible` before it becomes part of the text.

    Args:
        text: what to print.
        file: where to; None is standard output.
    """
    print(visible(text, keep="\n\t"), file=file, flush=True)
