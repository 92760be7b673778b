"""The dense top: a small network trained on the frozen backbone's features."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from bottletop.config import Params
from bottletop.errors import ArtefactError
from bottletop.features import FeatureSet, Pooling, Rows
from bottletop.files import read_json
from bottletop.manifest import Kind
from bottletop.runtime import keras

Fraction = Annotated[float, Meta(ge=0, lt=1)]


class TopParams(Params, frozen=True, kw_only=True):
    """Section ``train`` of params.yaml."""

    features: Kind  # pooled: averages and maxima of three blocks; bottleneck: block5_pool
    pooling: Pooling  # of the bottleneck; not used with pooled features
    transform: Literal["none", "sqrt"]  # sqrt of the features (never negative after ReLU) makes them less skewed
    standardise: bool  # to zero mean and unit variance over the training images
    input_dropout: Fraction  # fraction of the features dropped
    hidden: tuple[Annotated[int, Meta(ge=1)], ...]  # units of each hidden layer; [] is a linear top
    dropout: tuple[Fraction, ...]  # fraction dropped after each hidden layer
    activation: Literal["leaky_relu", "relu", "elu", "gelu", "selu", "silu", "tanh"]
    leaky_slope: Annotated[float, Meta(ge=0, lt=1)]  # of leaky_relu below zero
    optimiser: Literal["adam", "rmsprop", "sgd"]
    learning_rate: Annotated[float, Meta(gt=0, le=1000)]
    epochs: Annotated[int, Meta(ge=1)]  # at most
    batch_size: Annotated[int, Meta(ge=1)]
    patience: Annotated[int, Meta(ge=1)] | None  # epochs without a better validation loss before stopping; null: never
    class_weights: Literal["none", "balanced"]  # balanced: a class's weight is inverse to its share
    label_smoothing: Fraction
    l2: Annotated[float, Meta(ge=0, le=1000)]  # penalty on the kernels of all layers
    calibrate: bool  # scale the outputs by one temperature, fitted on validation
    seed: Annotated[int, Meta(ge=0, lt=2**32)]

    def __post_init__(self) -> None:
        if len(self.dropout) != len(self.hidden):
            raise ValueError(f"dropout needs a value per hidden layer, {len(self.hidden)}, got {len(self.dropout)}")


class TopRecord(Params, frozen=True, kw_only=True):
    """``top.json``: what the model beside it expects and how it came about."""

    class_names: tuple[str, ...]  # in the order of the model's outputs
    features: Kind
    pooling: Pooling
    contract: dict[str, Any]  # of the features, see `Manifest.contract`
    best_epoch: int  # counted from 1
    val_loss: float
    val_accuracy: float
    params: TopParams


def build(
    width: int, classes: int, params: TopParams, moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> keras.Model:
    """The untrained network: (n, width) to class probabilities, (n, classes).

    Args:
        moments: mean and variance of each feature to standardise with.
    """
    penalty = keras.regularizers.L2(params.l2) if params.l2 else None
    inputs = values = keras.Input((width,), name="features")
    if params.transform == "sqrt":
        values = keras.ops.sqrt(values)
    if moments is not None:
        values = keras.layers.Normalization(mean=moments[0], variance=moments[1])(values)
    values = keras.layers.Dropout(params.input_dropout)(values)
    for units, dropout in zip(params.hidden, params.dropout, strict=True):
        values = keras.layers.Dense(units, kernel_regularizer=penalty)(values)
        leaky = params.activation == "leaky_relu"
        activation = keras.layers.LeakyReLU(params.leaky_slope) if leaky else keras.layers.Activation(params.activation)
        values = keras.layers.Dropout(dropout)(activation(values))
    # From zero: random weights would stay, as noise, in the directions that a few hundred images say nothing about.
    last = keras.layers.Dense(
        classes, activation="softmax", kernel_initializer="zeros", kernel_regularizer=penalty, name="classes"
    )
    outputs = last(values)
    return keras.Model(inputs, outputs, name="top")


def predict(model: keras.Model, features: FeatureSet, rows: Rows) -> NDArray[np.float64]:
    """Class probabilities in the order of `rows`: float64, (len(rows), classes)."""
    blocks = [model.predict_on_batch(features.read(rows[i : i + 512])) for i in range(0, len(rows), 512)]
    return np.concatenate(blocks).astype(np.float64)


def load(folder: Path) -> tuple[keras.Model, TopRecord]:
    """The saved model, never running code from the file, and its record."""
    try:
        record = msgspec.convert(read_json(folder / "top.json"), TopRecord)
        return keras.saving.load_model(folder / "top.keras", safe_mode=True), record
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{folder} holds no model that can be read ({error}): run dvc repro train@{folder.name}"
        ) from error


def require_match(record: TopRecord, features: FeatureSet) -> None:
    """Refuses features that the top was not trained on.

    Raises:
        ArtefactError: names what differs.
    """
    expected = {**record.contract, "class_names": record.class_names}
    found = {**features.manifest.contract(), "class_names": features.class_names}
    for name, value in expected.items():
        if found.get(name) != value:
            raise ArtefactError(
                f"the model expects {name} {value!r}, the features have {found.get(name)!r}: run dvc repro"
            )
