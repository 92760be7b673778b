import msgspec
import numpy as np
import pytest

from bottletop.backbones.runtime import keras
from bottletop.core.errors import ArtefactError, ParamsError
from bottletop.core.paths import PARAMS
from bottletop.core.settings import parse
from bottletop.images.decoding import decode, square
from bottletop.images.index import read_shard
from bottletop.models import cnn
from bottletop.models.network_params import AugmentParams, CnnParams
from bottletop.models.pictures import open_pictures
from bottletop.split import SplitRow
from tests.tiny import SPLITS, image_shards, simple_params
from tests.tiny import pictures as photos

NO_CHANGE = dict.fromkeys(AugmentParams.__struct_fields__, 0.0) | {"flip": "none"}
AUGMENT = AugmentParams(**{**NO_CHANGE, "flip": "horizontal", "zoom": 0.2, "shear": 0.1, "shift": 0.1, "contrast": 0.2})
LAYERS = CnnParams(image_side_px=16, filters=(4, 6), pooling=2, dropout=0.1, precision="float32")
IN_BFLOAT16 = msgspec.structs.replace(LAYERS, precision="bfloat16")


def open_tiny(folder, per_class=10, side_px=16):
    """Random photos of two classes, splits in turn as in SPLITS."""
    images = image_shards(folder, [*photos("ant", per_class), *photos("bee", per_class, seed=1)])
    rows = [
        SplitRow(image.id, image.label, image.shard, image.group, SPLITS[i % len(SPLITS)], image.source)
        for i, image in enumerate(images)
    ]
    return open_pictures(folder, images, rows, side_px)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return open_tiny(tmp_path_factory.mktemp("pictures") / "tars")


def test_layers_are_convolutions_with_pooling_and_dropout_then_those_of_train():
    params = CnnParams(image_side_px=24, filters=(4, 8), pooling=(3, 2), dropout=0.25, precision="float32")
    model = cnn.build(24, 3, params, AugmentParams(**NO_CHANGE), simple_params(hidden=[5], dropout=0.4, l2=0.01))
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["Conv2D", "MaxPooling2D", "Dropout"]
    dense = ["Flatten", "Dropout", "Dense", "Activation", "Dropout", "Dense"]
    assert kinds == ["InputLayer", "Rescaling", *block, *block, *dense]
    [flatten] = [layer for layer in model.layers if isinstance(layer, keras.layers.Flatten)]
    assert flatten.output.shape == (None, 4 * 4 * 8)
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [4, 8]
    assert model.output_shape == (None, 3)


def test_images_go_in_as_bytes_and_probabilities_come_out(pictures):
    trained = cnn.train(pictures, LAYERS, AUGMENT, simple_params(model="cnn", epochs=1))
    values = trained.model.predict_on_batch(pictures.read(np.arange(6)))
    assert (values.shape, values.dtype) == ((6, 2), np.float32)
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("layers", [LAYERS, IN_BFLOAT16])
def test_the_same_seed_gives_the_same_network(pictures, layers):
    params = simple_params(model="cnn", epochs=2)
    one, two = (cnn.train(pictures, layers, AUGMENT, params) for _ in range(2))
    assert one.history == two.history
    for mine, theirs in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_training_in_bfloat16_gives_almost_the_same_network_and_it_predicts_in_float32(pictures):
    params = simple_params(model="cnn", epochs=2)
    exact, mixed = (cnn.train(pictures, layers, AUGMENT, params) for layers in (LAYERS, IN_BFLOAT16))
    assert mixed.history != exact.history
    assert {layer.compute_dtype for layer in mixed.model.layers} == {"float32"}
    assert (exact.record.precision, mixed.record.precision) == ("float32", "bfloat16")
    for split, expected in exact.probabilities.items():
        np.testing.assert_allclose(mixed.probabilities[split], expected, atol=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_learns_training_images_by_heart(pictures, precision):
    layers = CnnParams(image_side_px=16, filters=(16, 16), pooling=2, dropout=0.0, precision=precision)
    params = simple_params(model="cnn", epochs=60, learning_rate=0.005, hidden=[], dropout=0)
    trained = cnn.train(pictures, layers, AugmentParams(**NO_CHANGE), params)
    assert trained.history[-1]["accuracy"] == 1.0


def test_predictions_see_no_augmentation(pictures):
    model = cnn.build(16, 2, LAYERS, AUGMENT, simple_params())
    images = pictures.read(np.arange(4))
    np.testing.assert_array_equal(model.predict_on_batch(images), model.predict_on_batch(images))


@pytest.mark.parametrize("name", [name for name in NO_CHANGE if name != "flip"])
def test_each_augmentation_changes_training_images_and_stays_in_range(pictures, name):
    from bottletop.models import augmentation

    [layer] = augmentation.layers(AugmentParams(**{**NO_CHANGE, name: 45.0 if name == "rotation_degrees" else 0.5}))
    images = pictures.read(np.arange(8)).astype(np.float32) / 255
    changed = np.asarray(layer(images, training=True))
    assert np.abs(changed - images).max() > 0.05
    assert changed.min() >= -1e-4
    assert changed.max() <= 1 + 1e-4
    np.testing.assert_array_equal(np.asarray(layer(images, training=False)), images)


def test_images_too_small_for_so_many_poolings_are_refused():
    params = CnnParams(image_side_px=8, filters=(4, 4, 4, 4), pooling=2, dropout=0.0, precision="float32")
    with pytest.raises(ParamsError, match=r"leaves nothing of 8 pixels after 4 convolutions: raise cnn\.image_side_px"):
        cnn.build(8, 2, params, AugmentParams(**NO_CHANGE), simple_params())


def test_a_pooling_for_each_convolution_or_one_for_all():
    assert LAYERS.layers == [(4, 2), (6, 2)]
    with pytest.raises(ParamsError, match="a side per convolution, 2, got 3"):
        parse(CnnParams, {**msgspec.to_builtins(LAYERS), "pooling": [2, 2, 2]}, "cnn", PARAMS)


# Reading


def test_images_are_read_in_the_order_asked_for_as_the_backbone_sees_them(pictures):
    order = np.array([7, 0, 12])
    for row, found in zip(order, pictures.read(order), strict=True):
        image = pictures.images[row]
        [data] = read_shard(pictures.shards / image.shard, [image])
        np.testing.assert_array_equal(found, square(decode(data), 16))


def test_images_that_do_not_fit_into_memory_are_decoded_each_time(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr("bottletop.models.pictures.IN_MEMORY_BYTES", 0)
    found = open_tiny(tmp_path / "tars")
    np.testing.assert_array_equal(found.read(np.arange(5)), pictures.read(np.arange(5)))
    assert found._decoded is None


def test_a_damaged_image_names_itself(tmp_path):
    found = open_tiny(tmp_path / "tars")
    image = found.images[3]
    with (found.shards / image.shard).open("r+b") as file:
        file.seek(image.offset)
        file.write(b"not a picture")
    with pytest.raises(ArtefactError, match=f"{image.source} is no longer the image.*doctor"):
        found.read(np.arange(6))
