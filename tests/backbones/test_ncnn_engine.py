"""Backbones by ncnn; that they agree with plain NumPy and with TensorFlow is in test_backbone.py."""

import subprocess
import sys

import numpy as np
import pytest

from bottletop.backbones import architectures, ncnn_engine
from bottletop.backbones.weights import save
from bottletop.features.manifest import read_manifest
from bottletop.images.index import write_index
from tests.tiny import ROOT, image_shards, pictures, random_weights


def noise(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize("side", [32, 50, 96])
def test_the_shapes_are_known_before_anything_is_computed(side):
    bottleneck, pooled = ncnn_engine.forward("vgg16", random_weights(), side)(noise(2, side))
    *_, last = maps = architectures.maps("vgg16", side)
    assert bottleneck.shape == (2, *last)
    assert pooled.shape == (2, 2 * sum(channels for _, _, channels in maps))


def test_the_same_images_give_the_same_bytes_again():
    forward = ncnn_engine.forward("vgg16", random_weights(), 64)
    first, second = (forward(noise(5, 64)) for _ in range(2))
    assert [values.tobytes() for values in first] == [values.tobytes() for values in second]


def test_where_several_layers_read_one_each_gets_a_copy():
    steps = [
        ncnn_engine._Step("Input", "images", (), shape=(5, 6, 3)),
        ncnn_engine._Step("Pooling", "a", ("images",), "0=1"),
        ncnn_engine._Step("Pooling", "b", ("images",)),
        ncnn_engine._Step("Concat", "c", ("a", "b")),
    ]
    assert ncnn_engine._text(steps).splitlines() == [
        "7767517",
        "5 6",
        "Input images 0 1 images -23330=4,3,6,5,3",
        "Split images/copies 1 2 images images/copy0 images/copy1 -23330=8,3,6,5,3,3,6,5,3",
        "Pooling a 1 1 images/copy0 a 0=1",
        "Pooling b 1 1 images/copy1 b",
        "Concat c 2 1 a b c",
    ]


def test_a_bound_of_what_a_network_can_put_out_is_found_from_its_weights():
    weights = {}
    for layer in architectures.LAYERS["vgg16"]:
        if layer.kind == "convolution":
            weights[f"{layer.name}/kernel"] = np.zeros((3, 3, 2, 2), np.float32)
            weights[f"{layer.name}/bias"] = np.zeros(2, np.float32)
    weights["block1_conv1/kernel"][0, 0] = [[1, 2], [-3, 1]]  # of the first output 4, of the second 3
    weights["block1_conv2/bias"][:] = [-5000, 7]
    assert architectures.largest("vgg16", weights) == 5000
    weights["block1_conv2/kernel"][1, 1] = [[2, 0], [0, 0]]
    assert architectures.largest("vgg16", weights) == 4 * 255 * 2 + 5000


EXTRACTION = """
import sys
from pathlib import Path
from bottletop.backbones.extractor import NCNN, Extractor
from bottletop.features.extraction import extract
from bottletop.images.index import read_index
from bottletop.features.manifest import ExtractParams
from bottletop.backbones.weights import load
import stages.extract
params = ExtractParams(backbone="vgg16", image_side_px=32, precision="float32", bottleneck=True)
extractor = Extractor("vgg16", load(Path("weights.npz")), 32, NCNN)
extract(read_index(Path("images/index.csv")), Path("images"), extractor, params, Path("features"))
print(sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "pandas", "mlflow"}))
"""


def test_extraction_imports_none_of_the_large_libraries(tmp_path, monkeypatch):
    save(tmp_path / "weights.npz", random_weights())
    write_index(tmp_path / "images/index.csv", image_shards(tmp_path / "images", pictures("dog", 3)))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", EXTRACTION], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    manifest = read_manifest(tmp_path / "features")
    assert (manifest.engine, manifest.precision, manifest.rows) == ("ncnn", "float32", 3)
    assert sorted(manifest.versions) == ["ncnn", "numpy", "pillow", "python"]
