"""Formats that are not read are named, and JPEG files that lack only their end mark are told from truncated ones."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from bottletop.core.errors import DataError
from bottletop.images.decoding import decode
from bottletop.images.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from bottletop.images.jpeg_end import only_end_is_missing
from tests.pictures import encode, photo

SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"


def a_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bytes(128) + b"DICM\x02\x00", "a DICOM file"),
        (SVG.encode(), "an SVG file"),
        (f"<?xml version='1.0'?>\n<!-- drawn -->\n{SVG}".encode(), "an SVG file"),
        (b"8BPS\x00\x01" + bytes(20), "a Photoshop file"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript file"),
        (b"\x76\x2f\x31\x01\x02\x00\x00\x00", "an OpenEXR file"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01", "a camera's raw file"),
        (encode(photo(1), "ICO"), "an icon file"),
        (encode(photo(1).convert("RGBA"), "DDS"), "a DDS file"),
    ],
)
def test_an_image_of_a_format_that_is_not_read_is_named(data, name):
    with pytest.raises(DataError, match=f"^{name}: not read; convert it to PNG first$"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "a web page, not an image"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "a video, not an image"),
        (a_zip(), "an archive, not an image"),
    ],
)
def test_what_is_no_image_is_named_too(data, reason):
    with pytest.raises(DataError, match=f"^{reason}$"):
        decode(data)


def test_a_tiff_of_a_rare_kind_is_called_a_tiff():
    data = bytearray(encode(photo(1), "TIFF"))
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", 9)  # another photometric interpretation
    with pytest.raises(DataError, match=r"^a damaged TIFF file, or one of a kind that is not read .*convert it to PNG"):
        decode(bytes(data))


@pytest.mark.parametrize("tags", [{50706: b"\x01\x04\x00\x00"}, {254: 1, 330: 8}], ids=["DNG", "thumbnail first"])
def test_the_thumbnail_of_a_raw_photo_is_not_taken_for_the_photo(tags):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info.tagtype[tag] = 1 if isinstance(value, bytes) else 4
        info[tag] = value
    with pytest.raises(DataError, match=r"^a camera's raw file: not read"):
        decode(encode(photo(1), "TIFF", tiffinfo=info))


def test_no_ending_is_both_read_and_not_read():
    assert {".jpg", ".heic", ".avif", ".jp2", ".pgm"} <= IMAGE_SUFFIXES
    assert not IMAGE_SUFFIXES & UNREAD_SUFFIXES


# JPEG files without an end mark

BLANK = Image.new("RGB", (320, 240), "white")
HALF_BLANK = photo(3)
HALF_BLANK.paste((255, 255, 255), (0, 24, 64, 48))


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"quality": 100}], ids=str)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_mark_gives_its_pixels(options, missing):
    data = encode(photo(1, (160, 120)), "JPEG", **options)
    assert decode(data[:-missing]).tobytes() == decode(data).tobytes()
    assert decode(data[:-missing], 20).size == decode(data, 20).size == (80, 60)


@pytest.mark.parametrize(
    "image", [photo(1), photo(2).convert("L"), BLANK, HALF_BLANK], ids=["RGB", "L", "blank", "half"]
)
@pytest.mark.parametrize("options", [{}, {"optimize": True, "quality": 95}, {"progressive": True}], ids=str)
def test_wherever_a_jpeg_is_cut_it_is_rejected_or_gives_all_its_pixels(image, options):
    data = encode(image, "JPEG", **options)
    whole = decode(data).tobytes()
    accepted = []
    for end in range(max(len(data) - 1024, 4), len(data)):
        try:
            assert decode(data[:end]).tobytes() == whole
            accepted.append(len(data) - end)
        except DataError:
            continue
    assert set(accepted) <= {1, 2, 3, 4, 5, 6}  # bytes missing: the end mark, and padding that no pixel needs


@pytest.mark.parametrize("tail", [bytes(100), b"<html>", bytes(range(255))], ids=["zeros", "text", "bytes"])
@pytest.mark.parametrize("cut", [2, 10, 1000])
def test_foreign_bytes_in_place_of_the_end_are_not_completed(tail, cut):
    data = encode(photo(1, (160, 120)), "JPEG")
    assert not only_end_is_missing(data[:-cut] + tail)


def test_a_progressive_jpeg_that_lacks_its_last_scan_is_rejected():
    data = encode(photo(1, (160, 120)), "JPEG", progressive=True)
    with pytest.raises(DataError, match=r"^truncated or corrupt$"):
        decode(data[: data.rindex(b"\xff\xda")])


def test_a_jpeg_with_restart_markers_is_rejected_without_its_end_mark():
    data = encode(photo(1, (160, 120)), "JPEG", restart_marker_blocks=4)
    assert np.asarray(decode(data)).shape == (120, 160, 3)
    with pytest.raises(DataError, match=r"^truncated or corrupt$"):
        decode(data[:-2])
