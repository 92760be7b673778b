"""A dataset's images as arrays, joined to their labels and splits, for models that read the images themselves."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ArtefactError
from bottletop.core.parallel import processors
from bottletop.images.decoding import REVISION
from bottletop.images.index import ImageRow, read_square
from bottletop.models.examples import Examples, Rows, labelled
from bottletop.split import SplitRow

PREPROCESSING = f"rgb-exif-bilinear-{REVISION}"
IN_MEMORY_BYTES = 1 << 30  # of decoded images; more are decoded again in each epoch


@dataclass(frozen=True)
class PictureSet(Examples):
    """The images of a dataset with their labels and splits, row for row."""

    at_once = 32

    images: tuple[ImageRow, ...]
    shards: Path
    side_px: int

    def recipe(self) -> dict[str, object]:
        return {"preprocessing": PREPROCESSING, "image_side_px": self.side_px}

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.side_px, self.side_px, 3)

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """Images in the order asked for: uint8 RGB, (len(rows), side, side, 3), decoded on all cores.

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
        """What was decoded before; None where all of it would not fit into memory."""
        shape = (len(self.images), *self.shape)
        return np.empty(shape, np.uint8) if np.prod(shape) <= IN_MEMORY_BYTES else None

    @functools.cached_property
    def _known(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.images), np.bool_)


def open_pictures(shards: Path, images: Sequence[ImageRow], rows: Sequence[SplitRow], side_px: int) -> PictureSet:
    """The images of a dataset, joined to its split.

    Raises:
        ArtefactError: the split is of other images.
    """
    if [image.id for image in images] != [row.id for row in rows]:
        raise ArtefactError(f"{shards} holds other images than the split", f"run dvc repro split@{shards.name}")
    return PictureSet(*labelled(rows), tuple(images), shards, side_px)
