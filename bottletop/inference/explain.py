"""Figures that show where in an image its class is seen: the image alone, and beside it under its heat map."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bottletop.evaluation import figures, fonts
from bottletop.inference.classifier import Classifier
from bottletop.inference.prediction import Outcome, best

SMOOTH_PX = 256  # heat maps of small images are interpolated finer than the image, up to this longer side
HEIGHT_IN = 4.2  # height of each image in the figure, in inches
NOTE = "Where the last convolution sees the class (Grad-CAM), from nowhere to the strongest place of this image"


def explained(outcomes: Iterable[Outcome], classifier: Classifier, folder: Path) -> Iterator[Outcome]:
    """Passes the outcomes on, and writes a figure for each image that was predicted.

    Args:
        outcomes: from `prediction.predict` with `pictures=True`.
        folder: where the figures are written, each named after its image.
    """
    explain = classifier.explain()
    taken: set[str] = set()
    for outcome in outcomes:
        if outcome.probabilities is not None and outcome.pixels is not None and outcome.picture is not None:
            heat = explain(outcome.pixels[None], int(outcome.probabilities.argmax()))
            [(name, share)] = best(outcome.probabilities, classifier.class_names, 1)
            figures.write(folder / _file_name(outcome.name, taken), draw(outcome.picture, heat, name, share))
        yield outcome


def draw(picture: Image.Image, heat: NDArray[np.float32], name: str, share: float) -> Figure:
    """Draws the image alone, and beside it under its heat map.

    Args:
        picture: the image, RGB.
        heat: float32, (height, width) of any size, in [0, 1]; stretched over the image.
        name: the predicted class.
        share: its probability, in [0, 1].
    """
    finer = max(1, SMOOTH_PX // max(picture.size))  # heat map pixels along each side of an image pixel
    size = (finer * picture.width, finer * picture.height)
    smooth = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    width_in = min(max(HEIGHT_IN * picture.width / picture.height, 1.6), 2 * HEIGHT_IN)
    figure = Figure(figsize=(2 * width_in + 1.6, HEIGHT_IN + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    # The image under the heat map is grey, so that every colour is heat.
    for axes, shown in ((left, picture), (right, picture.convert("L").convert("RGB"))):
        axes.imshow(shown, interpolation="nearest" if max(picture.size) < 64 else None)
        axes.set_axis_off()
    extent = (-0.5, picture.width - 0.5, picture.height - 0.5, -0.5)
    heated = right.imshow(smooth, cmap=_heat_colours(), vmin=0, vmax=1, extent=extent)
    scale = figure.colorbar(heated, ax=right, shrink=0.8, ticks=[0, 0.25, 0.5, 0.75, 1], format="{x:.0%}")
    scale.set_label("of the strongest place", fontsize=8)
    scale.ax.set_facecolor("0.35")  # as over a photo
    fonts.use_for([name])
    figure.suptitle(f"{name}  {share:.1%}", fontsize=13)
    figure.supxlabel(NOTE, fontsize=7.5, color=figures.GREY)
    return figure


def _heat_colours() -> ListedColormap:
    """Inferno, whose steps look equally large to all eyes; the less heat, the more transparent."""
    colours = colormaps["inferno"](np.linspace(0.25, 1, 256))
    colours[:, 3] = np.linspace(0, 0.8, 256)
    return ListedColormap(colours)


def _file_name(name: str, taken: set[str]) -> str:
    """A file name for the figure: ``photo.png`` for ``…/photo.jpg``, or ``photo-2.png`` if that is taken."""
    stem = Path(name.split("?")[0]).stem.strip("-.") or "image"
    found, number = f"{stem}.png", 1
    while found.casefold() in taken:
        number += 1
        found = f"{stem}-{number}.png"
    taken.add(found.casefold())
    return found
