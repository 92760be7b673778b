"""The default top: a logistic regression on a dataset's features, which chooses its L2, epochs and temperature."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bottletop.core.parallel import map_ahead
from bottletop.core.progress import bar
from bottletop.models import regression
from bottletop.models.examples import Rows, class_weights
from bottletop.models.linear_network import LinearNetwork
from bottletop.models.params import TopParams
from bottletop.models.record import PREDICTED_SPLITS
from bottletop.models.regression import STRENGTHS, Array, Choice, Linear, TrainingSet
from bottletop.models.standardisation import Standardised
from bottletop.models.trained import Entry, Trained, check_classes, record
from bottletop.models.vectors import FeatureSet

SAMPLE = 4096  # training images from which the components are found and which are scored, at most
HELD_OUT = 1 / 10  # of the training images, but at most SAMPLE, where cross-validation of all would take too long


@dataclass(frozen=True)
class Regression(Trained):
    """A logistic regression that takes features as they were extracted."""

    network: LinearNetwork

    def write(self, folder: Path) -> None:
        """Writes the network."""
        self.network.write(folder / "top.keras")


def train(features: FeatureSet, params: TopParams, on_epoch: Callable[[Entry], None] = lambda _: None) -> Regression:
    """Fits a regression, and predicts the validation and test images; see `fit`.

    The same inputs give the same bytes with any number of threads: BLAS gets one, because the order of its sums depends
    on their number, and blocks of images or folds are spread over the others.

    Raises:
        DataError: there is only one class.
    """
    check_classes(features)
    with threadpool_limits(1, "blas"):
        standardised = Standardised.of(features, params)
        fitted = fit(standardised, params, on_epoch)
        kernel = fitted.kernel / np.sqrt(standardised.variance)[:, None]
        bias = fitted.bias - standardised.mean @ kernel
        network = LinearNetwork(kernel.astype(np.float32), bias.astype(np.float32), standardised.sqrt)
        probabilities = {split: predict(network, features, split) for split in PREDICTED_SPLITS}
    choice = {"l2": fitted.choice.l2, "temperature": fitted.choice.temperature}
    found = msgspec.structs.replace(record(features, params, len(fitted.history)), **choice)
    return Regression(found, probabilities, fitted.history, network)


def predict(network: LinearNetwork, features: FeatureSet, split: str) -> Array:
    """Computes the class probabilities of a split's images: float32, (n, classes)."""
    rows = features.positions(split)
    result = np.empty((len(rows), len(network.bias)), np.float32)
    for start in range(0, len(rows), features.at_once):
        block = slice(start, start + features.at_once)
        result[block] = network.predict_on_batch(features.read(rows[block]))
    return result


@dataclass(frozen=True)
class Fitted:
    """A linear classifier of standardised features, and how it came about."""

    kernel: Array  # divided by the temperature: (width, classes)
    bias: Array  # divided by the temperature: (classes,)
    choice: Choice
    history: tuple[Entry, ...]  # an entry per epoch, with the keys in HISTORY; before the temperature


