import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image

from bottletop.core.errors import DataError
from bottletop.download.containers import opened
from tests.pictures import write_folder, write_tar, write_zip

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx(values) -> bytes:
    values = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist(**changes: bytes) -> dict[str, bytes]:
    """Three training images and a test image."""
    files = {
        "train-images-idx3-ubyte": idx(PIXELS),
        "train-labels-idx1-ubyte": idx([7, 0, 7]),
        "t10k-images-idx3-ubyte": idx(PIXELS[:1]),
        "t10k-labels-idx1-ubyte": idx([3]),
    }
    return files | {name.replace("_", "-"): data for name, data in changes.items()}


def contents(path) -> dict[str, bytes]:
    return {member.name: member.read() for member in opened(path)}


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.mark.parametrize(("write", "name"), [(write_folder, "a"), (write_zip, "a.zip"), (write_tar, "a.tar.gz")])
def test_images_are_grey_pngs_below_their_split_and_label(tmp_path, write, name):
    found = contents(write(tmp_path / name, mnist()))
    assert sorted(found) == ["test/3/000001.png", "train/0/000002.png", "train/7/000001.png", "train/7/000003.png"]
    np.testing.assert_array_equal(pixels(found["train/0/000002.png"]), PIXELS[1])
    np.testing.assert_array_equal(pixels(found["train/7/000003.png"]), PIXELS[2])


def test_gzipped_files_give_the_same_bytes(tmp_path):
    plain = contents(write_folder(tmp_path / "plain", mnist()))
    packed = {f"{name}.gz": gzip.compress(data) for name, data in mnist().items()}
    assert contents(write_folder(tmp_path / "packed", packed)) == plain


def test_the_letters_of_emnist_stand_upright(tmp_path):
    files = {f"emnist-letters-{name}": data for name, data in mnist().items() if name.startswith("train")}
    found = contents(write_folder(tmp_path, files))
    np.testing.assert_array_equal(pixels(found["train/7/000001.png"]), PIXELS[0].T)


def test_a_second_copy_of_a_file_is_not_read_again(tmp_path):
    twice = {f"again/{name}": data for name, data in mnist().items()}
    assert len(contents(write_folder(tmp_path, mnist() | twice))) == 4


def test_as_many_labels_as_images_are_needed(tmp_path):
    write_folder(tmp_path, mnist(train_labels_idx1_ubyte=idx([7, 0])))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has 3 images, .*train-labels-idx1-ubyte 2 labels"):
        contents(tmp_path)


@pytest.mark.parametrize("cut", [2, 10, 30, -1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_that_is_cut_off_is_named(tmp_path, cut, pack):
    write_folder(tmp_path, mnist(train_images_idx3_ubyte=pack(idx(PIXELS))[:cut]))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not a whole IDX file .*: delete it"):
        contents(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_that_is_too_long_is_named(tmp_path, pack):
    write_folder(tmp_path, mnist(train_labels_idx1_ubyte=pack(idx([7, 0, 7]) + b"\0")))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte is not a whole IDX file \(it is longer"):
        contents(tmp_path)


def test_other_types_than_bytes_are_refused(tmp_path):
    floats = bytes([0, 0, 0x0D, 3]) + bytes(12)
    write_folder(tmp_path, mnist(train_images_idx3_ubyte=floats))
    with pytest.raises(DataError, match=r"begins with 00000d03, expected 00000803"):
        contents(tmp_path)


def test_images_without_labels_are_refused_also_alone(tmp_path):
    [path] = [write_folder(tmp_path, {"train-images-idx3-ubyte": idx(PIXELS)}) / "train-images-idx3-ubyte"]
    for place in (tmp_path, path):
        with pytest.raises(DataError, match="the train split of an IDX dataset must have one file of labels, got none"):
            contents(place)


def test_two_sets_of_one_split_are_refused(tmp_path):
    files = {f"emnist-{kind}-{name}": data for kind in ("letters", "digits") for name, data in mnist().items()}
    files["emnist-digits-train-images-idx3-ubyte"] = idx(PIXELS[::-1])
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"one file of images, got .*digits-train-images.*letters-train-images"):
        contents(tmp_path)
