"""Geometry of the report's drawings: where points, ticks and cells lie, in pixels. The template draws them as SVG."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bottletop.core.terminal import visible

WIDTH, HEIGHT = 360, 260  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 40  # margins of a chart
UNIT = (-0.03, 1.03)  # range of an axis from 0 to 1, with room for what lies on the border
LONGEST_NAME = 26  # maximum number of characters shown of a class name
NUMBERED = 30  # maximum number of classes whose cells show their counts


class Line(NamedTuple):
    """Points joined by a line."""

    kind: str  # its class in report.css, which gives the colour and the dashes
    points: Sequence[tuple[float, float]]
    name: str = ""  # in the legend; empty: not in it


class Dot(NamedTuple):
    """A point, with the interval of its y value if it has one."""

    kind: str  # as in `Line`
    x: float
    y: float
    title: str  # shown when the pointer is over it
    low: float | None = None
    high: float | None = None


class Bar(NamedTuple):
    """A bar of a histogram, from 0 to its height."""

    left: float
    right: float
    height: float
    title: str  # shown when the pointer is over it


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart with two axes."""

    title: str
    text: str  # what can be seen, for those who cannot see it
    x_label: str
    y_label: str
    x_range: tuple[float, float] = UNIT
    y_range: tuple[float, float] = UNIT
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()
    bars: Sequence[Bar] = ()
    whole_x: bool = False  # ticks of the x axis are whole numbers
    whole_y: bool = False

    def x(self, value: float) -> float:
        """Returns the horizontal position of a value, in pixels."""
        return _place(value, self.x_range, LEFT, WIDTH - RIGHT)

    def y(self, value: float) -> float:
        """Returns the vertical position of a value, in pixels."""
        return _place(value, self.y_range, HEIGHT - BOTTOM, TOP)

    def path(self, line: Line) -> str:
        """Returns a line's points for SVG."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in line.points)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Position in pixels and text of each tick of the x axis."""
        return [(self.x(value), text) for value, text in _ticks(self.x_range, whole=self.whole_x)]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Position in pixels and text of each tick of the y axis."""
        return [(self.y(value), text) for value, text in _ticks(self.y_range, whole=self.whole_y)]


def around(values: Sequence[float], least: float = 0) -> tuple[float, float]:
    """Returns a range that holds all values and a little more.

    Args:
        values: at least one.
        least: width of the range, at least.
    """
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), (least - (high - low)) / 2, 1e-3)
    return low - room, high + room


class Cell(NamedTuple):
    """A cell of the confusion matrix in which there are images."""

    x: float  # of its left upper corner, in pixels, as all that follows
    y: float
    right: bool  # images that were classified rightly
    strength: float  # of its colour, in [0, 1]
    images: int
    title: str  # shown when the pointer is over it


class Label(NamedTuple):
    """The name of a class beside the matrix."""

    x: float  # middle of its column, in pixels
    y: float  # middle of its row, in pixels
    text: str  # shortened if it is long
    name: str  # the whole name


@dataclass(frozen=True)
class Matrix:
    """The drawing of a confusion matrix, one row per true class, one column per predicted class."""

    side: int  # of a cell
    left: int  # width of the names on the left
    top: int  # height of the names above
    font: int  # size of the names
    width: int  # of the whole drawing
    height: int
    numbered: bool  # cells show their counts
    upright: bool  # the names above are turned by 90 degrees
    labels: list[Label]
    cells: list[Cell]


def matrix(counts: NDArray[np.int64], names: Sequence[str], order: Sequence[int]) -> Matrix:
    """Places the cells and names of a confusion matrix.

    Args:
        counts: (classes, classes); see `scores.confusion_matrix`.
        names: of the classes, as in `counts`.
        order: positions of the classes, in the order in which they are drawn.
    """
    classes = len(names)
    side, font = max(10, min(48, 760 // classes)), 12 if classes <= NUMBERED else 9
    texts = [short(names[position]) for position in order]
    longest = max(map(_width, texts)) * font
    upright = longest > side
    left = max(84, int(longest) + 26)
    top = left if upright else 42
    middles = [(left + side * place + side / 2, top + side * place + side / 2) for place in range(classes)]
    labels = [Label(x, y, text, visible(names[i])) for (x, y), text, i in zip(middles, texts, order, strict=True)]
    return Matrix(
        side=side,
        left=left,
        top=top,
        font=font,
        width=left + side * classes + 8,
        height=top + side * classes + 8,
        numbered=classes <= NUMBERED,
        upright=upright,
        labels=labels,
        cells=_cells(counts[np.ix_(order, order)], labels, side),
    )


def _cells(counts: NDArray[np.int64], labels: Sequence[Label], side: int) -> list[Cell]:
    """Diagonal and mistakes have a scale of their own each: among mostly right answers, mistakes stay visible."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    worst = max(float((shares - np.diag(shares.diagonal())).max()), 1e-9)
    cells = []
    for row, column in np.argwhere(counts).tolist():
        count, share = int(counts[row, column]), float(shares[row, column])
        images = f"{count:,} image{'s' if count > 1 else ''}, {share:.1%} of its class"
        if row == column:
            title = f"{labels[row].text}: {images}, right"
        else:
            title = f"{labels[row].text}, taken for {labels[column].text}: {images}"
        strength = share if row == column else share / worst
        place = labels[column].x - side / 2, labels[row].y - side / 2
        cells.append(Cell(*place, row == column, round(0.08 + 0.72 * strength, 2), count, title))
    return cells


def short(name: str) -> str:
    """Shortens a name to `LONGEST_NAME` characters; control characters are written out."""
    name = visible(" ".join(name.split()))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _width(text: str) -> float:
    """Returns the width of a text, in font sizes, rather too much than too little."""
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":  # Chinese, Japanese, Korean, emoji
        return 1.1
    if letter in "MWmw@%":
        return 1.0
    return 0.75 if letter.isupper() else 0.6


def _place(value: float, bounds: tuple[float, float], start: float, end: float) -> float:
    return round(start + (value - bounds[0]) / (bounds[1] - bounds[0]) * (end - start), 1)


def _ticks(bounds: tuple[float, float], *, whole: bool) -> list[tuple[float, str]]:
    values = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=1).tick_values(*bounds)
    inside = [round(float(value), 9) + 0.0 for value in values if bounds[0] - 1e-9 <= value <= bounds[1] + 1e-9]
    return [(value, f"{value:,.0f}" if whole else f"{value:.4g}") for value in inside]