def fit(standardised: Standardised, params: TopParams, on_epoch: Callable[[Entry], None] = lambda _: None) -> Fitted:
    """Fits the top on the training images. Each epoch, SAMPLE of them at most and the validation images are scored.

    Args:
        standardised: the features.
        params: section ``train`` of params.yaml.
        on_epoch: called after each epoch with its history entry, plus the epoch's number under "epoch".
    """
    features = standardised.features
    training, validation = features.positions("train"), features.positions("validation")
    sampled = _sample(len(training), SAMPLE, params.seed)
    components = regression.principal_components(standardised.read(training[sampled]))
    labels = features.labels[training]
    weights = class_weights(labels)[labels] if params.class_weights == "balanced" else np.ones(len(labels))
    values = _projected(standardised, training, components)
    examples = TrainingSet(values, labels, weights.astype(np.float32), len(features.class_names))
    seen = examples.take(sampled)[:2]
    unseen = _projected(standardised, validation, components), features.labels[validation]
    history: list[Entry] = []

    def log_epoch(linear: Linear) -> None:
        history.append({**_scores("", linear, *seen), **_scores("val_", linear, *unseen)})
        on_epoch({"epoch": len(history), **history[-1]})

    groups = np.unique([features.rows[row].group for row in training], return_inverse=True)[1]
    unit = float(np.square(seen[0]).sum() / len(seen[0]) / features.width) or 1.0
    strengths = STRENGTHS * unit if params.l2 == "auto" else np.array([float(params.l2)])
    found, choice = _fit(examples, groups, strengths, params, log_epoch)
    choice = choice if params.calibrate else choice._replace(temperature=1.0)
    kernel = components @ (found.kernel / np.float32(choice.temperature))
    return Fitted(kernel, found.bias / np.float32(choice.temperature), choice, tuple(history[: choice.epochs]))


def _fit(
    examples: TrainingSet,
    groups: NDArray[np.int64],
    strengths: NDArray[np.float64],
    params: TopParams,
    on_epoch: Callable[[Linear], None],
) -> tuple[Linear, Choice]:
    """Fits a classifier, and chooses what the params leave open.

    Cross-validation of very many images would take too long. Then a sample of them chooses the strength of L2, and the
    fit leaves out some images, which choose the epochs and the temperature: those of a sample would be wrong for all.
    """
    schedule = regression.Schedule(params.epochs, params.patience, params.seed)
    sampled = _sample(len(groups), max(SAMPLE, regression.WORK // examples.classes), params.seed)
    many, tested = not sampled.all(), None
    choice = Choice(float(strengths[0]), params.epochs, 1.0)
    if len(strengths) > 1 or (params.calibrate and not many):
        tried = examples.take(sampled) if many else examples
        with bar("cross-validate", " strengths of L2") as shown:
            choice = regression.cross_validate(tried, groups[sampled], strengths, schedule, shown.update)
    with bar("train", " epochs", params.epochs if many else choice.epochs) as shown:

        def log_epoch(linear: Linear) -> None:
            on_epoch(linear)
            shown.update()

        if many and (len(strengths) > 1 or params.calibrate):
            parts = int(max(1 / HELD_OUT, len(groups) / SAMPLE))
            fitted = regression.folds(examples.labels, groups, parts, params.seed)[:, None] > 0
            schedule = schedule._replace(first=1)  # any epoch: its classifier is kept as it was tested
            tested = regression.held_out(examples, fitted, choice.l2, schedule, lambda found: log_epoch(found[0]))
        if tested:
            found, choice = tested.classifiers[0], tested.choice(choice.l2)
        else:
            found = regression.fit(examples, choice.l2, choice.epochs, log_epoch)
        shown.total = shown.n  # its loss may hardly change any more before
    return found, choice


def _scores(prefix: str, linear: Linear, values: Array, labels: NDArray[np.int64]) -> Entry:
    logits = linear.logits(values)
    loss = regression.log_losses(logits, labels).mean(dtype=np.float64)
    return {f"{prefix}loss": float(loss), f"{prefix}accuracy": float((logits.argmax(1) == labels).mean())}


def _sample(count: int, size: int, seed: int) -> NDArray[np.bool_]:
    """Returns which of `count` images are in a random sample: `size` of them, or all."""
    chosen = np.random.default_rng(seed).permutation(count)[:size]
    return np.isin(np.arange(count), chosen)


def _projected(standardised: Standardised, rows: Rows, components: Array) -> Array:
    """Returns the images in the coordinates of the components: float32, (len(rows), components)."""
    values = np.empty((len(rows), components.shape[1]), np.float32)
    step = standardised.features.at_once

    def project(start: int) -> None:
        np.matmul(standardised.read(rows[start : start + step]), components, out=values[start : start + step])

    for _ in map_ahead(project, range(0, len(rows), step), 4):
        pass
    return values
