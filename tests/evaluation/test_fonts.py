"""Class names in scripts that Matplotlib's own font lacks; each test draws in a process of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.ft2font import FT2Font
from PIL import Image

LETTER = "\U0010fffd"  # for private use: no common font has it
CODE = """
import sys
from pathlib import Path
import numpy as np
from bottletop.evaluation import figures
for _ in range(2):
    figures.write(Path(sys.argv[1]), figures.confusion(np.eye(2, dtype=int), sys.argv[2:], "pets"))
"""


def make_font(path):
    """A font with one letter: a black square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(LETTER): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    assert FT2Font(str(path)).get_char_index(ord(LETTER))


def draw(folder, *names) -> tuple[np.ndarray, str]:
    """The picture's grey pixels, and what was written to stderr."""
    (folder / "fonts").mkdir(exist_ok=True)
    command = [sys.executable, "-c", CODE, str(folder / "figure.png"), *names]
    env = {**os.environ, "XDG_DATA_HOME": str(folder)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return np.asarray(Image.open(folder / "figure.png").convert("L")), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="fonts are elsewhere")
def test_a_font_of_the_machine_draws_what_matplotlibs_font_lacks(tmp_path):
    boxes, _ = draw(tmp_path, f"{LETTER}{LETTER}", "dog")
    make_font(tmp_path / "fonts/square.ttf")
    squares, said = draw(tmp_path, f"{LETTER}{LETTER}", "dog")
    assert said == ""
    assert (squares < 20).sum() > (boxes < 20).sum() + 200  # black pixels: the squares are filled


def test_names_that_no_font_can_draw_are_named_once_without_other_warnings(tmp_path):
    _, said = draw(tmp_path, f"cat {LETTER}", "dog")
    assert said.count("\n") == 1
    assert said.startswith(f"no font on this machine has all characters of cat {LETTER}: pictures show boxes instead;")


def test_names_that_matplotlibs_font_has_are_drawn_as_they_were(tmp_path):
    _, said = draw(tmp_path, "école", "Ελλάδα\u200d")
    assert said == ""
