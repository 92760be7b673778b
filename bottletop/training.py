"""Training a top: the best epoch by validation loss, the same bytes each time."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from bottletop.errors import DataError, ParamsError
from bottletop.features import FeatureSet, Rows
from bottletop.files import replacing, write_csv, write_json
from bottletop.progress import bar
from bottletop.runtime import keras, tf
from bottletop.split import digest
from bottletop.top import build, predict
from bottletop.top_params import TopParams
from bottletop.trained import PREDICTED_SIDES, Probabilities, TopRecord, write_probabilities

IN_MEMORY_BYTES = 1 << 29  # of one side's float16 features; more are read batch by batch, with the same result
STEPS_AT_ONCE = 10  # without Python in between, which takes half the time of a small top's step
CONSTANT_VARIANCE = 1e-6  # features that vary less are not scaled up
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Trained:
    """A top at its best epoch, and how it got there."""

    model: keras.Model  # features float16 or float32, (n, width) -> probabilities float32, (n, classes)
    record: TopRecord
    probabilities: Probabilities
    history: tuple[dict[str, float], ...]  # an entry per epoch, keys as in HISTORY


def train(
    features: FeatureSet, params: TopParams, on_epoch: Callable[[dict[str, float]], None] = lambda _: None
) -> Trained:
    """Fits a top on the training side; the epoch with the lowest validation loss is what is returned.

    The same inputs give the same weights, byte for byte, on one machine. Raises ParamsError where training diverges.

    Args:
        on_epoch: called after each epoch with its entry of the history and its number under "epoch".
    """
    if len(features.class_names) < 2:
        raise DataError(f"a dataset needs at least two classes, got only {features.class_names[0]!r}: add a folder")
    keras.utils.clear_session()  # layers are named by counting: so that equal models are equal files
    keras.utils.set_random_seed(params.seed)
    tf.config.experimental.enable_op_determinism()
    classes = len(features.class_names)
    training, validation = features.side("train"), features.side("validation")
    model = build(features.width, classes, params, _moments(features, training, params))
    model.compile(
        optimizer=_optimiser(params),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing),
        metrics=["accuracy"],
        weighted_metrics=[],
        steps_per_execution=STEPS_AT_ONCE,
    )
    best = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=params.patience or params.epochs, restore_best_weights=True
    )
    weight = _class_weights(features.labels[training], classes) if params.class_weights == "balanced" else None
    fitted = model.fit(
        _batches(features, training, params.batch_size, params.seed),
        validation_data=_batches(features, validation, 512, None),
        epochs=params.epochs,
        class_weight=weight,
        callbacks=[best, _Progress(params.epochs, on_epoch)],
        shuffle=False,  # `_batches` does
        verbose=0,
    )
    history = tuple(
        {name: float(fitted.history[name][epoch]) for name in HISTORY} for epoch in range(len(fitted.epoch))
    )
    if not np.isfinite([list(entry.values()) for entry in history]).all():
        raise ParamsError(f"training diverged: lower train.learning_rate in params.yaml, got {params.learning_rate}")
    best_epoch = int(np.argmin([entry["val_loss"] for entry in history]))
    if params.calibrate:
        _calibrate(model, predict(model, features, validation), features.labels[validation])
    record = TopRecord(
        class_names=features.class_names,
        features=params.features,
        pooling=params.pooling,
        contract=features.manifest.contract(),
        split=digest(features.rows),
        best_epoch=best_epoch + 1,
        val_loss=history[best_epoch]["val_loss"],
        val_accuracy=history[best_epoch]["val_accuracy"],
        params=params,
    )
    probabilities = {side: predict(model, features, features.side(side)) for side in PREDICTED_SIDES}
    return Trained(model, record, probabilities, history)


def save(folder: Path, history: Path, trained: Trained) -> None:
    """Writes the model, its record, probabilities and history, whose bytes depend on the training's inputs alone.

    A copy of the history goes to the folder: `dvc push` leaves files of git out, and runs are restored elsewhere, too.
    """
    rows = [[epoch, *(entry[name] for name in HISTORY)] for epoch, entry in enumerate(trained.history, 1)]
    with replacing(folder) as staging:
        staging.mkdir()
        trained.model.save(staging / "saved.keras")
        _without_traces(staging / "saved.keras", staging / "top.keras")
        write_json(staging / "top.json", msgspec.to_builtins(trained.record))
        write_probabilities(staging, trained.probabilities)
        write_csv(staging / "history.csv", ("epoch", *HISTORY), rows)
    write_csv(history, ("epoch", *HISTORY), rows)


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar over the epochs, and word of each."""

    def __init__(self, epochs: int, on_epoch: Callable[[dict[str, float]], None]) -> None:
        super().__init__()
        self._on_epoch = on_epoch
        self._bar = bar("train", " epochs", epochs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._on_epoch({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in (logs or {}).items()}, refresh=False)
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 (Keras' names)
        self._bar.close()


def _batches(features: FeatureSet, rows: Rows, batch_size: int, seed: int | None) -> tf.data.Dataset:
    """What `fit` takes: the same batches from memory as from disk; with a seed, in a new random order each epoch."""
    in_memory = features.read(rows) if 2 * features.width * len(rows) <= IN_MEMORY_BYTES else None
    labels = np.eye(len(features.class_names), dtype=np.float32)[features.labels[rows]]
    random = None if seed is None else np.random.default_rng(seed)

    def epoch() -> Iterator[tuple[NDArray[np.float16], NDArray[np.float32]]]:
        order = np.arange(len(rows)) if random is None else random.permutation(len(rows))
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            yield features.read(rows[batch]) if in_memory is None else in_memory[batch], labels[batch]

    shapes = (
        tf.TensorSpec((None, features.width), tf.float16),
        tf.TensorSpec((None, len(features.class_names)), tf.float32),
    )
    data = tf.data.Dataset.from_generator(epoch, output_signature=shapes)
    return data.apply(tf.data.experimental.assert_cardinality(math.ceil(len(rows) / batch_size))).prefetch(2)


def _moments(
    features: FeatureSet, rows: Rows, params: TopParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and variance of each transformed feature, in constant memory; variance one for those that hardly vary."""
    if not params.standardise:
        return None
    total, squares = np.zeros(features.width), np.zeros(features.width)
    for start in range(0, len(rows), 1024):
        block = features.read(rows[start : start + 1024]).astype(np.float64)
        block = np.sqrt(block) if params.transform == "sqrt" else block
        total += block.sum(0)
        squares += (block * block).sum(0)
    mean = total / len(rows)
    variance = squares / len(rows) - mean * mean
    return mean, np.where(variance > CONSTANT_VARIANCE, variance, 1.0)


def _calibrate(model: keras.Model, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Divides the logits by the temperature that suits these images best (Guo et al., 2017); ranks stay as they are.

    A few images that are all classified right would ask for certainty: so one more counts that could be of any class.
    """
    logits = np.log(probabilities.astype(np.float64).clip(1e-12))
    any_class = 1 / (len(labels) + 1)

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        own = (1 - any_class) * scaled[np.arange(len(labels)), labels] + any_class * scaled.mean(1)
        return float((logsumexp(scaled, axis=1) - own).mean())

    temperature = float(np.exp(minimize_scalar(log_loss, bounds=(-3, 3), method="bounded").x))
    last = model.get_layer("classes")
    last.set_weights([weights / temperature for weights in last.get_weights()])


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
