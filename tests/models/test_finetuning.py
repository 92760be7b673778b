import numpy as np
import pytest

from bottletop.backbones import extractor, weights
from bottletop.backbones.extractor import Extractor, best_engine
from bottletop.core.errors import ParamsError
from bottletop.features.extraction import extract
from bottletop.features.manifest import ExtractParams
from bottletop.models import finetuning, top, training
from bottletop.models.network_params import FinetuneParams
from bottletop.models.record import TUNED
from bottletop.models.vectors import open_features
from tests.models.test_cnn import AUGMENT, NO_CHANGE, open_tiny
from tests.tiny import random_weights, simple_params

PARAMS = FinetuneParams(from_layer="block5_conv2", learning_rate=1e-6, epochs=2, batch_size=8)
NOTHING = type(AUGMENT)(**NO_CHANGE)
TRAIN = simple_params(model="finetune", epochs=4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return open_tiny(tmp_path_factory.mktemp("finetuning") / "tars", side_px=32)


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    """Features of the pictures by a backbone with random weights, in float32."""
    folder = tmp_path_factory.mktemp("features") / "tars"
    params = ExtractParams(backbone="vgg16", image_side_px=32, precision="float32", bottleneck=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder.parent))
        engine = best_engine(params.backbone, params.precision)
        backbone = Extractor(params.backbone, random_weights(), 32, engine)
        extract(pictures.images, pictures.shards, backbone, params, folder)
    return folder


@pytest.fixture(scope="module")
def features(folder, pictures):
    return open_features(folder, pictures.rows, "pooled", "flatten")


@pytest.fixture(scope="module")
def tuned(features, pictures):
    seen = []
    found = finetuning.train(features, pictures, random_weights(), PARAMS, NOTHING, TRAIN, seen.append)
    return found, seen


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("pooled", "flatten"), ("bottleneck", "flatten"), ("bottleneck", "avg"), ("bottleneck", "max")],
)
def test_backbone_and_top_as_one_network_say_what_the_top_says_of_the_features(folder, pictures, kind, pooling):
    features = open_features(folder, pictures.rows, kind, pooling)
    trained = training.train(features, simple_params(features=kind, pooling=pooling, epochs=2))
    network = finetuning.build(features, random_weights(), trained.model, PARAMS, AUGMENT)
    rows = np.arange(len(pictures.rows))
    expected = trained.model.predict_on_batch(features.read(rows))
    np.testing.assert_allclose(network.predict_on_batch(pictures.read(rows)), expected, atol=2e-3)  # float16 on disk


def test_layers_before_the_named_one_stay_as_they_are_and_the_others_learn(tuned):
    changed = {name for name, array in random_weights().items() if not np.array_equal(array, tuned[0].arrays[name])}
    assert {name.split("/")[0] for name in changed} == {"block5_conv2", "block5_conv3"}


def test_what_is_saved_is_the_top_beside_the_backbone_that_it_was_trained_with(tuned, pictures, tmp_path):
    found = tuned[0]
    found.save(tmp_path / "model", tmp_path / "history.csv")
    model, record = top.load(tmp_path / "model")
    arrays = weights.load(tmp_path / "model" / TUNED)
    assert record.contract["weights_digest"] == weights.digest(arrays)
    rows = pictures.positions("test")
    _, pooled = extractor.Extractor("vgg16", arrays, 32, extractor.NCNN)(pictures.read(rows))
    np.testing.assert_array_equal(model.predict_on_batch(pooled), found.probabilities["test"])


def test_the_history_is_the_tops_up_to_its_best_epoch_and_then_fine_tunings(features, tuned):
    alone = training.train(features, simple_params(epochs=4))
    best = alone.record.best_epoch
    found, seen = tuned
    assert found.history[:best] == alone.history[:best]
    assert best < len(found.history) <= best + 2
    assert [entry["epoch"] for entry in seen] == list(range(1, len(found.history) + 1))


def test_fine_tuning_that_only_harms_leaves_the_top_as_it_was(features, pictures):
    harmful = FinetuneParams(from_layer="block5_conv2", learning_rate=0.5, epochs=1, batch_size=8)
    found = finetuning.train(features, pictures, random_weights(), harmful, NOTHING, TRAIN)
    alone = training.train(features, simple_params(epochs=4))
    assert found.history[-1]["val_loss"] > found.history[found.record.best_epoch - 1]["val_loss"]
    np.testing.assert_allclose(found.probabilities["test"], alone.probabilities["test"], atol=2e-3)


def test_the_record_keeps_the_settings_as_they_were_given(tuned):
    assert tuned[0].record.params == TRAIN


def test_a_layer_that_the_backbone_has_not_is_refused(features, pictures):
    wrong = FinetuneParams(from_layer="block6_conv1", learning_rate=1e-4, epochs=1, batch_size=8)
    with pytest.raises(ParamsError, match=r"finetune\.from_layer must be a layer of vgg16, such as .*block5_conv3"):
        finetuning.train(features, pictures, random_weights(), wrong, NOTHING, TRAIN)
