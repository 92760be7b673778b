"""Reads images and labels in the IDX format of MNIST, Fashion-MNIST, KMNIST and EMNIST."""

import gzip
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bottletop.core.errors import DataError
from bottletop.core.files import file_digest
from bottletop.download.records import Record, png, split_of
from bottletop.images.decoding import MAX_PIXELS

NAMES = re.compile(r"(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
UBYTE = 0x08  # the code of the only type that these datasets use
AGAIN = "delete it, and download it again"


def read(files: Mapping[str, Path]) -> Iterator[tuple[str, Iterator[Record]]]:
    """Yields each split and its images; the labels are numbers, as text.

    Args:
        files: paths by name, such as ``train-images-idx3-ubyte.gz`` with ``train-labels-idx1-ubyte.gz``.

    Raises:
        DataError: a split has not one file of images and one of labels, or a file is damaged or of another kind.
    """
    splits: dict[str, dict[str, dict[str, Path]]] = defaultdict(lambda: {"images": {}, "labels": {}})
    for name, path in files.items():
        if found := NAMES.search(name):
            splits[split_of(name)][found[1]][file_digest(path)] = path  # some archives hold a file twice
    for split, kinds in splits.items():
        for kind, paths in kinds.items():
            if len(paths) != 1:
                listed = ", ".join(str(path) for path in paths.values()) or "none"
                raise DataError(
                    f"the {split or 'only'} split of an IDX dataset must have one file of {kind}, got {listed}",
                    "keep one pair of files for each split in the folder",
                )
        yield split, _pair(*kinds["images"].values(), *kinds["labels"].values())


def _pair(images: Path, labels: Path) -> Iterator[Record]:
    """Yields the images of one split, read one by one."""
    with _opened(labels) as file:
        (count,) = _shape(file, 1)
        numbers = _exactly(file, count)
        _end(file)
    with _opened(images) as file:
        number_of_images, height, width = _shape(file, 3)
        if number_of_images != count:
            raise DataError(f"{images} has {number_of_images} images, {labels} {count} labels", "get both files again")
        if not 0 < height * width <= MAX_PIXELS:
            raise DataError(f"{images}: images of {width} x {height} pixels, allowed are 1 to {MAX_PIXELS:,} pixels")
        for number in numbers:
            pixels = np.frombuffer(_exactly(file, height * width), np.uint8).reshape(height, width)
            if "emnist" in images.name.lower():
                pixels = pixels.T  # EMNIST stores its letters column by column
            yield Record(str(number), png(pixels))
        _end(file)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens the file, unpacked if it is a gzip, and turns errors of damaged files into DataError."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]  # a GzipFile reads as they do
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is not a whole IDX file ({error})", AGAIN) from error


def _shape(file: BinaryIO, dimensions: int) -> tuple[int, ...]:
    """Reads the header: two zeros, the type, the number of dimensions, and each dimension's size."""
    kind = _exactly(file, 4)
    if kind != bytes([0, 0, UBYTE, dimensions]):
        raise EOFError(f"it begins with {kind.hex()}, expected 0000{UBYTE:02x}{dimensions:02x}")
    return struct.unpack(f">{dimensions}I", _exactly(file, 4 * dimensions))


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("it is cut off")
    return data


def _end(file: BinaryIO) -> None:
    """Checks that nothing follows; for a gzip, this also checks its checksum."""
    if file.read(1):
        raise EOFError("it is longer than its header says")
