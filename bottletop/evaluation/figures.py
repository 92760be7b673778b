"""The figures of a report. Each public function but `write` returns a figure; `write` saves it as PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from bottletop.core.files import replacing
from bottletop.evaluation import fonts
from bottletop.evaluation.charts import NUMBERED, short
from bottletop.evaluation.scores import order_by_confusion, wilson

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#5f6770"  # the first two are Okabe and Ito's: colour-blind people see them
DPI = 120
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


def curves(history: Sequence[dict[str, float]], kept: int, *, best: bool) -> Figure:
    """Plots accuracy and loss by epoch, for training and validation, and marks the epoch of the model.

    Args:
        history: one entry per epoch, with the columns of history.csv.
        kept: the epoch of the model, counted from 1.
        best: whether it is the epoch with the lowest validation loss.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [entry["epoch"] for entry in history]
    mark = f"{'best epoch, kept' if best else 'last epoch, kept'}: {kept}"
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        lines = ((name, "training", BLUE, "-"), (f"val_{name}", "validation", ORANGE, "--"))
        for key, label, colour, style in lines:
            values = [entry[key] for entry in history]
            axes.plot(epochs, values, style, color=colour, label=label, marker="o" if len(epochs) < 3 else None)
            axes.plot(kept, values[kept - 1], "o", color=colour, markersize=7)
        axes.axvline(kept, color=GREY, linestyle=":", label=mark)
        axes.set(xlabel="epoch", title=name.capitalize(), xlim=(0.5, len(epochs) + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def confusion(matrix: NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Draws a confusion matrix: one row per true class, one column per predicted class.

    The classes are ordered so that those that are confused stand together. Mistakes have a colour scale of their own:
    on that of the right answers, few among many could not be seen. With up to 30 classes, the cells show their counts.

    Args:
        matrix: counts, (classes, classes); see `scores.confusion_matrix`.
        class_names: in the order of the matrix.
        title: dataset, number of images and accuracy.
    """
    fonts.use_for([*class_names, title])
    order = order_by_confusion(matrix)
    names, counts, classes = [short(class_names[i]) for i in order], matrix[np.ix_(order, order)], len(order)
    size = 9 if classes <= NUMBERED else 7
    side = max(2.5, 0.5 * classes) if classes <= NUMBERED else 0.17 * classes  # of the matrix, in inches
    longest = max(map(len, names)) * 0.6 * size / 72  # inches: most letters are about 0.6 of the font size wide
    upright = longest > 0.9 * side / classes
    width, height = side + longest + 2.6, side + (longest if upright else 0.15) + 1.2
    figure = Figure(figsize=(max(width, 6.2), height), layout="compressed")
    axes = figure.subplots()
    axes.set_xticks(range(classes), names, rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    right = np.eye(classes, dtype=np.bool_)
    most = max(float(shares[~right].max()), 0.01)
    for shown, colours, top, label in (
        (right, "Blues", 1.0, "right"),
        (~right & (counts > 0), "Oranges", most, "wrong"),
    ):
        light = ListedColormap(colormaps[colours](np.linspace(0.05, 0.65, 256)))  # black counts can be read on it
        picture = axes.imshow(np.ma.masked_array(shares, ~shown), cmap=light, vmin=0, vmax=top)
        bar = figure.colorbar(picture, shrink=0.7, pad=0.03, aspect=30, format=PercentFormatter(1, 0))
        bar.ax.set_title(label, fontsize=9, loc="left")
    for row, column in np.argwhere(counts).tolist() if classes <= NUMBERED else ():
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size)
    return figure


def reliability(bins: NDArray[np.float64], title: str) -> Figure:
    """Plots the share of right answers, with its interval, against the probability, and below it the bins' images.

    Args:
        bins: mean confidence, accuracy and number of images of each bin, (bins, 3); see `scores.calibration`.
        title: what is seen, in words.
    """
    figure = Figure(figsize=(5.2, 5.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    confidence, accuracy, images = bins.T
    ends = np.array([wilson(round(share * count), int(count)) for _, share, count in bins])
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as it should be")
    upper.vlines(confidence, *ends.T, color=BLUE, linewidth=1.5)
    upper.plot(confidence, accuracy, "o", color=BLUE, label="test images, with 95 % intervals")
    upper.set(ylim=(-0.03, 1.03), ylabel="share that is right", title=title)
    lower.bar(confidence, images, width=0.04, color=BLUE)
    for place, count in zip(confidence, images, strict=True):
        lower.annotate(f"{count:.0f}", (place, count), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    lower.set(xlim=(-0.03, 1.05), ylim=(0, 1.25 * images.max()), xlabel="probability that it gives", ylabel="images")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.legend(frameon=False, loc="lower right", fontsize=9)
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
    guess = f"{short(mistake.predicted)} {mistake.confidence:.0%}"
    axes.set_title(f"{guess}\ntrue: {short(mistake.label)}", fontsize=9)
