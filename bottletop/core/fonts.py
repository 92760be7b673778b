"""The fonts of this machine that can be drawn with."""

from collections.abc import Iterator

from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font


def installed() -> Iterator[tuple[str, FT2Font]]:
    """Yields path and font in the order of the paths, except fonts made of coloured pictures and damaged ones."""
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):
            continue
        if font.scalable and "color" not in font.family_name.lower():
            yield path, font
