"""Trains a model, chooses the epoch with the lowest validation loss, and saves reproducible files."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import weights
from bottletop.backbones.runtime import keras, tf
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import ParamsError
from bottletop.core.settings import Params
from bottletop.models import keras_file
from bottletop.models.calibration import best_temperature
from bottletop.models.epochs import LOG_LOSS, Epochs, unfinished
from bottletop.models.examples import Examples, Rows, class_weights
from bottletop.models.params import TopParams
from bottletop.models.record import PREDICTED_SPLITS, TUNED
from bottletop.models.standardisation import Standardised
from bottletop.models.top import build, predict
from bottletop.models.trained import Entry, Trained, check_classes, record
from bottletop.models.vectors import FeatureSet
from bottletop.split import digest

IN_MEMORY_BYTES = 1 << 29  # limit for one split's float16 features; more are read in batches, with the same result
STEPS_AT_ONCE = 10  # steps per call from Python, whose overhead is half the time of a small top's step


@dataclass(frozen=True)
class Network(Trained):
    """A network at its best epoch."""

    model: keras.Model  # from examples, (n, *shape), to probabilities, float32, (n, classes)
    arrays: Arrays | None = None  # weights of a fine-tuned backbone

    def write(self, folder: Path) -> None:
        """Writes the network without the optimiser's state, which is up to twice the size of the weights."""
        saved = folder / "saved.keras"
        keras.Model(self.model.input, self.model.output, name=self.model.name).save(saved)
        keras_file.write(folder / "top.keras", keras_file.read(saved))
        saved.unlink()
        if self.arrays is not None:
            weights.save(folder / TUNED, self.arrays)


def train(features: FeatureSet, params: TopParams, on_epoch: Callable[[Entry], None] = lambda _: None) -> Network:
    """Trains a top on the features of the training images; see `fit`.

    Raises:
        DataError: there is only one class.
        ParamsError: training diverges.
    """

    def network() -> keras.Model:
        if not params.standardise:
            return build(features.width, len(features.class_names), params, None)
        standardised = Standardised.of(features, params)
        moments = standardised.mean, standardised.variance
        return build(features.width, len(features.class_names), params, moments)

    model, epochs = fit(features, network, params, on_epoch)
    return finish(model, features, params, epochs)


def fit(
    examples: Examples,
    network: Callable[[], keras.Model],
    params: TopParams,
    on_epoch: Callable[[Entry], None] = lambda _: None,
    *,
    sections: Sequence[Params] = (),
    earlier: Sequence[Entry] = (),
) -> tuple[keras.Model, Epochs]:
    """Trains the network and restores the epoch with the lowest validation loss.

    On one machine, the same inputs give the same weights, byte for byte. A killed training resumes from its last saved
    state.

    Args:
        examples: the examples, of which the training and validation splits are used.
        network: builds the network; its random weights depend on the seed.
        params: section ``train`` of params.yaml.
        on_epoch: called after each epoch with its history entry, plus the epoch's number under "epoch".
        sections: other sections of params.yaml that the network depends on.
        earlier: history of the training that the network comes from; its last entry describes the network as built.

    Returns:
        The network at its best epoch, and the callback with the history of all epochs.

    Raises:
        DataError: there is only one class.
        ParamsError: training diverges.
    """
    check_classes(examples)
    training, validation = examples.positions("train"), examples.positions("validation")
    keras.utils.clear_session(free_memory=False)  # restart Keras' layer numbering: equal models give equal files
    keras.utils.set_random_seed(params.seed)
    tf.config.experimental.enable_op_determinism()
    model = network()
    model.compile(
        optimizer=_optimiser(params),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy"), keras.metrics.CategoricalCrossentropy(LOG_LOSS)],
        weighted_metrics=[],
        steps_per_execution=STEPS_AT_ONCE,
    )
    # A step that creates variables is traced twice. Here the metrics and the optimiser have theirs before.
    model.optimizer.build(model.trainable_variables)
    identity = [msgspec.to_builtins(each) for each in (params, *sections)], examples.recipe(), digest(examples.rows)
    with unfinished([*identity, list(earlier)]) as state:
        epochs = Epochs(params.epochs, params.patience, on_epoch, state, earlier)
        done = epochs.resume(model)
        model.fit(
            _batches(examples, training, params.batch_size, params.seed, done),
            validation_data=_batches(examples, validation, examples.at_once, None),
            initial_epoch=done,
            epochs=params.epochs,
            class_weight=dict(enumerate(class_weights(examples.labels[training]).tolist()))
            if params.class_weights == "balanced"
            else None,
            callbacks=[epochs],
            shuffle=False,  # `_batches` shuffles
            verbose=0,
        )
    if not np.isfinite([list(entry.values()) for entry in epochs.history]).all():
        section = "finetune" if earlier else "train"
        raise ParamsError(
            f"training diverged with {section}.learning_rate {params.learning_rate}", "lower it in params.yaml"
        )
    return model, epochs


