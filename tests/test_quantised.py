import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from bottletop import backbone, quantised
from bottletop.errors import ParamsError
from bottletop.images import square, write_index
from bottletop.manifest import read_manifest
from bottletop.weight_sources import LAYERS
from bottletop.weights import save
from tests.test_backbone import BLOCK_SLICES, noise, plain_layers
from tests.tiny import ROOT, image_shards, pictures, random_weights


@cache
def ranges():
    """What `LARGEST` is for the real weights, with room for other images."""
    layers = plain_layers(random_weights(), noise(1, 64, seed=9)[0])
    return {layer: 1.5 * float(values.max()) for layer, values in layers.items()}


def forward(side=32):
    return quantised.forward(random_weights(), side, ranges())


def compute(images, side):
    return forward(side)(images)


def test_there_is_a_range_for_each_layer():
    assert list(quantised.LARGEST) == list(LAYERS)


@pytest.mark.parametrize("side", [32, 50, 64])
def test_int8_agrees_with_float32(side):
    """8 bits, and weights that are as random as can be: about 1 % a layer, which averages out."""
    images = noise(3, side)
    rough = compute(images, side)
    exact = backbone.build(random_weights(), side, "float32")(images)
    for ours, theirs in zip(rough, exact, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs.astype(np.float64))


def test_an_images_features_do_not_depend_on_its_neighbours_place_or_number():
    run = forward(64)
    images = noise(8, 64)
    bottleneck, pooled = run(images)
    for chosen in (slice(None, None, -1), slice(2, 3), slice(0, 5)):
        np.testing.assert_array_equal(run(images[chosen])[0], bottleneck[chosen])
        np.testing.assert_array_equal(run(images[chosen])[1], pooled[chosen])


def test_the_same_images_give_the_same_bytes_again():
    images = noise(4, 64)
    first, second = (compute(images, 64) for _ in range(2))
    assert [values.tobytes() for values in first] == [values.tobytes() for values in second]


def test_processors_without_vnni_give_the_same_bytes(monkeypatch):
    images = noise(4, 64)
    here = compute(images, 64)
    monkeypatch.setattr(quantised, "has_vnni", lambda: False)
    there = compute(images, 64)
    assert [values.tobytes() for values in here] == [values.tobytes() for values in there]


def test_values_over_a_layers_range_become_its_largest():
    small = {**ranges(), "block5_conv3": 0.5}
    bottleneck, pooled = quantised.forward(random_weights(), 32, small)(noise(2, 32))
    assert bottleneck.max() == 0.5
    assert pooled[:, BLOCK_SLICES["block5 maxima"]].max() == 0.5


def test_other_weights_than_those_of_the_ranges_are_refused():
    with pytest.raises(ParamsError, match=r"extract\.precision is int8.*got weights with digest .* set it to bfloat16"):
        backbone.build(random_weights(), 32, "int8")


EXTRACTION = """
import sys
from pathlib import Path
from bottletop import quantised
from bottletop.config import load
from bottletop.extraction import extract
from bottletop.images import read_index
from bottletop.manifest import ExtractParams
from bottletop.weights import digest, load as load_weights
import stages.extract
weights = load_weights(Path("weights.npz"))
quantised.MEASURED_WITH = digest(weights)
params = ExtractParams(backbone="vgg16", image_side_px=32, precision="int8", views=1, flip=False, bottleneck=True)
extract(read_index(Path("index.csv")), Path("images"), weights, 32, params, Path("features"))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")))
"""


def test_extraction_in_int8_does_not_import_tensorflow(tmp_path, monkeypatch):
    save(tmp_path / "weights.npz", random_weights())
    write_index(tmp_path / "index.csv", image_shards(tmp_path / "images", pictures("dog", 3)))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", EXTRACTION], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    manifest = read_manifest(tmp_path / "features")
    assert (manifest.precision, manifest.rows) == ("int8", 3)
    assert sorted(manifest.versions) == ["numpy", "onnxruntime", "pillow", "python"]


@pytest.fixture(scope="module")
def china(real_weights):
    image = square(Image.fromarray(load_sample_image("china.jpg")), 224)
    return {kind: backbone.build(real_weights, 224, kind)(image[None]) for kind in ("float32", "int8")}


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCK_SLICES)
def test_int8_agrees_with_float32_on_a_photo(china, block):
    exact, rough = (china[kind][1][0, BLOCK_SLICES[block]].astype(np.float64) for kind in ("float32", "int8"))
    assert exact @ rough / np.linalg.norm(exact) / np.linalg.norm(rough) >= 0.998
