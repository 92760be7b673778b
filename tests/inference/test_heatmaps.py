import numpy as np
import pytest

from bottletop.backbones import tensorflow_engine
from bottletop.backbones.runtime import keras
from bottletop.inference import classifier
from bottletop.models import top
from tests.pictures import photo
from tests.sample_models import SIDE, write_model, write_network
from tests.tiny import MEANS_BGR, random_weights

IMAGE = np.asarray(photo(3, (SIDE, SIDE)))[None]


def last_convolution():
    network = tensorflow_engine.model("vgg16", random_weights(), SIDE, "float32")
    cells = keras.Model(network.input, network.get_layer("block5_conv3").output)
    return cells(IMAGE[..., ::-1].astype(np.float32) - np.float32(MEANS_BGR)).numpy()[0]


def test_heat_of_a_linear_top_on_averages_is_the_maps_weighted_as_the_class_weighs_them(tmp_path):
    """Zhou et al. (2016), of which Grad-CAM is the generalisation."""
    files = write_model(tmp_path, features="bottleneck", pooling="avg", transform="none", standardise=False)
    kernel = top.load(files.model)[0].get_layer("classes").kernel.numpy()
    expected = np.maximum(last_convolution() @ kernel, 0)
    seen = [number for number in range(3) if expected[..., number].max() > 0]
    assert seen
    for number in seen:
        heat = classifier.load(files).explain()(IMAGE, number)
        np.testing.assert_allclose(heat, expected[..., number] / expected[..., number].max(), atol=1e-4)


@pytest.mark.parametrize(("features", "pooling"), [("pooled", "avg"), ("bottleneck", "flatten"), ("bottleneck", "max")])
def test_heat_is_finite_and_its_highest_is_one_for_every_kind_of_top(tmp_path, features, pooling):
    model = classifier.load(write_model(tmp_path, features=features, pooling=pooling, hidden=[8], dropout=[0.5]))
    explain = model.explain()
    heats = [explain(IMAGE, number) for number in range(3)]
    for heat in heats:
        assert heat.shape == (SIDE // 16, SIDE // 16)
        assert heat.dtype == np.float32
        assert np.isfinite(heat).all()
        assert heat.min() >= 0
        assert heat.max() in (0, 1)
    assert any(heat.max() == 1 for heat in heats)


def test_heat_of_a_network_is_its_last_maps_weighted_by_how_the_score_changes_with_them(tmp_path):
    files = write_network(tmp_path)
    network = top.load(files.model)[0]
    convolution = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    cells = keras.Model(network.input, convolution.output)(IMAGE).numpy()
    last = network.get_layer("classes")
    score = keras.Model(convolution.output, last.input)
    heat = classifier.load(files).explain()(IMAGE, 1)
    step, slopes = 1e-2, []
    for channel in range(cells.shape[-1]):  # the mean slope of a map: what adding to all of its cells does
        more, less = cells.copy(), cells.copy()
        more[..., channel] += step
        less[..., channel] -= step
        change = (score(more).numpy() - score(less).numpy()) @ last.kernel.numpy()[:, 1]
        slopes.append(change.item() / (2 * step))
    expected = np.maximum(cells[0] @ np.array(slopes), 0)
    assert expected.max() > 0
    np.testing.assert_allclose(heat, expected / expected.max(), atol=1e-3)


def test_what_a_black_image_leaves_at_zero_gives_no_heat_that_is_not_a_number(tmp_path):
    heat = classifier.load(write_model(tmp_path)).explain()(np.zeros_like(IMAGE), 0)
    assert np.isfinite(heat).all()
