import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from bottletop.backbones.runtime import keras
from bottletop.models import keras_file

KERNEL = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
BIAS = np.array([1, 2, 3], np.float32)


def by_keras(*, sqrt):
    """The network that the written file describes, built by Keras."""
    keras.utils.clear_session()  # operations are named by their number
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
    keras_file.write_linear(tmp_path / "ours.keras", KERNEL, BIAS, sqrt=sqrt)
    by_keras(sqrt=sqrt).save(tmp_path / "saved.keras")
    keras_file.write(tmp_path / "theirs.keras", keras_file.read(tmp_path / "saved.keras"))
    assert contents(tmp_path / "ours.keras") == contents(tmp_path / "theirs.keras")


@pytest.mark.parametrize("sqrt", [True, False], ids=["square roots", "as they are"])
def test_keras_loads_a_linear_classifiers_file(sqrt, tmp_path):
    keras_file.write_linear(tmp_path / "ours.keras", KERNEL, BIAS, sqrt=sqrt)
    model = keras.saving.load_model(tmp_path / "ours.keras", safe_mode=True)
    features = np.array([[4, -9, 0, 1, 0.5, 2]], np.float32)
    transformed = np.array([[2, -3, 0, 1, 0.5**0.5, 2**0.5]]) if sqrt else features
    logits = transformed @ KERNEL + BIAS
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model.predict_on_batch(features), expected, rtol=1e-5)


def test_equal_classifiers_give_equal_files(tmp_path):
    for name in ("one", "two"):
        keras_file.write_linear(tmp_path / name, KERNEL, BIAS, sqrt=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
