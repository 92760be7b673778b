"""The figures of a report. Each public function but `write` returns a figure; `write` saves it as PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bottletop.core.files import replacing
from bottletop.evaluation import fonts

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
DPI = 120
LONGEST_NAME = 26  # maximum number of characters shown of a class name
rcParams["text.parse_math"] = False  # show a $ in a name as it is


class Mistake(NamedTuple):
    """A wrong prediction to show."""

    image: Image.Image
    label: str
    predicted: str
    confidence: float  # probability of the wrong class, in [0, 1]


def write(path: Path, figure: Figure) -> None:
    """Saves the figure as PNG."""
    with replacing(path) as new:
        # Without Matplotlib's version in the metadata, the bytes do not depend on it.
        figure.savefig(new, dpi=DPI, format="png", metadata={"Software": None})


def curves(history: Sequence[dict[str, float]], best_epoch: int) -> Figure:
    """Plots accuracy and loss by epoch, for training and validation, and marks the best epoch.

    Args:
        history: one entry per epoch, with the columns of history.csv.
        best_epoch: counted from 1.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [entry["epoch"] for entry in history]
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for key, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
            values = [entry[key] for entry in history]
            axes.plot(epochs, values, color=colour, label=label, marker="o" if len(epochs) < 3 else None)
            if label == "validation":
                axes.plot(best_epoch, values[best_epoch - 1], "o", color=colour, markersize=7)
        axes.axvline(best_epoch, color=GREY, linestyle=":", label=f"best epoch: {best_epoch}")
        axes.set(xlabel="epoch", title=name.capitalize(), xlim=(0.5, len(epochs) + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if name == "loss":
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def confusion(matrix: NDArray[np.int64], class_names: Sequence[str], *, normalised: bool) -> Figure:
    """Draws a confusion matrix: one row per true class, one column per predicted class.

    With up to 30 classes, the cells show their numbers.

    Args:
        matrix: counts, (classes, classes); see `scores.confusion_matrix`.
        class_names: in the order of the matrix.
        normalised: show each count as a fraction of its true class.
    """
    fonts.use_for(class_names)
    names, count = [_short(name) for name in class_names], len(class_names)
    rows = matrix.sum(1, keepdims=True)
    values = matrix / np.maximum(rows, 1) if normalised else matrix
    size = 9 if count <= 30 else 7
    side = max(2.5, 0.5 * count) if count <= 30 else 0.17 * count  # of the matrix, in inches
    longest = max(map(len, names)) * 0.6 * size / 72  # inches: most letters are about 0.6 of the font size wide
    upright = longest > 0.9 * side / count
    width, height = side + longest + 1.9, side + (longest if upright else 0.15) + 1.2
    figure = Figure(figsize=(width, height), layout="compressed")
    axes = figure.subplots()
    picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=1 if normalised else None)
    axes.set_xticks(range(count), names, rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true", title="Share of the true class" if normalised else "Test images")
    if count <= 30:
        dark = values.max() / 2
        for (row, column), value in np.ndenumerate(values):
            if value:
                text = f"{value:.2f}".removeprefix("0") if normalised else str(value)
                axes.text(
                    column, row, text, ha="center", va="center", fontsize=8, color="white" if value > dark else "black"
                )
    figure.colorbar(picture, shrink=0.7)
    return figure


def reliability(bins: NDArray[np.float64], error: float) -> Figure:
    """Plots accuracy against confidence; a dot's area grows with its number of images.

    Args:
        bins: mean confidence, accuracy and number of images of each bin, (bins, 3); see `scores.calibration`.
        error: the expected calibration error.
    """
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfectly calibrated")
    confidence, accuracy, images = bins.T
    axes.plot(confidence, accuracy, color=BLUE, alpha=0.5)
    axes.scatter(confidence, accuracy, s=15 + 250 * images / images.max(), color=BLUE, alpha=0.8, label="test images")
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy", aspect="equal")
    axes.set_title(f"Expected calibration error {error:.3f}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right", markerscale=0.5)  # points rarely lie below the diagonal there
    return figure


def mistakes(shown: Sequence[Mistake], total: int) -> Figure:
    """Draws a gallery of wrong predictions.

    Args:
        shown: the mistakes to draw, the most confident first.
        total: number of mistakes on the test images.
    """
    fonts.use_for(name for mistake in shown for name in (mistake.label, mistake.predicted))
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(10, 2.9 * rows + 0.5), layout="constrained")
    title = f"The {len(shown)} most confident of {total} mistakes" if total else "No mistakes on the test images"
    figure.suptitle(title, y=None if shown else 0.7)
    if not shown:
        return figure
    grid: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, mistake in zip(grid, shown, strict=False):
        _show(axes, mistake)
    return figure


def _show(axes: Axes, mistake: Mistake) -> None:
    picture = mistake.image.copy()
    picture.thumbnail((320, 320))
    axes.imshow(picture, interpolation="nearest" if max(picture.size) < 64 else None)
    guess = f"{_short(mistake.predicted)} {mistake.confidence:.0%}"
    axes.set_title(f"{guess}\ntrue: {_short(mistake.label)}", fontsize=9)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
