"""The default top: a logistic regression on a dataset's features, which chooses its L2, epochs and temperature."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
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

SAMPLE = 4096  # training images from which components, strength, epochs and temperature are found, at most


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
    """Fits the top on the training images. Validation images are only scored after each epoch.

    Args:
        standardised: the features.
        params: section ``train`` of params.yaml.
        on_epoch: called after each epoch with its history entry, plus the epoch's number under "epoch".
    """
    features = standardised.features
    training, validation = features.positions("train"), features.positions("validation")
    history: list[Entry] = []
    sample = _sample(training, params.seed)
    components = regression.principal_components(standardised.read(sample))
    values = _projected(standardised, training, components)
    labels = features.labels[training]
    weights = class_weights(labels)[labels] if params.class_weights == "balanced" else np.ones(len(labels))
    examples = TrainingSet(values, labels, weights.astype(np.float32), len(features.class_names))
    choice = _choose(examples, np.isin(training, sample), standardised, params)
    held = _projected(standardised, validation, components), features.labels[validation]
    with bar("train", " epochs", choice.epochs) as shown:

        def log_epoch(linear: Linear) -> None:
            history.append({**_scores("", linear, *examples[:2]), **_scores("val_", linear, *held)})
            on_epoch({"epoch": len(history), **history[-1]})
            shown.update()

        found = regression.fit(examples, choice.l2, choice.epochs, log_epoch)
        shown.total = shown.n  # its loss may hardly change any more before
    kernel = components @ (found.kernel / np.float32(choice.temperature))
    return Fitted(kernel, found.bias / np.float32(choice.temperature), choice, tuple(history))


def _scores(prefix: str, linear: Linear, values: Array, labels: NDArray[np.int64]) -> Entry:
    logits = linear.logits(values)
    loss = -log_softmax(logits, 1)[np.arange(len(labels)), labels].mean(dtype=np.float64)
    return {f"{prefix}loss": float(loss), f"{prefix}accuracy": float((logits.argmax(1) == labels).mean())}


def _sample(rows: Rows, seed: int) -> Rows:
    """Returns at most SAMPLE of the rows, chosen at random, in order."""
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))


def _projected(standardised: Standardised, rows: Rows, components: Array) -> Array:
    """Returns the images in the coordinates of the components: float32, (len(rows), components)."""
    values = np.empty((len(rows), components.shape[1]), np.float32)
    step = standardised.features.at_once

    def project(start: int) -> None:
        np.matmul(standardised.read(rows[start : start + step]), components, out=values[start : start + step])

    for _ in map_ahead(project, range(0, len(rows), step), 4):
        pass
    return values


def _choose(examples: TrainingSet, sampled: NDArray[np.bool_], standardised: Standardised, params: TopParams) -> Choice:
    """Cross-validates on the sample. The fewer images, the stronger L2 must be; the strength is scaled accordingly."""
    if params.l2 != "auto" and not params.calibrate:
        return Choice(float(params.l2), params.epochs, 1.0)
    share = sampled.mean()
    tried = examples.take(sampled)
    unit = float(np.square(tried.values).sum() / len(tried.values) / standardised.features.width) or 1.0
    strengths = STRENGTHS * unit if params.l2 == "auto" else np.array([float(params.l2) / share])
    names = [standardised.features.rows[row].group for row in standardised.features.positions("train")[sampled]]
    groups = np.unique(names, return_inverse=True)[1]
    schedule = regression.Schedule(params.epochs, params.patience, params.seed)
    with bar("cross-validate", " strengths of L2") as shown:
        found = regression.cross_validate(tried, groups, strengths, schedule, shown.update)
    return Choice(float(found.l2 * share), found.epochs, found.temperature if params.calibrate else 1.0)
