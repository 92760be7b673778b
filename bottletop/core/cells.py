"""Cells of CSV files that people open in a spreadsheet, which computes text that begins like a formula."""

import re
from typing import TypeVar

Cell = TypeVar("Cell")
# Excel and LibreOffice take = + - @ for the start of a formula, also in their wide forms. A number is no formula.
_FORMULA = re.compile(r"'*(?![-+]?[\d.]+$)[-=+@＝＋－＠\t\r\n].", re.DOTALL)


def guarded(cell: Cell) -> Cell | str:
    """Returns text with ' before it if a spreadsheet would take it for a formula; everything else as it is."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """Returns the text that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
