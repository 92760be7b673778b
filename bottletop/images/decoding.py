"""Decodes image files to RGB arrays."""

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bottletop.core.errors import DataError
from bottletop.images.formats import RAW_PHOTO, READ, is_heif, is_raw_photo, why_unread
from bottletop.images.jpeg_end import END_MARK, only_end_is_missing

REVISION = 2  # increase when `decode` or `square` changes the pixels of 8-bit images: older features become unusable
DEEP_REVISION = 3  # the same for images of more than 8 bits per number, see `is_deep`
MAX_PIXELS = 64_000_000
MAX_DECODED_BYTES = 4 * MAX_PIXELS  # of the numbers as stored in the file, uncompressed; see `_check_size`
STRIP_PIXELS = 1 << 20  # images are converted in strips of about this size; bounds the memory
MIN_LEVELS = 16  # of 256 grey levels; 12 bits stored as 16 use the darkest 16 levels only
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # lower than Pillow's own limit; the filter below makes its warning an error
warnings.simplefilter("error", Image.DecompressionBombWarning)
_TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, RuntimeError, struct.error)  # by Pillow


def decode(data: bytes, side_px: int | None = None) -> Image.Image:
    """Decodes the first frame of an image, uncropped, to 8-bit RGB.

    The EXIF orientation is applied; one that cannot be read counts as none. Transparent areas are drawn on white.

    Numbers of more than 8 bits are scaled by a range that follows from their type, never from the image's own values,
    so that a dark image stays dark: integers of 16 bits from 0 to 65,535 (signed: -32,768 to 32,767), of 12 bits from
    0 to 4,095, floats from 0 to 1. Integers of 32 bits have no usual range; they must fit into 16 bits. Where larger
    numbers are darker (TIFF's MinIsWhite), they are inverted. The extremes that a TIFF's tags may name are ignored:
    programs write the extremes of each image there, and images of different exposure would become equal.

    Args:
        data: the bytes of the file.
        side_px: side in pixels that the image will be reduced to, if known. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, which is several times faster; the reduced image is still at least twice as wide and high
            as `side_px`. Other formats are decoded at full size.

    Raises:
        DataError: the file is empty, truncated or corrupt, of a format that is not read, larger than `MAX_PIXELS` or
            `MAX_DECODED_BYTES`, or has numbers outside their range. The message is the reason only, without the file's
            name.
    """
    if not data:
        raise DataError("empty file")
    try:
        try:
            return _decoded(data, side_px)
        except OSError:
            if not only_end_is_missing(data):
                raise
            return _decoded(data + END_MARK, side_px)
    except UnidentifiedImageError as error:
        raise DataError(why_unread(data)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError("too many pixels") from error
    except _DAMAGE as error:
        raise DataError("truncated or corrupt") from error


def header(data: bytes) -> tuple[int, int, str]:
    """Returns width and height in pixels, and Pillow's mode, as stored in the file.

    Args:
        data: the bytes of an image that `decode` accepts.
    """
    with _open(data) as image:
        return image.width, image.height, image.mode


def square(image: Image.Image, side_px: int) -> NDArray[np.uint8]:
    """Resizes an RGB image to a square with antialiasing, ignoring its aspect ratio.

    Returns:
        uint8, (side_px, side_px, 3).
    """
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR))


def is_deep(mode: str) -> bool:
    """Whether images of this mode, from `header`, have numbers of more than 8 bits."""
    return mode.startswith(("I", "F"))


def lacks_contrast(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image is nearly of one colour, such as a blank scan, or 12 bits stored as 16, which look black.

    Args:
        pixels: uint8, of any shape; best a thumbnail, in which noise and specks have been averaged out.
    """
    return int(pixels.max()) - int(pixels.min()) < MIN_LEVELS


def _open(data: bytes) -> Image.Image:
    """Opens the file without decoding it. pillow-heif is imported only for a HEIF file: it takes 0.1 s."""
    if not is_heif(data):
        return Image.open(io.BytesIO(data), formats=READ)
    import pillow_heif

    pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(data), formats=("HEIF",))


def _decoded(data: bytes, side_px: int | None) -> Image.Image:
    if data.startswith(b"\x89PNG"):
        _verify_png(data)
    with _open(data) as image:
        _check_size(image)
        if is_raw_photo(data, _tags(image)):
            raise DataError(RAW_PHOTO)
        if side_px is not None:
            image.draft(None, (2 * side_px, 2 * side_px))
        image.load()
        turn, rgb = _turn(image), _rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def _verify_png(data: bytes) -> None:
    """Verifies a PNG's checksums, which decoding does not, and raises the limit for its texts and colour profiles."""
    from PIL import PngImagePlugin  # Pillow imports it with the first image

    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MiB; Pillow's own limit of 1 MiB is too low
    Image.open(io.BytesIO(data), formats=("PNG",)).verify()


def _check_size(image: Image.Image) -> None:
    """Refuses an image that would take too much memory.

    Pillow holds at most 4 bytes per pixel. A TIFF may have more in the file, which are decompressed as a whole.
    """
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError("too many pixels")
    bits = sum(_tags(image).get(258, ()))  # of each sample of a pixel
    if pixels * bits / 8 > MAX_DECODED_BYTES:
        raise DataError("too many bytes when decoded")


def _tags(image: Image.Image) -> dict[int, Any]:
    """Returns the tags of a TIFF by number; 258 is BitsPerSample, 262 the photometric interpretation, 339 SampleFormat.

    Empty for other formats.
    """
    return getattr(image, "tag_v2", {})


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Returns how the EXIF orientation turns the image; None if it does not, or cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises whatever damaged EXIF data lead to
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if is_deep(image.mode):
        black, white = _range(image)
        return _by_strips(image, lambda strip: _to_8_bits(strip, black, white))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _by_strips(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() would make a copy


def _range(image: Image.Image) -> tuple[float, float]:
    """Returns the numbers that stand for black and white, see `decode`."""
    tags = _tags(image)
    (bits, *_), (sample_format, *_) = tags.get(258, (16,)), tags.get(339, (1,))
    if image.mode == "F":
        low, high = 0.0, 1.0
    elif bits == 16 and sample_format == 2:
        low, high = -32768.0, 32767.0
    else:
        low, high = 0.0, 4095.0 if bits == 12 else 65535.0
    min_is_white = tags.get(262) == 0
    return (high, low) if min_is_white else (low, high)


def _to_8_bits(strip: Image.Image, black: float, white: float) -> Image.Image:
    values = np.asarray(strip).astype(np.float64)
    values -= black
    values /= white - black
    rounding = 0.5 if strip.mode == "F" else 0.0  # 8-bit images divided by 255 come back; integers are cut off
    if not (values.min() >= -1 / 512 and values.max() <= 1 + 1 / 512):  # also if a number is NaN
        what = "floats outside 0 to 1, or NaN" if strip.mode == "F" else "32-bit integers outside 0 to 65,535"
        raise DataError(f"{what}: rescale them, or convert it to PNG first")
    values *= 255
    values += rounding
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _on_white(strip: Image.Image) -> Image.Image:
    rgba = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Converts an image to RGB strip by strip, so that the intermediate results of a large image take little memory."""
    result = Image.new("RGB", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        result.paste(convert(strip).convert("RGB"), (0, top))
    return result
