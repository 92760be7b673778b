import hashlib

import numpy as np
import pytest

from bottletop.backbones.weights import digest, load, save
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.errors import ArtefactError
from bottletop.core.settings import load as load_params
from bottletop.download.weight_sources import LAYERS
from tests.tiny import ROOT, random_weights

# The kernel's value at [0, 0, 0, 0] and the first bias of each layer, as others have published them who loaded Keras'
# file, or MatConvNet's copy of the original Caffe model.
PUBLISHED = {
    "block1_conv1": (0.42947057, 0.73429835),
    "block1_conv2": (0.16621928, -0.30912212),
    "block2_conv1": (-0.008902963, -0.04577766),
    "block2_conv2": (-0.0023012366, -0.06418542),
    "block3_conv1": (0.002486315, -0.074358866),
    "block3_conv2": (-0.0103266295, 0.019675018),
    "block3_conv3": (0.0024918285, 0.035415243),
    "block4_conv1": (-0.012453815, 0.013485669),
    "block4_conv2": (0.007116542, 0.023680462),
    "block4_conv3": (-0.0041355654, 0.03757768),
    "block5_conv1": (-0.0006068934, 0.09722325),
    "block5_conv2": (-0.0011261065, 0.21327873),
    "block5_conv3": (0.00040788297, 0.18837857),
}
PUBLISHED_FURTHER_IN = {
    ("block1_conv1/kernel", (0, 1, 0, 0)): 0.373467,
    ("block1_conv1/kernel", (0, 2, 0, 0)): -0.06136011,
    ("block1_conv1/kernel", (1, 0, 0, 0)): 0.27476987,
    ("block1_conv1/kernel", (0, 0, 1, 0)): 0.55037946,  # green; the channels are blue, green, red
    ("block1_conv1/kernel", (0, 0, 2, 0)): 0.4800154,
    ("block1_conv1/kernel", (0, 0, 0, 63)): 0.00757738389,
    ("block1_conv1/bias", (25,)): 0.7446502,
    ("block1_conv2/kernel", (2, 2, 63, 63)): 0.016082443,
    ("block2_conv1/bias", (1,)): 0.06440781,
    ("block5_conv1/kernel", (1, 0, 63, 269)): -0.011236359,
    ("block5_conv2/bias", (510,)): 0.23517226,
    ("block5_conv3/kernel", (0, 2, 0, 400)): -0.008714244,
}


def small():
    return {"b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "a/bias": np.array([1.5], np.float32)}


def test_digest_is_sha256_over_names_shapes_and_values_in_the_order_of_the_names():
    text = b"a/bias (1,)\n" + small()["a/bias"].tobytes() + b"b/kernel (2, 3)\n" + small()["b/kernel"].tobytes()
    assert digest(small()) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "same",
    [
        lambda arrays: dict(reversed(arrays.items())),
        lambda arrays: {name: array.astype(">f4") for name, array in arrays.items()},
        lambda arrays: {name: np.asfortranarray(array) for name, array in arrays.items()},
    ],
    ids=["order of the layers", "byte order", "memory layout"],
)
def test_digest_does_not_depend_on(same):
    assert digest(same(small())) == digest(small())


@pytest.mark.parametrize(
    "other",
    [
        {"a/bias": np.array([1.5000001], np.float32)},
        {"b/kernel": np.arange(6, dtype=np.float32).reshape(3, 2)},
        {"c/bias": np.array([0], np.float32)},
    ],
    ids=["a value", "a shape", "a layer more"],
)
def test_digest_changes_with(other):
    assert digest(small() | other) != digest(small())


def test_saved_arrays_are_loaded_bit_for_bit(tmp_path):
    save(tmp_path / "weights.npz", small())
    loaded = load(tmp_path / "weights.npz")
    assert digest(loaded) == digest(small())
    assert {array.dtype for array in loaded.values()} == {np.dtype(np.float32)}


def test_saved_bytes_depend_on_the_arrays_alone(tmp_path):
    save(tmp_path / "one.npz", small())
    save(tmp_path / "two.npz", dict(reversed(small().items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "evil.npz", bias=np.array([print], dtype=object))
    with pytest.raises(ArtefactError, match="allow_pickle"):
        load(tmp_path / "evil.npz")


def test_no_changed_byte_of_the_file_changes_an_array(tmp_path):
    save(tmp_path / "weights.npz", small())
    data = (tmp_path / "weights.npz").read_bytes()
    refused = 0
    for position in range(len(data)):
        (tmp_path / "weights.npz").write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            for name, array in load(tmp_path / "weights.npz").items():  # one may be missing, which the engines refuse
                np.testing.assert_array_equal(array, small()[name])
        except ArtefactError:
            refused += 1
    assert refused > len(data) / 2


def test_real_weights_have_the_digest_that_weights_yaml_pins(real_weights):
    assert digest(real_weights) == load_params(WeightsEntry, "vgg16", ROOT / "weights.yaml").digest


def test_real_weights_have_the_shapes_of_vgg16(real_weights):
    assert {name: array.shape for name, array in real_weights.items()} == {
        name: array.shape for name, array in random_weights().items()
    }
    assert sum(array.size for array in real_weights.values()) == 14_714_688  # as Keras' summary says


@pytest.mark.parametrize("layer", LAYERS)
def test_real_weights_begin_as_published(real_weights, layer):
    found = real_weights[f"{layer}/kernel"][0, 0, 0, 0], real_weights[f"{layer}/bias"][0]
    assert found == pytest.approx(PUBLISHED[layer], rel=1e-6)


@pytest.mark.parametrize(("name", "where"), PUBLISHED_FURTHER_IN)
def test_real_weights_further_in_are_as_published(real_weights, name, where):
    assert real_weights[name][where] == pytest.approx(PUBLISHED_FURTHER_IN[name, where], rel=1e-6)
