import io
import pickle

import numpy as np
import pytest
from PIL import Image

from bottletop.core.errors import DataError
from bottletop.download.containers import opened
from tests.pictures import photo, write_folder, write_tar

PHOTOS = [np.asarray(photo(seed, (32, 32))) for seed in range(4)]
META = b"airplane\nautomobile\nbird\n\n"


def record(labels: list[int], pixels: np.ndarray) -> bytes:
    return bytes(labels) + pixels.transpose(2, 0, 1).tobytes()


CIFAR_10 = {
    "cifar-10-batches-bin/data_batch_1.bin": record([2], PHOTOS[0]) + record([0], PHOTOS[1]),
    "cifar-10-batches-bin/data_batch_2.bin": record([1], PHOTOS[2]),
    "cifar-10-batches-bin/batches.meta.txt": META,
    "cifar-10-batches-bin/test_batch.bin": record([2], PHOTOS[3]),
}
CIFAR_100 = {
    "cifar-100-binary/train.bin": record([1, 0], PHOTOS[0]),
    "cifar-100-binary/test.bin": record([0, 2], PHOTOS[1]),
    "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers\n",
    "cifar-100-binary/fine_label_names.txt": b"orchid\ntulip\ntrout\n",
}


def contents(path) -> dict[str, bytes]:
    return {member.name: member.read() for member in opened(path) if not member.problem}


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("write", "name"), [(write_folder, "cifar"), (write_tar, "cifar-10-binary.tar.gz")])
def test_cifar_10_has_its_class_names_and_its_official_split(tmp_path, write, name):
    found = contents(write(tmp_path / name, CIFAR_10))
    assert sorted(found) == [
        "test/bird/000001.png",
        "train/airplane/000002.png",
        "train/automobile/000003.png",
        "train/bird/000001.png",
    ]
    np.testing.assert_array_equal(pixels(found["train/bird/000001.png"]), PHOTOS[0])
    np.testing.assert_array_equal(pixels(found["train/automobile/000003.png"]), PHOTOS[2])


def test_cifar_100_has_folders_of_superclass_and_class(tmp_path):
    found = contents(write_folder(tmp_path, CIFAR_100))
    assert sorted(found) == ["test/fish/trout/000001.png", "train/flowers/orchid/000001.png"]
    np.testing.assert_array_equal(pixels(found["test/fish/trout/000001.png"]), PHOTOS[1])


def test_without_the_file_of_names_the_classes_are_numbers(tmp_path):
    found = contents(write_folder(tmp_path, {"test_batch.bin": record([2], PHOTOS[3])}))
    assert list(found) == ["test/2/000001.png"]


@pytest.mark.parametrize("data", [CIFAR_10["cifar-10-batches-bin/data_batch_1.bin"][:-1], b""])
def test_a_file_that_is_cut_off_is_named(tmp_path, data):
    write_folder(tmp_path, CIFAR_10 | {"cifar-10-batches-bin/data_batch_1.bin": data})
    with pytest.raises(DataError, match=r"data_batch_1\.bin is not a whole file of CIFAR: .*: delete it"):
        contents(tmp_path)


def test_a_class_that_has_a_name_but_no_image_is_an_empty_folder(tmp_path):
    names = META.rstrip(b"\n") + b"\nfrog\n"
    found = opened(write_folder(tmp_path, CIFAR_10 | {"cifar-10-batches-bin/batches.meta.txt": names}))
    assert [(member.name, member.problem) for member in found if member.problem] == [("test/frog", "an empty folder")]


def test_a_missing_file_is_named(tmp_path):
    files = {name: data for name, data in CIFAR_10.items() if "batch_1" not in name}
    with pytest.raises(DataError, match=r"files of CIFAR-10 are missing: data_batch_1.bin"):
        contents(write_folder(tmp_path, files))


def test_a_label_without_a_name_is_damage(tmp_path):
    write_folder(tmp_path, CIFAR_10 | {"cifar-10-batches-bin/test_batch.bin": record([3], PHOTOS[3])})
    with pytest.raises(DataError, match=r"test_batch\.bin, image 1: its label is 3, allowed are 0 to 2"):
        contents(tmp_path)


@pytest.mark.parametrize("name", ["cifar-10-batches-py/data_batch_1", "cifar-100-python/train"])
@pytest.mark.parametrize("write", [write_folder, write_tar])
def test_the_version_of_pickles_is_refused_and_nothing_of_it_is_run(tmp_path, name, write):
    class Harmful:
        def __reduce__(self):
            return open, (str(tmp_path / "has run"), "w")

    path = write(tmp_path / "cifar", {name: pickle.dumps(Harmful())})
    with pytest.raises(DataError, match=r"pickles: to read one runs code.*binary version, cifar-10-binary\.tar\.gz"):
        contents(path)
    assert not (tmp_path / "has run").exists()


def test_other_files_called_train_bin_are_no_container(tmp_path):
    assert opened(write_folder(tmp_path, {"train.bin": b"\0" * 3073, "cat/1.txt": b""})) is None
