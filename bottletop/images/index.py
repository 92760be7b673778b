"""The index: the table of a dataset's images, with the place of each image's bytes."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import RESTORE, ArtefactError, DataError
from bottletop.core.files import read_rows, verified, write_csv, write_sums
from bottletop.images.decoding import DEEP_REVISION, decode, is_deep, square


class ImageRow(NamedTuple):
    """A row of index.csv: one image, and where its bytes are stored."""

    id: str  # SHA-256 of the file's bytes, hex
    label: str  # display name of the class
    shard: str  # file name of the shard
    offset: int  # where the image's bytes begin in the shard
    length: int  # number of bytes
    width: int  # pixels, as stored in the file
    height: int  # pixels, as stored in the file
    mode: str  # Pillow's mode: RGB, L, CMYK …
    phash: str  # 64-bit perceptual hash, hex; empty for images without contrast
    group: str  # same for all duplicates of an image and its own group: first 16 digits of their smallest id
    official: str  # "train", "validation", "test", or empty if the dataset has no official split
    source: str  # path in the original archive or folder

    @property
    def pixels_id(self) -> str:
        """Identifies the decoded pixels: the id, and for images of more than 8 bits the revision of their decoding.

        Features that were computed before are found again by it.
        """
        return f"{self.id}-{DEEP_REVISION}" if is_deep(self.mode) else self.id


def write_index(path: Path, rows: Iterable[ImageRow]) -> None:
    """Writes the index as CSV, and its checksum beside it."""
    write_csv(path, ImageRow._fields, rows)
    write_sums(path.parent, [path.name])


def read_index(path: Path) -> list[ImageRow]:
    """Reads the index; its rows are ordered by shard, then by offset.

    Raises:
        ArtefactError: the index is damaged.
    """
    return list(Index(path))


@dataclass(frozen=True)
class Index:
    """The rows of an index, read from the file on each iteration instead of held in memory."""

    path: Path

    def __iter__(self) -> Iterator[ImageRow]:
        return read_rows(verified(self.path), ImageRow)


def read_shard(path: Path, rows: Sequence[ImageRow]) -> Iterator[bytes]:
    """Yields the bytes of each image, read with one `pread` per image and verified by the image's id, its SHA-256.

    Args:
        path: the shard.
        rows: rows of images in this shard.

    Raises:
        ArtefactError: the shard ends too early, or an image's bytes are not those that `download` wrote.
    """
    with path.open("rb") as file:
        for row in rows:
            data = os.pread(file.fileno(), row.length, row.offset)
            if hashlib.sha256(data).hexdigest() != row.id:
                raise ArtefactError(f"{path}: {row.source} is no longer the image that was downloaded", RESTORE)
            yield data


def read_square(row: ImageRow, shards: Path, side_px: int) -> NDArray[np.uint8]:
    """Reads an image from its shard and resizes it, see `decoding.square`.

    Args:
        row: the image's row.
        shards: folder of the shards.
        side_px: image side in pixels.

    Returns:
        uint8 RGB, (side_px, side_px, 3).

    Raises:
        ArtefactError: the image or its shard is damaged.
    """
    [data] = read_shard(shards / row.shard, [row])
    try:
        return square(decode(data, side_px), side_px)
    except DataError as error:  # `download` could decode it: another version of Pillow, or too little memory
        raise ArtefactError(f"{row.shard}: {row.source} can't be decoded ({error})", "run dvc repro") from error
