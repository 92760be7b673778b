"""A name that begins like a formula is text to a spreadsheet, and is read back as it was."""

import pytest

from bottletop.core.cells import guarded, unguarded


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "＝1", '=HYPERLINK("x")', "--a", "+a"]
)
def test_text_that_begins_like_a_formula_gets_a_quote(text):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["cat", "-1", "+1.5", "-", "a=b", "'cat'", "", 7, -0.5, None])
def test_other_cells_stay_as_they_are(cell):
    assert guarded(cell) is cell


@pytest.mark.parametrize("text", ["=a", "'=a", "''=a", "cat", "'cat'", "-1", "'-1", "-", "'-", "+\n", "\t=a"])
def test_cells_are_read_back_as_they_were(text):
    assert unguarded(str(guarded(text))) == text
