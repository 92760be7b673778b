"""Training a model: the best epoch by validation loss, the same bytes each time."""

import itertools
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import weights
from bottletop.backbones.runtime import keras, tf
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import DataError, ParamsError
from bottletop.core.files import replacing, sha256_text, write_csv, write_json
from bottletop.core.settings import Params
from bottletop.models.calibration import best_temperature
from bottletop.models.epochs import HISTORY, Entry, Epochs, unfinished
from bottletop.models.examples import Examples, Rows
from bottletop.models.params import TopParams
from bottletop.models.record import PREDICTED_SPLITS, TUNED, Probabilities, TopRecord, write_probabilities
from bottletop.models.top import build, predict
from bottletop.models.vectors import FeatureSet
from bottletop.split import digest

IN_MEMORY_BYTES = 1 << 29  # of one split's float16 features; more are read batch by batch, with the same result
STEPS_AT_ONCE = 10  # without Python in between, which takes half the time of a small top's step
CONSTANT_VARIANCE = 1e-6  # features that vary less are not scaled up


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch, and how it got there."""

    model: keras.Model  # examples, (n, *shape) -> probabilities float32, (n, classes)
    record: TopRecord
    probabilities: Probabilities
    history: tuple[dict[str, float], ...]  # an entry per epoch, keys as in HISTORY
    arrays: Arrays | None = None  # the backbone's, where it was trained too


def train(features: FeatureSet, params: TopParams, on_epoch: Callable[[Entry], None] = lambda _: None) -> Trained:
    """Fits a top on the training images of a dataset's features, and returns it at its best epoch; see `fit`."""

    def network() -> keras.Model:
        moments = _moments(features, features.positions("train"), params) if params.standardise else None
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
    """Trains the network; returned at the epoch with the lowest validation loss, with the history of all epochs.

    The same inputs give the same weights, byte for byte, on one machine; and a killed training goes on where it was.

    Args:
        network: builds the untrained model; its random weights follow from the seed.
        on_epoch: called after each epoch with its entry of the history and its number under "epoch".
        sections: other sections of params.yaml that the network follows from.
        earlier: history of the training that the network comes from; its last entry is of the network as it is built.

    Raises:
        DataError: there is a single class.
        ParamsError: training diverges.
    """
    classes = len(examples.class_names)
    if classes < 2:
        raise DataError(f"a dataset needs at least two classes, got only {examples.class_names[0]!r}", "add a folder")
    training, validation = examples.positions("train"), examples.positions("validation")
    keras.utils.clear_session()  # layers are named by counting: so that equal models are equal files
    keras.utils.set_random_seed(params.seed)
    tf.config.experimental.enable_op_determinism()
    model = network()
    model.compile(
        optimizer=_optimiser(params),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing),
        metrics=["accuracy"],
        weighted_metrics=[],
        steps_per_execution=STEPS_AT_ONCE,
    )
    identity = [msgspec.to_builtins(each) for each in (params, *sections)], examples.recipe(), digest(examples.rows)
    with unfinished([*identity, list(earlier)]) as state:
        epochs = Epochs(params.epochs, params.patience, on_epoch, state, earlier)
        done = epochs.resume(model)
        model.fit(
            _batches(examples, training, params.batch_size, params.seed, done),
            validation_data=_batches(examples, validation, examples.at_once, None),
            initial_epoch=done,
            epochs=params.epochs,
            class_weight=_class_weights(examples.labels[training], classes)
            if params.class_weights == "balanced"
            else None,
            callbacks=[epochs],
            shuffle=False,  # `_batches` does
            verbose=0,
        )
    if not np.isfinite([list(entry.values()) for entry in epochs.history]).all():
        raise ParamsError("training diverged", f"lower train.learning_rate in params.yaml, got {params.learning_rate}")
    return model, epochs


def finish(
    model: keras.Model,
    examples: Examples,
    params: TopParams,
    epochs: Epochs,
    arrays: Arrays | None = None,
    *,
    precision: str = "float32",
) -> Trained:
    """Calibrates what `fit` returned, and looks at the images of validation and test.

    Args:
        arrays: the backbone's, where it was trained too.
        precision: of a cnn's convolutions in training.
    """
    if params.calibrate:
        validation = examples.positions("validation")
        probabilities = predict(model, examples, validation)
        last = model.get_layer("classes")
        temperature = best_temperature(probabilities, examples.labels[validation])
        last.set_weights([values / temperature for values in last.get_weights()])
    record = TopRecord(
        class_names=examples.class_names,
        contract=examples.recipe(),
        data_digest=sha256_text(row.id for row in examples.rows),
        split=digest(examples.rows),
        best_epoch=epochs.best + 1,
        params=params,
        precision=precision,
    )
    predicted = {split: predict(model, examples, examples.positions(split)) for split in PREDICTED_SPLITS}
    return Trained(model, record, predicted, tuple(epochs.history), arrays)


