"""The dense top: a small network trained on the frozen backbone's features."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.runtime import keras
from bottletop.core.files import verified
from bottletop.models.examples import Examples, Rows
from bottletop.models.params import TopParams
from bottletop.models.record import TopRecord, read_record, unreadable


def build(
    width: int, classes: int, params: TopParams, moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> keras.Model:
    """Builds the untrained network: from features, (n, width), to class probabilities, (n, classes).

    Args:
        width: number of features per image.
        classes: number of classes.
        params: section ``train`` of params.yaml.
        moments: mean and variance of each transformed feature, each (width,); None: features are not standardised.
    """
    inputs = values = keras.Input((width,), name="features")
    if params.transform == "sqrt":
        values = keras.ops.sign(values) * keras.ops.sqrt(keras.ops.abs(values))
    if moments is not None:
        values = keras.layers.Normalization(mean=moments[0], variance=moments[1])(values)
    return keras.Model(inputs, classifier(values, classes, params), name="top")


def classifier(values: keras.KerasTensor, classes: int, params: TopParams) -> keras.KerasTensor:
    """Adds dropout, the hidden layers and a softmax: from (n, width) to class probabilities, (n, classes)."""
    penalty = keras.regularizers.L2(params.l2) if params.l2 not in (0, "auto") else None
    values = keras.layers.Dropout(params.input_dropout)(values)
    for units, dropout in params.layers:
        values = keras.layers.Dense(units, kernel_regularizer=penalty)(values)
        leaky = params.activation == "leaky_relu"
        activation = keras.layers.LeakyReLU(params.leaky_slope) if leaky else keras.layers.Activation(params.activation)
        values = keras.layers.Dropout(dropout)(activation(values))
    # Zero initialisation: a few hundred images leave most directions without gradient, and random weights would remain
    # there as noise.
    last = keras.layers.Dense(
        classes, activation="softmax", kernel_initializer="zeros", kernel_regularizer=penalty, name="classes"
    )
    return last(values)


def predict(model: keras.Model, examples: Examples, rows: Rows) -> NDArray[np.float32]:
    """Computes class probabilities, in the order of `rows`: float32, (len(rows), classes)."""
    result = np.zeros((len(rows), model.output_shape[-1]), np.float32)
    for start in range(0, len(rows), examples.at_once):
        block = slice(start, start + examples.at_once)
        result[block] = model.predict_on_batch(examples.read(rows[block]))
    return result


def load(folder: Path) -> tuple[keras.Model, TopRecord]:
    """Loads the saved model and its record. Code in the model file is never run.

    Raises:
        ArtefactError: a file is missing or damaged.
    """
    record, path = read_record(folder), verified(folder / "top.keras")
    try:
        model = keras.saving.load_model(path, safe_mode=True)
        _ = model.input_shape, model.output_shape  # a layer, and a model that is not built, have none
        return model, record
    except Exception as error:  # Keras, h5py and zipfile raise errors of their own for damaged files
        raise unreadable(folder, error) from error
