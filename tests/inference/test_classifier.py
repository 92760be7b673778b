import subprocess
import sys

import numpy as np
import pytest

from bottletop.backbones import extractor, weights
from bottletop.core.errors import ArtefactError
from bottletop.core.files import SUMS, read_json, write_json
from bottletop.images.decoding import square
from bottletop.inference import classifier
from bottletop.inference.classifier import Classifier
from bottletop.models import top
from bottletop.models.linear_network import LinearNetwork
from tests.pictures import photo, png
from tests.sample_models import CLASSES, SIDE, write_model, write_network
from tests.tiny import ENGINES, POOLED_FEATURES, ROOT, random_weights

KINDS = [("pooled", "flatten"), ("bottleneck", "flatten"), ("bottleneck", "avg"), ("bottleneck", "max")]


def images(count):
    return np.stack([np.asarray(photo(number, (SIDE, SIDE))) for number in range(count)])


@pytest.mark.parametrize(("features", "pooling"), KINDS)
def test_probabilities_are_those_of_the_top_on_features_as_they_are_stored(tmp_path, features, pooling):
    files = write_model(tmp_path, features=features, pooling=pooling)
    found = classifier.load(files).probabilities(images(5))
    bottleneck, pooled = extractor.Extractor("vgg16", random_weights(), SIDE, extractor.NCNN)(images(5))
    stored = pooled if features == "pooled" else bottleneck.reshape(5, 512)  # one place at 32 px, however pooled
    model, _ = top.load(files.model)
    np.testing.assert_array_equal(found, model.predict_on_batch(stored))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert np.ptp(found, axis=0).min() > 0.01  # images differ


def test_an_image_file_is_seen_as_the_pipeline_sees_it(tmp_path):
    picture, pixels = classifier.load(write_model(tmp_path)).look(png(1, (40, 30)))
    assert picture.size == (40, 30)
    np.testing.assert_array_equal(pixels, square(photo(1, (40, 30)), SIDE))


def test_class_names_and_side_are_the_models(tmp_path):
    model = classifier.load(write_model(tmp_path))
    assert isinstance(model, Classifier)
    assert (model.class_names, model.image_side_px, model.batch_size) == (CLASSES, SIDE, 64)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_backbone_is_computed_as_the_features_were(tmp_path, engine, monkeypatch):
    files = write_model(tmp_path, engine=engine)
    asked = []
    compute = extractor.Extractor.__call__
    monkeypatch.setattr(
        extractor.Extractor, "__call__", lambda self, images: asked.append(self.engine) or compute(self, images)
    )
    classifier.load(files).probabilities(images(1))
    assert asked == [engine]


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ({"backbone": "resnet50"}, r"top\.json tells of inputs \(7168,\) from images of 32 px"),
        ({"weights_digest": "1" * 64}, f"trained with weights_digest '{'1' * 64}', here it is '"),
        ({"preprocessing": "rgb-2"}, "trained with preprocessing 'rgb-2', here it is 'rgb-exif"),
        ({"precision": "float8"}, r"top\.json is damaged, in its contract: Invalid enum value 'float8' - at `\$.prec"),
        ({"precision": None}, r"Expected `str`, got `null` - at `\$\.precision`: run dvc repro"),
        ({"engine": "x"}, r"Invalid enum value 'x' - at `\$\.engine`"),
        ({"kind": None}, r"at `\$\.kind`"),
        ({"pooling": 1}, r"at `\$\.pooling`"),
        ({"image_side_px": "x"}, r"Expected `int`, got `str` - at `\$\.image_side_px`"),
        ({"image_side_px": 10**20}, r"Expected `int` <= 1024 - at `\$\.image_side_px`"),
    ],
)
def test_a_model_of_another_backbone_weights_or_preprocessing_is_refused(tmp_path, contract, message):
    with pytest.raises(ArtefactError, match=message):
        classifier.load(write_model(tmp_path, contract=contract))


def test_a_bottleneck_of_another_side_is_refused(tmp_path):
    files = write_model(tmp_path, features="bottleneck", contract={"image_side_px": 64})
    with pytest.raises(
        ArtefactError,
        match=r"inputs \(2048,\) from images of 64 px and 3 classes, top\.keras takes \(512,\) and gives 3",
    ):
        classifier.load(files)


def test_other_class_names_are_refused(tmp_path):
    files = write_model(tmp_path)
    (files.model / SUMS).unlink()
    record = read_json(files.model / "top.json")
    write_json(files.model / "top.json", {**record, "class_names": ["one", "two"]})
    with pytest.raises(ArtefactError, match=r"and 2 classes, .* gives 3: run dvc repro"):
        classifier.load(files)


def test_missing_weights_say_how_to_get_them(tmp_path):
    files = write_model(tmp_path)
    files.weights.unlink()
    with pytest.raises(ArtefactError, match=r"vgg16\.npz is missing: run dvc repro weights, or dvc pull"):
        classifier.load(files)


def test_damaged_weights_are_refused(tmp_path):
    files = write_model(tmp_path)
    weights.save(files.weights, {**random_weights(), "block1_conv1/bias": np.ones(64, np.float32)})
    with pytest.raises(ArtefactError, match="weights_digest"):
        classifier.load(files)


def test_a_network_that_reads_the_images_itself_needs_no_backbone(tmp_path):
    files = write_network(tmp_path)
    network, _ = top.load(files.model)
    found = classifier.load(files).probabilities(images(5))
    assert found.shape == (5, 3)
    np.testing.assert_array_equal(found, np.reshape(network.predict_on_batch(images(5)), (5, 3)))


def test_a_network_of_another_preprocessing_is_refused(tmp_path):
    files = write_network(tmp_path)
    (files.model / SUMS).unlink()
    record = read_json(files.model / "top.json")
    write_json(files.model / "top.json", {**record, "contract": {**record["contract"], "preprocessing": "rgb-1"}})
    with pytest.raises(ArtefactError, match="trained with preprocessing 'rgb-1'"):
        classifier.load(files)


@pytest.fixture
def default(tmp_path):
    """The files of a model whose top is what training writes by default, a linear network."""
    files, random = write_model(tmp_path), np.random.default_rng(0)
    kernel = random.normal(0, 0.05, (POOLED_FEATURES, len(CLASSES))).astype(np.float32)
    (files.model / SUMS).unlink()
    LinearNetwork(kernel, np.zeros(len(CLASSES), np.float32), sqrt=True).write(files.model / "top.keras")
    return files


def test_the_default_top_predicts_without_tensorflow(default):
    code = (
        "import sys; from pathlib import Path; from bottletop.inference import classifier; import numpy as np;"
        "model = classifier.load(classifier.Files('flowers', *map(Path, sys.argv[1:])));"
        f"model.probabilities(np.zeros((1, {SIDE}, {SIDE}, 3), np.uint8));"
        "print(*{'tensorflow', 'keras', 'pandas', 'mlflow', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, default.model, default.weights]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_default_top_is_explained_and_predicts_as_in_keras(default):
    model = classifier.load(default)
    _, pooled = extractor.Extractor("vgg16", random_weights(), SIDE, extractor.NCNN)(images(5))
    in_keras, _ = top.load(default.model)
    np.testing.assert_allclose(model.probabilities(images(5)), in_keras.predict_on_batch(pooled), atol=1e-6)
    heat = model.explain()(images(1), 0)
    assert heat.max() == 1
