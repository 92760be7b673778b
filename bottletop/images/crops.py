"""Further views of an image: crops of it, mirrored or not, that depend on the image and the view's number alone.

A view is called after its image, such as ``<sha256>#1-crop-flip-1``. What it shows follows from that name, so that its
features are found again as those of any image are. View 0 is the whole image, under the image's own name.
"""

import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottletop.core.errors import ArtefactError, DataError
from bottletop.images.decoding import decode, square
from bottletop.images.index import ImageRow, read_shard

REVISION = 1  # raise it when other crops come from the same name
MIN_AREA = 0.7  # fraction of the image
MAX_STRETCH = 4 / 3  # of a crop's width to its height, beside the image's own


def name(image: str, number: int, *, flip: bool) -> str:
    """What a view of the image is called; with `flip`, half of the crops are mirrored."""
    return f"{image}#{number}-crop{'-flip' if flip else ''}-{REVISION}" if number else image


def box(view: str, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of the crop, in pixels of an image of that size; None is the whole."""
    if "#" not in view:
        return None
    area, stretch, left, top, _ = _chances(view)
    area = MIN_AREA + (1 - MIN_AREA) * area
    stretch = MAX_STRETCH ** (2 * stretch - 1)
    across, down = min(1.0, (area * stretch) ** 0.5), min(1.0, (area / stretch) ** 0.5)
    left, top = left * (1 - across), top * (1 - down)
    return left * width, top * height, (left + across) * width, (top + down) * height


def is_mirrored(view: str) -> bool:
    return "-flip" in view and _chances(view)[4] < 0.5


def seen(image: Image.Image, view: str, side_px: int) -> NDArray[np.uint8]:
    """What the view shows of the image: uint8 RGB, (side, side, 3)."""
    values = square(image, side_px, box(view, *image.size))
    return values[:, ::-1] if is_mirrored(view) else values


def read_square(row: ImageRow, shards: Path, side_px: int) -> NDArray[np.uint8]:
    """The image, or the view of it that its id names, from its tar: uint8 RGB, (side, side, 3).

    Raises:
        ArtefactError: it is damaged.
    """
    [data] = read_shard(shards / row.shard, [row])
    try:
        return seen(decode(data, side_px), row.id, side_px)
    except DataError as error:  # the download took it, so the shard has changed since
        raise ArtefactError(f"{row.shard}: {row.source} is damaged ({error}): run dvc repro") from error


def _chances(view: str) -> list[float]:
    """Five numbers in [0, 1), the same for ever: those of a generator may change with its library."""
    digest = hashlib.sha256(view.partition("-")[0].encode()).digest()
    return [number / 2**32 for number in struct.unpack("<5I", digest[:20])]
