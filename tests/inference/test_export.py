import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bottletop.backbones import extractor
from bottletop.backbones.runtime import keras
from bottletop.core.errors import ArtefactError
from bottletop.images.decoding import square
from bottletop.inference import classifier, export
from bottletop.inference.classifier import Files
from tests.inference.test_classifier import KINDS
from tests.pictures import photo
from tests.sample_models import CLASSES, SIDE, write_model, write_network
from tests.tiny import ROOT

SIZES = [(64, 48), (32, 32), (31, 200), (700, 20), (1, 1)]


def exported(files: Files, path):
    whole = classifier.load_whole(files)
    model = classifier.wrap(whole)
    export.write(path, whole, model)
    return model, keras.saving.load_model(path, safe_mode=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The pipeline's model and the exported one."""
    folder = tmp_path_factory.mktemp("export")
    return exported(write_model(folder), folder / "flowers.keras")


@pytest.mark.parametrize("size", SIZES)
def test_the_file_takes_images_of_any_size_and_gives_the_pipelines_probabilities(both, size):
    model, keras_model = both
    picture = photo(5, size)
    found = keras_model.predict_on_batch(np.asarray(picture)[None])["probabilities"]
    np.testing.assert_allclose(found, model.probabilities(square(picture, SIDE)[None]), atol=export.BETWEEN_ENGINES)


def test_a_batch_of_images_gives_a_row_for_each(both):
    model, keras_model = both
    pictures = np.stack([np.asarray(photo(number)) for number in range(11)])
    found = keras_model.predict(pictures, verbose=0)
    expected = [model.probabilities(square(Image.fromarray(one), SIDE)[None])[0] for one in pictures]
    np.testing.assert_allclose(found["probabilities"], expected, atol=export.BETWEEN_ENGINES)
    assert [name.decode() for name in found["class"]] == [CLASSES[row.argmax()] for row in expected]


def test_the_class_names_are_in_the_file_in_the_order_of_the_probabilities(both):
    assert tuple(map(str, both[1].get_layer("class").get_vocabulary())) == CLASSES


@pytest.mark.parametrize(
    ("features", "pooling", "transform"), [(*KINDS[1], "sqrt"), (*KINDS[2], "none"), (*KINDS[3], "sqrt")]
)
def test_every_kind_of_top_can_be_exported(tmp_path, features, pooling, transform):
    files = write_model(tmp_path, features=features, pooling=pooling, transform=transform, hidden=[5], dropout=[0.5])
    model, keras_model = exported(files, tmp_path / "a.keras")
    found = keras_model.predict_on_batch(np.asarray(photo(7))[None])["probabilities"]
    np.testing.assert_allclose(found, model.probabilities(square(photo(7), SIDE)[None]), atol=export.BETWEEN_ENGINES)


def test_a_network_that_reads_the_images_itself_can_be_exported(tmp_path):
    model, keras_model = exported(write_network(tmp_path), tmp_path / "a.keras")
    found = keras_model.predict_on_batch(np.asarray(photo(7))[None])["probabilities"]
    np.testing.assert_allclose(found, model.probabilities(square(photo(7), SIDE)[None]), atol=export.TOLERANCE)


def test_a_model_on_bfloat16_features_stays_in_bfloat16(tmp_path):
    model, keras_model = exported(write_model(tmp_path, engine=extractor.BFLOAT16), tmp_path / "a.keras")
    kinds = {layer.compute_dtype for layer in keras_model.get_layer("vgg16").layers if layer.weights}
    assert kinds == {"bfloat16"}
    found = keras_model.predict_on_batch(np.asarray(photo(7))[None])["probabilities"]
    np.testing.assert_allclose(found, model.probabilities(square(photo(7), SIDE)[None]), atol=export.TOLERANCE)


def test_a_file_that_would_answer_otherwise_than_the_pipeline_is_not_kept(tmp_path):
    whole = classifier.load_whole(write_model(tmp_path))
    model = classifier.wrap(whole)
    wrong = classifier.Classifier(
        model.class_names, SIDE, 8, lambda images: model.probabilities(images)[:, ::-1], model.explain
    )
    with pytest.raises(ArtefactError, match=r"a\.keras was not written: its probabilities differ from the pipeline's"):
        export.write(tmp_path / "a.keras", whole, wrong)
    assert not (tmp_path / "a.keras").exists()


def test_the_file_needs_keras_alone(both, tmp_path):
    path = tmp_path / "copy.keras"
    both[1].save(path)
    np.save(tmp_path / "image.npy", np.asarray(photo(5))[None])
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["bottletop", "PIL", "mlflow"]))  # as if not installed
import keras, numpy
model = keras.saving.load_model("{path}")
numpy.save("{tmp_path}/found.npy", model.predict(numpy.load("{tmp_path}/image.npy"), verbose=0)["probabilities"])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    expected = both[0].probabilities(square(photo(5), SIDE)[None])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=export.BETWEEN_ENGINES)
