"""A dataset's images as arrays, joined to their labels and splits, for models that read images."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottletop.core.parallel import processors
from bottletop.images.decoding import REVISION
from bottletop.images.index import ImageRow, read_square
from bottletop.models.examples import Examples, Rows, labelled
from bottletop.split import SplitRow

PREPROCESSING = f"rgb-exif-bilinear-{REVISION}"
IN_MEMORY_BYTES = 1 << 30  # limit for keeping decoded images; larger datasets are decoded again in each epoch


@dataclass(frozen=True)
class PictureSet(Examples):
    """The images of a dataset with their labels and splits, row for row."""

    at_once = 32

    images: tuple[ImageRow, ...]
    shards: Path
    side_px: int

    def recipe(self) -> dict[str, object]:
        """The settings that, with the image files, determine the arrays."""
        return {"preprocessing": PREPROCESSING, "image_side_px": self.side_px}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image: (side, side, 3)."""
        return (self.side_px, self.side_px, 3)

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """Returns the images at these positions, in this order: uint8 RGB, (len(rows), side, side, 3).

        They are decoded on all cores.

        Raises:
            ArtefactError: an image is damaged.
        """
        if self._decoded is None:
            return np.stack(list(self._pool.map(self._decode, rows.tolist())))
        missing = [row for row in rows.tolist() if not self._known[row]]
        for row, image in zip(missing, self._pool.map(self._decode, missing), strict=True):
            self._decoded[row], self._known[row] = image, True
        return self._decoded[rows]

    def _decode(self, row: int) -> NDArray[np.uint8]:
        return read_square(self.images[row], self.shards, self.side_px)

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(processors())

    @functools.cached_property
    def _decoded(self) -> NDArray[np.uint8] | None:
        """Cache of decoded images, uint8, (n, side, side, 3); None if it would exceed IN_MEMORY_BYTES."""
        shape = (len(self.images), *self.shape)
        return np.empty(shape, np.uint8) if np.prod(shape) <= IN_MEMORY_BYTES else None

    @functools.cached_property
    def _known(self) -> NDArray[np.bool_]:
        """Whether each image is in the cache: bool, (n,)."""
        return np.zeros(len(self.images), np.bool_)


def open_pictures(shards: Path, images: Sequence[ImageRow], rows: Sequence[SplitRow], side_px: int) -> PictureSet:
    """Joins the images of a dataset to its split, which `split.read_split` has found to be of the same images."""
    return PictureSet(*labelled(rows), tuple(images), shards, side_px)
