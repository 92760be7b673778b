"""Image files to RGB arrays."""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bottletop.core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # MPO, of some cameras, opens as JPEG
REVISION = 2  # raise it when `decode` or `square` change: features of before are not used any more
MAX_PIXELS = 64_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # lower than Pillow's own limit, and an error instead of a warning
warnings.simplefilter("error", Image.DecompressionBombWarning)


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


def square(image: Image.Image, side_px: int) -> NDArray[np.uint8]:
    """The image, resized with antialiasing and without regard to its aspect ratio: uint8, (side, side, 3)."""
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits: scale to 8, as convert() would only clip
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-12)
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() would copy
