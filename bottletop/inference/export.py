"""Exports a trained model as one ``.keras`` file, which takes images of any size and loads with Keras alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottletop.backbones import tensorflow_engine
from bottletop.backbones.extractor import FLOAT16_MAX, NCNN
from bottletop.backbones.runtime import keras
from bottletop.core.errors import ArtefactError
from bottletop.core.files import replacing
from bottletop.images.decoding import square
from bottletop.inference import resizing
from bottletop.inference.classifier import Classifier, Whole, load_keras

TOLERANCE = 1e-4  # largest accepted difference of a probability
BETWEEN_ENGINES = 1e-3  # the same for features from ncnn: some differ from TensorFlow's by one float16 step
PROBES = ((96, 96), (333, 250), (40, 500))  # width and height of the images that the export is tested on, in pixels


def network(whole: Whole) -> keras.Model:
    """Builds one network of resizing, backbone and top.

    The network resizes as Pillow does. It computes in the extraction's precision, and rounds features to float16 as
    extraction does.

    Returns:
        A model that takes images of any size, uint8 RGB, (n, height, width, 3), and returns a dictionary:

        - ``class``: the most probable class, text, (n,)
        - ``probabilities``: float32, (n, classes), in the order of the vocabulary of the layer ``class``
    """
    ops = keras.ops
    features = _backbone(whole)  # first: it resets the counters by which Keras names operations
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    outputs = load_keras(whole.folder)(features(resizing.square(images, whole.image_side_px)))
    [probabilities] = keras.tree.flatten(outputs)  # a model loaded from a file returns a list
    names = keras.layers.StringLookup(
        vocabulary=list(whole.record.class_names), num_oov_indices=0, mask_token=None, invert=True, name="class"
    )
    named_outputs = {"class": names(ops.argmax(probabilities, axis=-1)), "probabilities": probabilities}
    return keras.Model(images, named_outputs, name="classifier")


def write(path: Path, whole: Whole, classifier: Classifier) -> None:
    """Writes the file, after checking that it gives the same probabilities as `classifier` on `probes`.

    Raises:
        ArtefactError: the probabilities differ; nothing is written.
    """
    with replacing(path) as new:
        network(whole).save(new)
        model = keras.saving.load_model(new, safe_mode=True)
        tolerance = BETWEEN_ENGINES if whole.arrays and whole.engine == NCNN else TOLERANCE
        for picture in probes():
            found = model.predict_on_batch(np.asarray(picture)[None])["probabilities"]
            expected = classifier.probabilities(square(picture, classifier.image_side_px)[None])
            check(found, expected, path, tolerance)


def probes() -> list[Image.Image]:
    """Random images of the sizes in `PROBES`, the same in each call."""
    random = np.random.default_rng(0)
    small = [Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)) for _ in PROBES]
    return [picture.resize(size) for picture, size in zip(small, PROBES, strict=True)]


def check(found: NDArray[np.float64], expected: NDArray[np.float64], path: Path, tolerance: float = TOLERANCE) -> None:
    """Compares a saved model's probabilities with the classifier's.

    Raises:
        ArtefactError: they differ by more than `tolerance`.
    """
    difference = float(np.abs(found - expected).max())
    if difference > tolerance:
        raise ArtefactError(
            f"{path} was not written: its probabilities differ from the pipeline's by {difference:.1g}, "
            f"allowed is {tolerance:g}",
            "set extract.precision to float32 and dvc repro",
        )


def _backbone(whole: Whole) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """A function from images of the model's side to the top's input: features, or the images themselves."""
    if whole.arrays is None:
        return lambda pixels: pixels
    backbone = tensorflow_engine.model(whole.network, whole.arrays, whole.image_side_px, whole.engine.precision)
    backbone.name = whole.network
    contract = whole.record.contract
    prepare = tensorflow_engine.preparation(whole.network)

    def features(pixels: keras.KerasTensor) -> keras.KerasTensor:
        maps = [keras.ops.cast(each, "float32") for each in backbone(prepare(keras.ops.cast(pixels, "float32")))]
        return tensorflow_engine.vectors(maps, contract["kind"], contract["pooling"], store=_float16)

    return features


def _float16(values: keras.KerasTensor) -> keras.KerasTensor:
    """Clips and rounds values to float16, as stored features are."""
    ops = keras.ops
    return ops.cast(ops.cast(ops.clip(values, -FLOAT16_MAX, FLOAT16_MAX), "float16"), "float32")
