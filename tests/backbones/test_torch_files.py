"""Files of PyTorch tensors, made here as PyTorch made them before 1.6."""

import pickle
import struct

import numpy as np
import pytest

from bottletop.backbones import torch_files
from bottletop.core.errors import DataError


class Storage:
    """What PyTorch pickles as a reference to values elsewhere in the file."""

    def __init__(self, key, count):
        self.key, self.count = key, count


class Call:
    """A value that is pickled as a call of a function named by module and name."""

    def __init__(self, module, name, *arguments):
        self.function, self.arguments = (module, name), arguments


class Pickler(pickle._Pickler):
    """Writes names of functions that need not be there."""

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", Call("torch", "FloatStorage"), obj.key, "cpu", obj.count, None)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Call):
            self.write(pickle.GLOBAL + "\n".join([*obj.function, ""]).encode())
            if obj.arguments:
                super().save(obj.arguments)
                self.write(pickle.REDUCE)
            return None
        return super().save(obj, save_persistent_id)


def pickled(value, path):
    with path.open("ab") as file:
        Pickler(file, protocol=2).dump(value)


def tensor(key, count, shape, strides, offset=0):
    return Call("torch._utils", "_rebuild_tensor_v2", Storage(key, count), offset, shape, strides, False, {})


@pytest.fixture
def path(tmp_path):
    """Two tensors, one of them with its axes in another order, that share their values."""
    path = tmp_path / "two.pth"
    tensors = {"whole": tensor("0", 6, (2, 3), (3, 1)), "turned": tensor("0", 6, (2, 2), (1, 3), offset=1)}
    for value in (torch_files.MAGIC, 1001, {}, tensors, ["0"]):
        pickled(value, path)
    with path.open("ab") as file:
        file.write(struct.pack("<q6f", 6, *range(6)))
    return path


def test_tensors_come_with_their_shapes_whatever_the_order_of_their_values(path):
    found = torch_files.read(path.read_bytes())
    np.testing.assert_array_equal(found["whole"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[1, 4], [2, 5]])
    assert {array.dtype for array in found.values()} == {np.dtype("<f4")}


def test_a_file_that_is_cut_off_anywhere_is_refused(path):
    data = path.read_bytes()
    for length in range(len(data)):
        with pytest.raises(DataError, match=r"not a \.pth file of tensors"):
            torch_files.read(data[:length])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 zip", b"<html>", bytes(100)])
def test_another_file_is_refused(data):
    with pytest.raises(DataError, match=r"not a \.pth file of tensors"):
        torch_files.read(data)


def test_a_function_that_rebuilds_no_tensor_is_not_called(tmp_path):
    pickled(Call("os", "mkdir", str(tmp_path / "made")), tmp_path / "evil.pth")
    with pytest.raises(DataError, match=r"os\.mkdir is no tensor"):
        torch_files.read((tmp_path / "evil.pth").read_bytes())
    assert not (tmp_path / "made").exists()


def test_a_tensor_that_is_larger_than_its_values_is_refused(tmp_path):
    for value in (torch_files.MAGIC, 1001, {}, {"a": tensor("0", 1, (10**6, 10**6), (0, 0))}, ["0"]):
        pickled(value, tmp_path / "large.pth")
    with (tmp_path / "large.pth").open("ab") as file:
        file.write(struct.pack("<qf", 1, 0))
    with pytest.raises(DataError, match="has 1 values only"):
        torch_files.read((tmp_path / "large.pth").read_bytes())