def finish(
    model: keras.Model,
    examples: Examples,
    params: TopParams,
    epochs: Epochs,
    arrays: Arrays | None = None,
    *,
    precision: str = "float32",
) -> Network:
    """Calibrates the model that `fit` returned, and predicts the validation and test images.

    Args:
        model: the model; its last layer is changed in place if ``train.calibrate`` is set.
        examples: what the model takes, with all splits.
        params: section ``train`` of params.yaml.
        epochs: the callback that `fit` returned.
        arrays: weights of a fine-tuned backbone.
        precision: of a cnn's convolutions during training.
    """
    if params.calibrate:
        validation = examples.positions("validation")
        probabilities = predict(model, examples, validation)
        last = model.get_layer("classes")
        temperature = best_temperature(probabilities, examples.labels[validation])
        last.set_weights([values / temperature for values in last.get_weights()])
    found = msgspec.structs.replace(record(examples, params, epochs.best + 1), precision=precision)
    predicted = {split: predict(model, examples, examples.positions(split)) for split in PREDICTED_SPLITS}
    return Network(found, predicted, tuple(epochs.history), model, arrays)


def _batches(examples: Examples, rows: Rows, batch_size: int, seed: int | None, done: int = 0) -> tf.data.Dataset:
    """Returns the batches for Keras' `fit`; they are the same from memory as from disk.

    Args:
        examples: where the examples are read from.
        rows: positions of the examples.
        batch_size: number of examples per batch.
        seed: determines a new random order in each epoch; None: the order of `rows`.
        done: number of epochs done before.
    """
    labels = np.eye(len(examples.class_names), dtype=np.float32)[examples.labels[rows]]
    small = isinstance(examples, FeatureSet) and 2 * examples.width * len(rows) <= IN_MEMORY_BYTES
    in_memory = examples.read(rows) if small else None
    dtype = examples.read(rows[:1]).dtype
    epochs = itertools.count(done)
    order = np.arange(len(rows))
    # Examples are read in blocks that are then cut into batches: small reads are slow.
    at_once = max(1, examples.at_once // batch_size) * batch_size

    def block(start: np.int64) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
        nonlocal order
        if start == 0 and seed is not None:
            order = np.random.default_rng([seed, next(epochs)]).permutation(len(rows))
        wanted = order[start : start + at_once]
        return examples.read(rows[wanted]) if in_memory is None else in_memory[wanted], labels[wanted]

    def tensors(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values, targets = tf.numpy_function(block, [start], (dtype, tf.float32))
        return tf.ensure_shape(values, (None, *examples.shape)), tf.ensure_shape(targets, (None, labels.shape[1]))

    # tf.data.Dataset.from_generator would take three times as long to begin an epoch.
    batches = tf.data.Dataset.range(0, len(rows), at_once).map(tensors)
    if at_once > batch_size:
        batches = batches.prefetch(1).rebatch(batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(len(rows) / batch_size))).prefetch(2)


def _optimiser(params: TopParams) -> keras.optimizers.Optimizer:
    kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    return kinds["adam" if params.optimiser == "auto" else params.optimiser](params.learning_rate)
