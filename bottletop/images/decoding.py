"""Decodes image files to RGB arrays."""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bottletop.core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow opens MPO, which some cameras write, as JPEG
REVISION = 2  # increase when `decode` or `square` changes, so that older features are no longer used
MAX_PIXELS = 64_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # lower than Pillow's own limit; the filter below makes its warning an error
warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(data: bytes, side_px: int | None = None) -> Image.Image:
    """Decodes the first frame of an image, uncropped, to 8-bit RGB.

    The EXIF orientation is applied. Transparent areas are drawn on white.

    Args:
        data: the bytes of the file.
        side_px: side in pixels that the image will be reduced to, if known. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, which is several times faster; the reduced image is still at least twice as wide and high
            as `side_px`. Other formats are decoded at full size.

    Raises:
        DataError: the file is empty, truncated or corrupt, has none of the `FORMATS`, or exceeds `MAX_PIXELS`. The
            message is the reason only, without the file's name.
    """
    if not data:
        raise DataError("empty file")
    try:
        if data.startswith(b"\x89PNG"):
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()  # checks the checksums, which decoding does not
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
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error) as error:  # by Pillow
        raise DataError("truncated or corrupt") from error


def header(data: bytes) -> tuple[int, int, str]:
    """Returns width and height in pixels, and Pillow's mode, as stored in the file.

    Args:
        data: the bytes of an image that `decode` accepts.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return image.width, image.height, image.mode


def square(image: Image.Image, side_px: int) -> NDArray[np.uint8]:
    """Resizes an RGB image to a square with antialiasing, ignoring its aspect ratio.

    Returns:
        uint8, (side_px, side_px, 3).
    """
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: scale to 8, because convert() would only clip
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-12)
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() would make a copy
