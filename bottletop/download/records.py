"""Images that lie in a file of many, such as Parquet, named as if they were the members of an archive."""

import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottletop.download.archives import Member
from bottletop.download.layout import known_split

ENDINGS = {  # by the first bytes of a file
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG",
    ".gif": rb"GIF8",
    ".webp": rb"RIFF....WEBP",
    ".bmp": rb"BM",
    ".tif": rb"II\*\0|MM\0\*",
}


class Record(NamedTuple):
    """One image of such a file."""

    label: str  # the class, or folders with the class such as "fish/trout"; empty if the image has none
    data: bytes  # of an image file; empty if there is no image
    problem: str = ""  # why the record has no label or no image
    ending: str = ""  # of the file's name, where the first bytes do not tell it
    beside: Path | None = None  # the image's own file, if it has one


def split_of(name: str) -> str:
    """Returns the split that a file's name or else its folder tells: train, validation, test, or an empty string.

    ``train-00000-of-00002.parquet``, ``t10k-images-idx3-ubyte.gz`` and ``default/validation/0000.parquet`` tell one.
    """
    for part in reversed(PurePosixPath(name).parts):
        if found := "test" if part.startswith("t10k") else known_split(part):
            return found
    return ""


def members(split: str, records: Iterator[Record], numbers: Iterator[int]) -> Iterator[Member]:
    """Yields the images as members ``split/label/number.ending``, without the first folder if there is no split.

    A record without a label has one folder more, ``split/unlabelled/none/``, so that the pattern that takes the others
    does not match it. A record without an image is an empty file. The name of either holds the problem.

    Args:
        split: the first folder.
        records: the images.
        numbers: numbers them; shared by all files of a split.
    """
    for record, number in zip(records, numbers, strict=False):  # in this order no number is lost
        label = record.label or ("unlabelled/none" if split else "all/unlabelled/none")
        problem = f" ({component(record.problem)})" if record.problem else ""
        name = f"{label}/{number:06}{problem}{_ending(record)}"
        yield Member(f"{split}/{name}" if split else name, len(record.data), partial(bytes, record.data))


def component(text: str) -> str:
    """Returns the text as one component of a path: a slash in a class's name is no folder."""
    return text.replace("/", "∕")  # U+2215, which looks the same


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Returns a PNG of grey (h, w) or RGB (h, w, 3) pixels.

    It is not compressed: an image's id is the hash of its bytes, and every version of zlib compresses to other bytes.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _ending(record: Record) -> str:
    for ending, first in ENDINGS.items():
        if re.match(first, record.data, re.DOTALL):
            return ending
    return record.ending
