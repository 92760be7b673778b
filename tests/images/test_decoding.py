import csv
import hashlib
import io
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from bottletop.core.errors import ArtefactError, DataError
from bottletop.images import decoding
from bottletop.images.decoding import decode, header, square
from bottletop.images.index import ImageRow, Index, read_index, read_shard, write_index
from tests.pictures import encode, jpeg, photo, png

JPEG_LOSS = 10  # grey levels, on average
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
ROW = ImageRow("ab" * 32, "cat", "cat-000.tar", 512, 100, 64, 48, "RGB", "f0" * 8, "ab" * 8, "", "cat/1.jpg")


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


pillow_heif.register_heif_opener()  # to write HEIF files


def strip(mode: str, values, dtype=np.uint8) -> Image.Image:
    """An image one pixel high."""
    image = Image.fromarray(np.array([values], dtype))
    return image if image.mode == mode else image.convert(mode)


def difference(left: Image.Image, right: Image.Image) -> float:
    """The mean, in grey levels."""
    return float(np.abs(np.asarray(left, np.float64) - np.asarray(right)).mean())


# Decoding


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM"])
def test_lossless_formats_give_their_exact_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels(decode(encode(photo(1), kind, **options))) == pixels(photo(1))


@pytest.mark.parametrize("kind", ["JPEG", "HEIF", "AVIF"])
def test_lossy_formats_give_nearly_their_pixels(kind):
    assert difference(decode(encode(photo(1), kind)), photo(1)) < JPEG_LOSS < difference(photo(1), photo(2)) / 4


@pytest.mark.parametrize(
    ("mode", "data", "expected"),
    [
        ("1", b"P4 2 1\n\x80", [BLACK, WHITE]),
        ("1", b"P1 2 1\n1 0", [BLACK, WHITE]),
        ("L", b"P5 2 1 255\n\x00\x80", [BLACK, (128, 128, 128)]),
        ("I", b"P5 2 1 4095\n\x00\x00\x0f\xff", [BLACK, WHITE]),
        ("RGB", b"P3 2 1 255\n255 0 0  0 0 0", [RED, BLACK]),
    ],
    ids=["PBM", "PBM as text", "PGM", "PGM of 12 bits", "PPM as text"],
)
def test_portable_pixmaps_give_their_pixels(mode, data, expected):
    assert header(data) == (2, 1, mode)
    assert pixels(decode(data)) == expected


def test_a_heif_photo_is_found_by_its_list_of_brands():
    data = encode(photo(1), "HEIF")
    assert data[8:12] == b"heic"
    assert decode(data[:8] + b"mif1" + data[12:]).size == header(data)[:2] == (64, 48)


def test_pillow_heif_is_imported_for_a_heif_file_only():
    code = "import sys; from bottletop.images.decoding import decode; data = sys.stdin.buffer.read(); decode(data); "
    code += "print('pillow_heif' in sys.modules)"
    for kind, imported in (("JPEG", "False"), ("HEIF", "True")):
        data = encode(photo(1), kind)
        done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
        assert done.stdout.decode().strip() == imported


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 400), (400, 400)),  # at half its size, less than twice as wide
        ((446, 1600), (446, 1600)),
        ((448, 1600), (224, 800)),
        ((1600, 900), (400, 225)),
        ((4000, 3000), (500, 375)),
    ],
)
def test_a_jpeg_may_come_smaller_but_twice_as_wide_and_high_as_it_is_wanted(size, expected):
    assert decode(jpeg(1, size), side_px=112).size == expected
    assert decode(jpeg(1, size)).size == size


def test_a_smaller_jpeg_shrinks_to_nearly_the_same_square():
    data = jpeg(1, (1600, 1200))
    full, reduced = (square(decode(data, side), 64).astype(int) for side in (None, 64))
    assert 0 < np.abs(full - reduced).mean() < 1
    assert np.abs(full - square(decode(jpeg(2, (1600, 1200))), 64)).mean() > 20


def test_a_smaller_jpeg_is_turned_as_its_exif_data_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(photo(1, (800, 400)), "JPEG", exif=exif), side_px=64).size == (200, 400)