def save(folder: Path, history: Path, trained: Trained) -> None:
    """Writes the model, its record, probabilities and history, whose bytes depend on the training's inputs alone.

    A copy of the history goes to the folder: `dvc push` leaves files of git out, and runs are restored elsewhere, too.
    """
    rows = [[epoch, *(entry[name] for name in HISTORY)] for epoch, entry in enumerate(trained.history, 1)]
    with replacing(folder) as staging:
        staging.mkdir()
        network = trained.model  # saved without its optimiser, which is as large again, twice
        keras.Model(network.input, network.output, name=network.name).save(staging / "saved.keras")
        _without_traces(staging / "saved.keras", staging / "top.keras")
        write_json(staging / "top.json", msgspec.to_builtins(trained.record))
        write_probabilities(staging, trained.probabilities)
        if trained.arrays is not None:
            weights.save(staging / TUNED, trained.arrays)
        write_csv(staging / "history.csv", ("epoch", *HISTORY), rows)
    write_csv(history, ("epoch", *HISTORY), rows)


def _batches(examples: Examples, rows: Rows, batch_size: int, seed: int | None, done: int = 0) -> tf.data.Dataset:
    """What `fit` takes: the same batches from memory as from disk; with a seed, in a new random order each epoch."""
    labels = tf.constant(np.eye(len(examples.class_names), dtype=np.float32)[examples.labels[rows]])
    small = isinstance(examples, FeatureSet) and 2 * examples.width * len(rows) <= IN_MEMORY_BYTES
    in_memory = tf.constant(examples.read(rows)) if small else None
    dtype = examples.read(rows[:1]).dtype
    epochs = itertools.count(done)

    def order() -> Iterator[NDArray[np.int64]]:
        random = None if seed is None else np.random.default_rng([seed, next(epochs)])
        yield np.arange(len(rows)) if random is None else random.permutation(len(rows))

    def batch(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if in_memory is not None:
            return tf.gather(in_memory, positions), tf.gather(labels, positions)
        values = tf.numpy_function(lambda wanted: examples.read(rows[wanted]), [positions], dtype)
        return tf.ensure_shape(values, (None, *examples.shape)), tf.gather(labels, positions)

    at_once = max(1, examples.at_once // batch_size) * batch_size  # are read, then cut: small reads are slow
    orders = tf.data.Dataset.from_generator(order, output_signature=tf.TensorSpec((len(rows),), tf.int64))
    blocks = orders.flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(at_once))
    batches = blocks.map(batch)
    if at_once > batch_size:
        batches = batches.prefetch(1).rebatch(batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(len(rows) / batch_size))).prefetch(2)


def _moments(features: FeatureSet, rows: Rows, params: TopParams) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each transformed feature, in constant memory; variance one for those that hardly vary.

    Of the differences from the first image, float32 but added up in float64: so the variance is no small difference
    of large sums, and that of a constant is 0.
    """
    transform = _signed_sqrt if params.transform == "sqrt" else np.asarray
    first = transform(features.read(rows[:1]).astype(np.float32))
    total, squares = np.zeros(features.width), np.zeros(features.width)
    for start in range(0, len(rows), 128):
        block = transform(features.read(rows[start : start + 128]).astype(np.float32)) - first
        total += block.sum(0, dtype=np.float64)
        squares += np.square(block).sum(0, dtype=np.float64)
    mean = total / len(rows)
    variance = squares / len(rows) - mean * mean
    return first[0] + mean, np.where(variance > CONSTANT_VARIANCE, variance, 1.0)


def _signed_sqrt(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.copysign(np.sqrt(np.abs(values)), values)


def _class_weights(labels: NDArray[np.int64], classes: int) -> dict[int, float]:
    counts = np.bincount(labels, minlength=classes)
    return {label: len(labels) / (classes * int(count)) for label, count in enumerate(counts)}


def _optimiser(params: TopParams) -> keras.optimizers.Optimizer:
    kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    return kinds[params.optimiser](params.learning_rate)


def _without_traces(saved: Path, path: Path) -> None:
    """Copies a .keras file without when it was saved and where objects were in memory: equal models are equal files."""
    traces = ("date_saved", "shared_object_id")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            if name.endswith(".json"):
                kept = json.loads(data, object_hook=lambda item: {k: v for k, v in item.items() if k not in traces})
                data = json.dumps(kept).encode()
            new.writestr(zipfile.ZipInfo(name), data)
    saved.unlink()
