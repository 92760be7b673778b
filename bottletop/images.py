"""Image files to RGB arrays, and the table of a dataset's images."""

import io
import os
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bottletop.errors import ArtefactError, DataError
from bottletop.files import read_rows, write_csv

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # MPO, of some cameras, opens as JPEG
REVISION = 2  # raise it when `decode` or `square` change: features of before are not used any more
MAX_PIXELS = 64_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # lower than Pillow's own limit, and an error instead of a warning
warnings.simplefilter("error", Image.DecompressionBombWarning)


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
                raise ArtefactError(f"{path} ends before {row.source}: run dvc repro")
            yield data


def decode(data: bytes, side_px: int | None = None) -> Image.Image:
    """The whole first frame as 8-bit RGB, turned as its EXIF orientation says, on white where transparent.

    Args:
        side_px: what it will shrink to. A JPEG may come at 1/2, 1/4 or 1/8 of its size then, which is several times
            faster, but at least twice as wide and high as this; other formats come as they are.

    Raises:
        DataError: not an image of the `FORMATS`, truncated, or over `MAX_PIXELS`; the message is the reason alone.
    """
    if not data:
        raise DataError("empty file")
    try:
        if data.startswith(b"\x89PNG"):
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()  # checksums, which decoding leaves out
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError("too many pixels")
            if side_px is not None:
                image.draft(None, (2 * side_px, 2 * side_px))
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return _rgb(image)
    except UnidentifiedImageError as error:
        raise DataError("not an image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError("too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error) as error:  # Pillow's
        raise DataError("truncated or corrupt") from error


def header(data: bytes) -> tuple[int, int, str]:
    """Width and height in pixels and Pillow's mode, as stored, of an image that `decode` took."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return image.width, image.height, image.mode


def square(image: Image.Image, side_px: int, box: tuple[float, float, float, float] | None = None) -> NDArray[np.uint8]:
    """The image, resized with antialiasing and without regard to its aspect ratio: uint8, (side, side, 3).

    Args:
        box: left, top, right and bottom of what is taken of it, in pixels; None is the whole.
    """
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR, box))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits: scale to 8, as convert() would only clip
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-12)
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() would copy