@pytest.mark.parametrize("side_px", [None, 16])
def test_a_cut_off_jpeg_is_rejected_at_any_size(side_px):
    data = jpeg(1, (640, 480))
    with pytest.raises(DataError, match="truncated"):
        decode(data[: len(data) // 2], side_px)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (strip("L", [0, 128, 255]), "PNG", [BLACK, (128, 128, 128), WHITE]),
        (strip("1", [0, 255]), "PNG", [BLACK, WHITE]),
        (strip("P", [RED, BLACK]), "GIF", [RED, BLACK]),
        (strip("RGBA", [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 102)]), "PNG", [RED, WHITE, (153, 153, 153)]),
        (strip("LA", [(0, 255), (0, 0)]), "PNG", [BLACK, WHITE]),
        (strip("I;16", [0, 32768, 65535], np.uint16), "PNG", [BLACK, (127, 127, 127), WHITE]),
        (strip("I", [0, 32768, 65535], np.int32), "TIFF", [BLACK, (127, 127, 127), WHITE]),
        (strip("F", [0, 0.5, 1], np.float32), "TIFF", [BLACK, (128, 128, 128), WHITE]),
        (strip("F", [0, 0, 0], np.float32), "TIFF", [BLACK, BLACK, BLACK]),
        (strip("CMYK", [RED, WHITE, BLACK]), "TIFF", [RED, WHITE, BLACK]),
    ],
    ids=["grey", "1 bit", "palette", "RGBA", "grey alpha", "16 bits", "32 bits", "floats", "black floats", "CMYK"],
)
def test_every_mode_becomes_rgb_on_white(image, kind, expected):
    decoded = decode(encode(image, kind))
    assert (decoded.mode, pixels(decoded)) == ("RGB", expected)


def test_a_cmyk_jpeg_gives_nearly_its_pixels():
    assert difference(decode(encode(photo(1).convert("CMYK"), "JPEG", quality=95)), photo(1)) < 5


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(kind):
    image = strip("P", [RED, BLACK])
    black = np.asarray(image)[0, 1]
    assert pixels(decode(encode(image, kind, transparency=int(black)))) == [RED, WHITE]


@pytest.mark.parametrize("image", [strip("L", [9, 10]), strip("RGB", [(9, 9, 9), (10, 10, 10)])], ids=["L", "RGB"])
def test_a_transparent_colour_without_an_alpha_channel_is_white(image):
    transparent = 10 if image.mode == "L" else (10, 10, 10)
    assert pixels(decode(encode(image, "PNG", transparency=transparent))) == [(9, 9, 9), WHITE]


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda image: image),
        (2, lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        (3, lambda image: image.transpose(Image.Transpose.ROTATE_180)),
        (6, lambda image: image.transpose(Image.Transpose.ROTATE_270)),
        (8, lambda image: image.transpose(Image.Transpose.ROTATE_90)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_is_turned_as_its_exif_data_says(orientation, turned, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(photo(1), kind, exif=exif))
    assert decoded.size == turned(photo(1)).size
    assert difference(decoded, turned(photo(1))) < JPEG_LOSS


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, BLACK))
    decoded = decode(encode(first, kind, save_all=True, append_images=[second]))
    assert difference(decoded, first) < 3


def test_an_mpo_of_a_stereo_camera_gives_its_first_picture():
    data = encode(photo(1), "MPO", save_all=True, append_images=[photo(2)])
    assert difference(decode(data), photo(1)) < JPEG_LOSS


# What is rejected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"not a picture", "not an image"),
        (bytes(1000), "not an image"),
        (jpeg(1)[:3], "truncated or corrupt"),
        (jpeg(1)[:-100], "truncated or corrupt"),
        (png(1)[:-100], "truncated or corrupt"),
        (encode(photo(1), "WEBP")[:-100], "truncated or corrupt"),
        (encode(photo(1), "TIFF")[:-3000], "truncated or corrupt"),
        (encode(photo(1), "BMP")[:-100], "truncated or corrupt"),
    ],
    ids=["empty", "text", "zeros", "3 bytes", "JPEG", "PNG", "WebP", "TIFF", "BMP"],
)
def test_what_cannot_be_decoded_is_rejected_with_the_reason_alone(data, reason):
    with pytest.raises(DataError, match=f"^{reason}$"):
        decode(data)


def test_a_picture_of_too_many_pixels_is_rejected(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match=r"^too many pixels$"):
        decode(png(1))


def test_a_picture_of_just_the_allowed_pixels_is_taken(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48)
    assert decode(png(1)).size == (64, 48)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")  # as bottletop.images sets it
@pytest.mark.parametrize("side", [11_000, 16_000], ids=["over the limit", "over twice the limit"])
def test_a_small_file_that_claims_to_be_huge_is_rejected_undecoded(side):
    with pytest.raises(DataError, match=r"^too many pixels$"):
        decode(_png_header(side))


def _png_header(side: int) -> bytes:
    """A PNG whose header alone says how large it is."""
    from PIL.PngImagePlugin import putchunk

    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", side.to_bytes(4, "big") * 2, b"\x08\x00\x00\x00\x00")
    putchunk(file, b"IDAT", b"")
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "HEIF", "AVIF", "JPEG2000", "PPM"])
def test_a_damaged_file_is_decoded_or_rejected_but_is_never_another_error(kind, capfd):
    """One bit at a time; capfd keeps libtiff's complaints out of the log."""
    exif = {"exif": photo(1).getexif()} if kind in ("JPEG", "TIFF") else {}
    whole = encode(photo(1), kind, **exif)
    for position in range(0, min(len(whole), 600) * 8, 7):
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        with suppress(DataError):
            assert decode(bytes(data)).mode == "RGB"


