"""Fonts for class names in any script: Matplotlib's own font lacks Chinese, Japanese, Korean, emoji and others."""

import sys
import unicodedata
import warnings
from collections.abc import Iterable

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

from bottletop.core.fonts import installed
from bottletop.core.terminal import say

_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode's categories of control characters and spaces
_warned: set[str] = set()  # characters that no font has


def use_for(names: Iterable[str]) -> None:
    """Adds fonts of this machine to Matplotlib's, so that it can draw the names.

    Matplotlib takes each character from the first font that has it, so other text looks as before. If no font has a
    character, a message on stderr names the names once, and Matplotlib draws boxes without further warnings.
    """
    shown = list(dict.fromkeys(names))
    missing = {letter for name in shown if not name.isascii() for letter in name if _is_visible(letter)}
    for family in rcParams["font.family"] if missing else ():
        missing -= _covered(missing, FT2Font(findfont(FontProperties(family=[family]))))
    if missing - _warned:
        missing = _add_fonts(missing)
    if missing - _warned:
        _warned.update(missing)
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        boxed = ", ".join(name for name in shown if missing & set(name))
        say(
            f"no font on this machine has all characters of {boxed}: pictures show boxes instead; install a font that "
            "has them, such as Noto Sans CJK (fonts-noto-cjk) or, for emoji, Symbola (fonts-symbola)",
            file=sys.stderr,
        )


def _add_fonts(missing: set[str]) -> set[str]:
    """Adds the fonts that have the most of the characters, one by one. Returns the characters that none has."""
    covered = {path: _covered(missing, font) for path, font in installed()}
    while any(covered.values()):
        best = max(covered, key=lambda path: (len(covered[path]), "regular" in path.lower()))
        fontManager.addfont(best)
        rcParams["font.family"] = [*rcParams["font.family"], FT2Font(best).family_name]
        missing = missing - covered[best]
        covered = {path: letters & missing for path, letters in covered.items()}
    return missing


def _covered(letters: set[str], font: FT2Font) -> set[str]:
    return {letter for letter in letters if font.get_char_index(ord(letter))}


def _is_visible(letter: str) -> bool:
    is_variant_mark = "\ufe00" <= letter <= "\ufe0f"  # such as the one that asks for a coloured emoji
    return unicodedata.category(letter) not in _INVISIBLE and not is_variant_mark
