import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from bottletop.backbones.runtime import keras
from bottletop.models import keras_file, linear_network
from bottletop.models.linear_network import LinearNetwork

KERNEL = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
BIAS = np.array([1, 2, 3], np.float32)


def by_keras(*, sqrt):
    """The network that the written file describes, built by Keras."""
    keras.utils.clear_session(free_memory=False)  # operations are named by their number
    inputs = values = keras.Input((6,), name="features")
    if sqrt:
        roots = keras.ops.sqrt(keras.ops.abs(values))
        values = keras.ops.sign(inputs) * roots
    last = keras.layers.Dense(3, activation="softmax", kernel_initializer="zeros", name="classes")
    model = keras.Model(inputs, last(values), name="top")
    last.set_weights([KERNEL, BIAS])
    return model


def contents(path):
    """The parsed members of a .keras file: the JSON files, and names, attributes and arrays of the HDF5 file."""
    with zipfile.ZipFile(path) as file:
        found = {name: json.loads(file.read(name)) for name in file.namelist() if name.endswith(".json")}
        with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
            nodes = {}
            weights.visititems(lambda name, node: nodes.update({name: (dict(node.attrs), values(node))}))
    return {**found, "weights": nodes}


def values(node):
    return node[()].tolist() if isinstance(node, h5py.Dataset) else None


@pytest.mark.parametrize("sqrt", [True, False], ids=["square roots", "as they are"])
def test_a_linear_classifiers_file_holds_what_keras_writes(sqrt, tmp_path):
    LinearNetwork(KERNEL, BIAS, sqrt).write(tmp_path / "ours.keras")
    by_keras(sqrt=sqrt).save(tmp_path / "saved.keras")
    keras_file.write(tmp_path / "theirs.keras", keras_file.read(tmp_path / "saved.keras"))
    assert contents(tmp_path / "ours.keras") == contents(tmp_path / "theirs.keras")


@pytest.mark.parametrize("sqrt", [True, False], ids=["square roots", "as they are"])
def test_keras_loads_a_linear_classifiers_file(sqrt, tmp_path):
    LinearNetwork(KERNEL, BIAS, sqrt).write(tmp_path / "ours.keras")
    model = keras.saving.load_model(tmp_path / "ours.keras", safe_mode=True)
    features = np.array([[4, -9, 0, 1, 0.5, 2]], np.float32)
    transformed = np.array([[2, -3, 0, 1, 0.5**0.5, 2**0.5]]) if sqrt else features
    logits = transformed @ KERNEL + BIAS
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model.predict_on_batch(features), expected, rtol=1e-5)


def test_equal_classifiers_give_equal_files(tmp_path):
    for name in ("one", "two"):
        LinearNetwork(KERNEL, BIAS, sqrt=True).write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("sqrt", [True, False], ids=["square roots", "as they are"])
def test_a_linear_network_that_was_read_predicts_what_keras_predicts(sqrt, tmp_path):
    LinearNetwork(KERNEL, BIAS, sqrt).write(tmp_path / "top.keras")
    read = linear_network.read(tmp_path / "top.keras")
    theirs = keras.saving.load_model(tmp_path / "top.keras", safe_mode=True)
    assert (read.input_shape, read.output_shape) == (theirs.input_shape, theirs.output_shape)
    features = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float16)
    np.testing.assert_allclose(read.predict_on_batch(features), theirs.predict_on_batch(features), atol=1e-6)


def test_any_other_network_is_left_to_keras(tmp_path):
    inputs = keras.Input((6,), name="features")
    last = keras.layers.Dense(3, activation="sigmoid", name="classes")
    keras.Model(inputs, last(inputs), name="top").save(tmp_path / "top.keras")
    assert linear_network.read(tmp_path / "top.keras") is None


@pytest.mark.parametrize("stored", [{"compression": "gzip"}, {"external": [("elsewhere", 0, 72)]}], ids=str)
def test_arrays_that_are_compressed_or_in_another_file_are_left_to_keras(stored, tmp_path):
    path = tmp_path / "top.keras"
    LinearNetwork(KERNEL, BIAS, sqrt=True).write(path)
    members = keras_file.read(path)
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", shape=(6, 3), dtype="f4", **stored)
    keras_file.write(path, {**members, "model.weights.h5": data.getvalue()})
    assert linear_network.read(path) is None


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_a_file_that_was_cut_off_is_left_to_keras(keep, tmp_path):
    path = tmp_path / "top.keras"
    LinearNetwork(KERNEL, BIAS, sqrt=True).write(path)
    path.write_bytes(path.read_bytes()[:keep])
    assert linear_network.read(path) is None
