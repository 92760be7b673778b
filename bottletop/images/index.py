"""The table of a dataset's images: which there are, and where the bytes of each are."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ArtefactError, DataError
from bottletop.core.files import read_rows, write_csv
from bottletop.images.decoding import decode, square


class ImageRow(NamedTuple):
    """A row of index.csv: one image and where its bytes are."""

    id: str  # SHA-256 of the file's bytes, hex
    label: str  # class, display name
    shard: str  # file name of the tar
    offset: int  # bytes, of the image within the tar
    length: int  # bytes
    width: int  # pixels, as stored
    height: int
    mode: str  # Pillow's: RGB, L, CMYK …
    phash: str  # 64-bit perceptual hash, hex; empty for flat images
    group: str  # the same for duplicates: the smallest id's first 16 digits
    official: str  # "train", "test", or empty where the dataset has no official split
    source: str  # path in the archive or folder


def write_index(path: Path, rows: Iterable[ImageRow]) -> None:
    write_csv(path, ImageRow._fields, rows)


def read_index(path: Path) -> list[ImageRow]:
    """The rows in the order of the shards and of the images within them."""
    return list(Index(path))


@dataclass(frozen=True)
class Index:
    """The same rows, read from the file in each loop over them: they take no memory."""

    path: Path

    def __iter__(self) -> Iterator[ImageRow]:
        return read_rows(self.path, ImageRow)


def read_shard(path: Path, rows: Sequence[ImageRow]) -> Iterator[bytes]:
    """The files of the rows, all of one tar, by one `pread` each."""
    with path.open("rb") as file:
        for row in rows:
            data = os.pread(file.fileno(), row.length, row.offset)
            if len(data) != row.length:
                raise ArtefactError(f"{path} ends before {row.source}", "run dvc repro")
            yield data


def read_square(row: ImageRow, shards: Path, side_px: int) -> NDArray[np.uint8]:
    """The image from its tar, see `decoding.square`: uint8 RGB, (side, side, 3).

    Raises:
        ArtefactError: it is damaged.
    """
    [data] = read_shard(shards / row.shard, [row])
    try:
        return square(decode(data, side_px), side_px)
    except DataError as error:  # the download took it, so the shard has changed since
        raise ArtefactError(f"{row.shard}: {row.source} is damaged ({error})", "run dvc repro") from error
