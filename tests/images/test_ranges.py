"""Which numbers of an image of more than 8 bits stand for black and white, and how much memory decoding takes."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from bottletop.core.errors import DataError
from bottletop.images import decoding
from bottletop.images.decoding import decode, header, lacks_contrast
from tests.memory import peak_kb
from tests.pictures import encode, photo

DARK = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # 12 bits stored as 16


def tiff(values, **tags) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[TAGS[name]] = value
    return encode(Image.fromarray(np.atleast_2d(values)), "TIFF", tiffinfo=info)


TAGS = {
    "photometric": 262,
    "min_sample": 280,
    "max_sample": 281,
    "sample_format": 339,
    "smin_sample": 340,
    "smax_sample": 341,
}


def grey(data: bytes) -> list[int]:
    return np.asarray(decode(data))[..., 0].ravel().tolist()


def replaced(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another number in a tag of type SHORT."""
    start = data.index(tag.to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00")
    return data[: start + 8] + value.to_bytes(2, "little") + data[start + 10 :]


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG2000"])
def test_16_bits_reach_from_0_to_65535(kind):
    data = encode(Image.fromarray(np.array([[0, 257, 25700, 65535]], np.uint16)), kind)
    assert grey(data) == [0, 1, 100, 255]


def test_8_bits_stored_as_16_or_as_floats_come_back():
    levels = np.arange(256)
    assert grey(tiff((levels * 257).astype(np.uint16))) == levels.tolist()
    assert grey(tiff((levels / 255).astype(np.float32))) == levels.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int32])
def test_a_dark_and_a_light_image_stay_different(dtype):
    full = 1 if dtype == np.float32 else 65535
    dark, light = (grey(tiff(np.full((2, 2), share * full, dtype)))[0] for share in (0.2, 0.9))
    assert (dark, light) == (51, pytest.approx(229, abs=1))


@pytest.mark.parametrize("tags", [{"smin_sample": 0.1, "smax_sample": 0.2}, {"max_sample": 1}], ids=["SMax", "Max"])
def test_the_extremes_that_a_tiff_names_do_not_count(tags):
    """Programs write each image's own extremes there."""
    assert grey(tiff(np.full((2, 2), 0.2, np.float32), **tags)) == [51] * 4


def test_signed_16_bits_keep_their_negative_numbers():
    data = tiff(np.array([-32768, 0, 32767], np.int16).view(np.uint16), sample_format=2)
    assert header(data)[2] == "I"
    assert grey(data) == [0, 127, 255]


@pytest.mark.parametrize("values", [np.array([0, 25700, 65535], np.uint16), np.array([0, 0.5, 1], np.float32)], ids=str)
def test_an_inverted_tiff_is_inverted_back(values):
    plain = tiff(values)
    inverted = replaced(plain, 262, 0)
    assert grey(inverted) == [255, {np.uint16: 155, np.float32: 128}[values.dtype.type], 0]


def test_a_tiff_of_12_bits_reaches_from_0_to_4095():
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x08, 0x00])  # 0, 4095, 2048, 2048
    data = replaced(tiff(np.zeros((1, 4), np.uint16)), 258, 12)
    place = int.from_bytes(data[data.index(b"\x11\x01") + 8 :][:4], "little")  # StripOffsets
    data = data[:place] + packed + data[place + 6 :]
    assert header(data)[2].startswith("I;16")
    assert grey(data) == [0, 255, 127, 127]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([0, 0.5, np.nan], np.float32), "floats outside 0 to 1, or NaN"),
        (np.array([0, 0.5, np.inf], np.float32), "floats outside 0 to 1, or NaN"),
        (np.array([0, 0.5, 1e6], np.float32), "floats outside 0 to 1, or NaN"),
        (np.array([-3, 0.5], np.float32), "floats outside 0 to 1, or NaN"),
        (np.array([0, 70_000], np.int32), "32-bit integers outside 0 to 65,535"),
        (np.array([-400, 5], np.int32), "32-bit integers outside 0 to 65,535"),
    ],
    ids=["NaN", "infinity", "outlier", "negative float", "large integer", "negative integer"],
)
def test_numbers_without_a_usual_range_are_rejected_with_what_to_do(values, reason):
    with pytest.raises(DataError, match=f"^{reason}: rescale them, or convert it to PNG first$"):
        decode(tiff(values))


def test_a_rounding_error_is_no_number_outside_the_range():
    assert grey(tiff(np.array([-1e-6, 1 + 1e-6], np.float32))) == [0, 255]


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        (encode(Image.fromarray(DARK), "PNG"), True),
        (encode(Image.new("RGB", (64, 64), "white"), "PNG"), True),
        (encode(Image.fromarray(DARK * 16), "PNG"), False),
        (encode(photo(1), "JPEG"), False),
    ],
    ids=["12 bits in 16", "blank", "16 bits", "photo"],
)
def test_images_without_contrast_are_told_from_others(data, lacking):
    assert lacks_contrast(np.asarray(decode(data))) is lacking


def test_the_strips_of_a_large_image_leave_no_seams(monkeypatch):
    transparent = photo(1).convert("RGBA")
    transparent.putalpha(photo(2).convert("L"))
    palette = transparent.quantize(16)
    files = [encode(image, "PNG") for image in (transparent, palette, transparent.convert("LA"), Image.fromarray(DARK))]
    whole = [decode(data).tobytes() for data in files]
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 7 * 64)
    assert [decode(data).tobytes() for data in files] == whole


def test_a_limit_counts_the_bytes_of_the_numbers_in_a_tiff(monkeypatch):
    data = tiff(np.zeros((48, 64), np.uint16))
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", 2 * 64 * 48)
    decode(data)
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", 2 * 64 * 48 - 1)
    with pytest.raises(DataError, match=r"^too many bytes when decoded$"):
        decode(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_image_of_64_megapixels_takes_less_than_700_megabytes(kind):
    values = np.zeros((8000, 8000), np.uint16 if kind == "PNG" else np.float32)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    code = "import sys; from bottletop.images.decoding import decode; decode(sys.stdin.buffer.read())"
    assert peak_kb(code, stdin=file.getvalue())[1] < 700_000