def test_a_photo_is_turned_although_other_exif_data_have_a_wrong_type():
    exif = Image.Exif()
    exif[0x0112], exif[0x0100] = 6, 16
    data = encode(photo(1), "JPEG", exif=exif)
    width_is_a_number, width_is_a_text = b"\x01\x00\x00\x04", b"\x01\x00\x00\x02"
    assert width_is_a_number in data
    assert decode(data.replace(width_is_a_number, width_is_a_text)).size == (48, 64)


@pytest.mark.parametrize("wrong", [b"\x00\x02", b"\x00\x05", b"\x00\x07", b"\x00\x0c", b"\x00\x63"], ids=bytes.hex)
def test_an_orientation_of_a_wrong_type_counts_as_none(wrong):
    exif = Image.Exif()
    exif[0x0112] = 6
    data, number = encode(photo(1), "JPEG", exif=exif), b"\x01\x12\x00\x03"
    assert number in data
    assert decode(data.replace(number, number[:2] + wrong)).size == (64, 48)


def test_exif_data_that_are_no_exif_data_are_ignored():
    exif = b"Exif\x00\x00" + bytes(range(200))
    assert decode(encode(photo(1), "PNG", exif=exif)).size == (64, 48)


@pytest.mark.parametrize("compressed", [True, False], ids=["zTXt", "tEXt"])
def test_a_png_with_a_long_text_gives_its_pixels(compressed):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 3_000_000, zip=compressed)
    assert pixels(decode(encode(photo(1), "PNG", pnginfo=text))) == pixels(photo(1))


def test_a_png_with_a_large_colour_profile_gives_its_pixels():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(3_000_000)
    assert pixels(decode(encode(photo(1), "PNG", icc_profile=profile))) == pixels(photo(1))


# Headers and squares


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg(1, (30, 20)), (30, 20, "RGB")),
        (encode(photo(1).convert("L"), "PNG"), (64, 48, "L")),
        (encode(photo(1).convert("CMYK"), "JPEG"), (64, 48, "CMYK")),
    ],
)
def test_the_header_tells_size_and_mode_as_stored(data, expected):
    assert header(data) == expected


def test_a_square_is_the_whole_picture_whatever_its_shape():
    image = Image.fromarray(np.repeat(np.array([[RED, BLACK]], np.uint8), 50, axis=0).repeat(10, axis=1))
    assert image.size == (20, 50)
    result = square(image, 4)
    assert (result.shape, result.dtype) == ((4, 4, 3), np.uint8)
    assert (result[:, 0] == RED).all()
    assert (result[:, 3] == BLACK).all()


def test_a_square_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32))).convert("RGB")
    assert np.abs(square(stripes, 8).astype(int) - 127).max() <= 20


# The index


def test_the_index_comes_back_as_it_was(tmp_path):
    rows = [
        ROW,
        ROW._replace(label='lily, of "the" valley', phash="", official="test", source="été/2.jpg", offset=2048),
    ]
    write_index(tmp_path / "index.csv", rows)
    assert read_index(tmp_path / "index.csv") == rows


def test_an_index_can_be_looped_over_again(tmp_path):
    write_index(tmp_path / "index.csv", [ROW])
    index = Index(tmp_path / "index.csv")
    assert [list(index), list(index)] == [[ROW], [ROW]]


def test_the_index_names_its_columns(tmp_path):
    write_index(tmp_path / "index.csv", [ROW])
    with (tmp_path / "index.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(ImageRow._fields)


@pytest.mark.parametrize("text", ["", "id,label\n", "label,id,shard,offset\n"])
def test_an_index_of_other_columns_is_refused(tmp_path, text):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(ArtefactError, match=r"index.csv has other columns than id, label, .*: run dvc repro"):
        read_index(tmp_path / "index.csv")


def test_the_bytes_of_each_row_are_read_from_its_place(tmp_path):
    (tmp_path / "cat-000.tar").write_bytes(b"..first..second")
    rows = [row(b"second", offset=9), row(b"first", offset=2)]
    assert list(read_shard(tmp_path / "cat-000.tar", rows)) == [b"second", b"first"]


@pytest.mark.parametrize("content", [b"..fi", b"..fIrst"])
def test_an_image_whose_bytes_are_not_those_of_its_id_is_refused(tmp_path, content):
    (tmp_path / "cat-000.tar").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"cat-000.tar: cat/1.jpg is no longer the image .*: run bottletop doctor"):
        list(read_shard(tmp_path / "cat-000.tar", [row(b"first", offset=2)]))


def test_an_index_that_was_changed_is_refused(tmp_path):
    write_index(tmp_path / "index.csv", [ROW])
    (tmp_path / "index.csv").write_text((tmp_path / "index.csv").read_text().replace("cat", "dog"))
    with pytest.raises(ArtefactError, match=r"index.csv was changed after it was written: .*: run bottletop doctor"):
        read_index(tmp_path / "index.csv")


def row(data, offset):
    return ROW._replace(id=hashlib.sha256(data).hexdigest(), offset=offset, length=len(data))
