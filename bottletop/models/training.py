"""Trains a model, chooses the epoch with the lowest validation loss, and saves reproducible files."""

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
from bottletop.core.files import replacing, sha256_text, write_csv, write_json, write_sums
from bottletop.core.settings import Params
from bottletop.models import linear
from bottletop.models.calibration import best_temperature
from bottletop.models.epochs import HISTORY, Entry, Epochs, unfinished
from bottletop.models.examples import Examples, Rows
from bottletop.models.params import TopParams
from bottletop.models.record import PREDICTED_SPLITS, TUNED, Probabilities, TopRecord, write_probabilities
from bottletop.models.standardisation import Standardised
from bottletop.models.top import build, predict
from bottletop.models.vectors import FeatureSet
from bottletop.split import digest

IN_MEMORY_BYTES = 1 << 29  # limit for one split's float16 features; more are read in batches, with the same result
STEPS_AT_ONCE = 10  # steps per call from Python, whose overhead is half the time of a small top's step


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch, with its record, predictions and history."""

    model: keras.Model  # from examples, (n, *shape), to probabilities, float32, (n, classes)
    record: TopRecord
    probabilities: Probabilities
    history: tuple[dict[str, float], ...]  # one entry per epoch, with the keys in HISTORY
    arrays: Arrays | None = None  # weights of a fine-tuned backbone


def train(features: FeatureSet, params: TopParams, on_epoch: Callable[[Entry], None] = lambda _: None) -> Trained:
    """Trains a top on the features of the training images: a regression, or a network at its best epoch; see `fit`.

    Raises:
        DataError: there is only one class.
        ParamsError: training diverges.
    """
    if params.is_regression:
        return _regression(features, params, on_epoch)

    def network() -> keras.Model:
        return _network(features, params, Standardised.of(features, params) if params.standardise else None)

    model, epochs = fit(features, network, params, on_epoch)
    return finish(model, features, params, epochs)


def _regression(features: FeatureSet, params: TopParams, on_epoch: Callable[[Entry], None]) -> Trained:
    """Fits a regression, and puts its weights into the network that predicts."""
    _check_classes(features)
    standardised = Standardised.of(features, params)
    fitted = linear.fit(standardised, params, on_epoch)
    keras.utils.clear_session()  # restart Keras' layer numbering: equal models give equal files
    model = _network(features, params, standardised if params.standardise else None)
    offset = 0 if params.standardise else standardised.mean.astype(np.float32) @ fitted.kernel
    model.get_layer("classes").set_weights([fitted.kernel, fitted.bias - offset])
    record = msgspec.structs.replace(
        _record(features, params, len(fitted.history)), l2=fitted.choice.l2, temperature=fitted.choice.temperature
    )
    return Trained(model, record, _predicted(model, features), fitted.history)


def _network(features: FeatureSet, params: TopParams, standardised: Standardised | None) -> keras.Model:
    moments = None if standardised is None else (standardised.mean, standardised.variance)
    return build(features.width, len(features.class_names), params, moments)


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
    _check_classes(examples)
    training, validation = examples.positions("train"), examples.positions("validation")
    keras.utils.clear_session()  # restart Keras' layer numbering: equal models give equal files
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
            class_weight=_class_weights(examples.labels[training], len(examples.class_names))
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
) -> Trained:
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
    record = msgspec.structs.replace(_record(examples, params, epochs.best + 1), precision=precision)
    return Trained(model, record, _predicted(model, examples), tuple(epochs.history), arrays)


def _check_classes(examples: Examples) -> None:
    if len(examples.class_names) < 2:
        raise DataError(f"a dataset needs at least two classes, got only {examples.class_names[0]!r}", "add a folder")


def _record(examples: Examples, params: TopParams, best_epoch: int) -> TopRecord:
    return TopRecord(
        class_names=examples.class_names,
        contract=examples.recipe(),
        data_digest=sha256_text(row.id for row in examples.rows),
        split=digest(examples.rows),
        best_epoch=best_epoch,
        params=params,
    )


def _predicted(model: keras.Model, examples: Examples) -> Probabilities:
    return {split: predict(model, examples, examples.positions(split)) for split in PREDICTED_SPLITS}


def save(folder: Path, history: Path, trained: Trained) -> None:
    """Writes the model, its record, probabilities and history. Their bytes depend only on the training's inputs.

    The folder also gets a copy of the history: `dvc push` skips files kept in git, and DVC's run cache needs the
    content to restore the stage on another machine.

    Args:
        folder: where the model goes; it is replaced as a whole.
        history: CSV file for the history.
        trained: what to save.
    """
    rows = [[epoch, *(entry[name] for name in HISTORY)] for epoch, entry in enumerate(trained.history, 1)]
    with replacing(folder) as staging:
        staging.mkdir()
        network = trained.model  # saved without the optimiser's state, up to twice the size of the weights
        keras.Model(network.input, network.output, name=network.name).save(staging / "saved.keras")
        _without_traces(staging / "saved.keras", staging / "top.keras")
        write_json(staging / "top.json", msgspec.to_builtins(trained.record))
        write_probabilities(staging, trained.probabilities)
        if trained.arrays is not None:
            weights.save(staging / TUNED, trained.arrays)
        write_csv(staging / "history.csv", ("epoch", *HISTORY), rows)
        write_sums(staging, sorted(path.name for path in staging.iterdir()))
    write_csv(history, ("epoch", *HISTORY), rows)


def _batches(examples: Examples, rows: Rows, batch_size: int, seed: int | None, done: int = 0) -> tf.data.Dataset:
    """Returns the batches for Keras' `fit`; they are the same from memory as from disk.

    Args:
        examples: where the examples are read from.
        rows: positions of the examples.
        batch_size: number of examples per batch.
        seed: determines a new random order in each epoch; None: the order of `rows`.
        done: number of epochs done before.
    """
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

    # Examples are read in blocks that are then cut into batches: small reads are slow.
    at_once = max(1, examples.at_once // batch_size) * batch_size
    orders = tf.data.Dataset.from_generator(order, output_signature=tf.TensorSpec((len(rows),), tf.int64))
    blocks = orders.flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(at_once))
    batches = blocks.map(batch)
    if at_once > batch_size:
        batches = batches.prefetch(1).rebatch(batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(len(rows) / batch_size))).prefetch(2)


def _class_weights(labels: NDArray[np.int64], classes: int) -> dict[int, float]:
    """Returns weights inversely proportional to the classes' shares; their mean over all images is 1."""
    counts = np.bincount(labels, minlength=classes)
    return {label: len(labels) / (classes * int(count)) for label, count in enumerate(counts)}


def _optimiser(params: TopParams) -> keras.optimizers.Optimizer:
    kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    return kinds["adam" if params.optimiser == "auto" else params.optimiser](params.learning_rate)


def _without_traces(saved: Path, path: Path) -> None:
    """Rewrites a .keras file so that equal models give equal files, and removes the original.

    The time of saving, memory addresses and the times in the zip archive are left out.
    """
    traces = ("date_saved", "shared_object_id")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            if name.endswith(".json"):
                kept = json.loads(data, object_hook=lambda item: {k: v for k, v in item.items() if k not in traces})
                data = json.dumps(kept).encode()
            new.writestr(zipfile.ZipInfo(name), data)
    saved.unlink()
