"""Multinomial logistic regression: what a top without hidden layers is, fitted in seconds and without TensorFlow.

It minimises the mean log loss of the training images plus ``l2`` times the sum of the kernel's squares, by stochastic
gradient descent with momentum. Features are first rotated onto their principal components. There the curvature is
nearly diagonal, so that each component gets a step of its own and tens of epochs do what would take thousands.

The strength of L2 and the temperature come from cross-validation inside the training images. The validation images have
no influence on the model, so that they compare settings fairly.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from bottletop.core.parallel import map_ahead
from bottletop.models.calibration import best_temperature

Array = NDArray[np.float32]

FOLDS = 5
STRENGTHS = np.logspace(-4.5, 0.5, 6)  # of L2 that are tried, for features of unit variance
TYPICAL_STRENGTH = 0.01  # where no class can be validated
FOLD_COST = 1 << 19  # limit of images x classes over all folds: large datasets need no five folds to choose
MOMENTUM = 0.9
STEP = 0.3  # fraction of the step at which an average batch would be solved at once
SMALLEST_VARIANCE = 1e-5  # components with a smaller fraction of the largest variance are left out


class Examples(NamedTuple):
    """Labelled training images in the coordinates of the fit."""

    values: Array  # (n, components)
    labels: NDArray[np.int64]  # (n,), below `classes`
    weights: Array  # (n,), with a mean of 1
    classes: int

    def take(self, chosen: NDArray[np.bool_]) -> "Examples":
        """Returns the images for which `chosen` is true."""
        return Examples(self.values[chosen], self.labels[chosen], self.weights[chosen], self.classes)


class Schedule(NamedTuple):
    """How long, and in which order, the images are shown."""

    epochs: int
    batch_size: int
    seed: int


class Linear(NamedTuple):
    """One linear classifier per strength."""

    kernel: Array  # (components, strengths, classes)
    bias: Array  # (strengths, classes)

    def logits(self, values: Array) -> Array:
        """Returns the logits of each image and strength: (n, strengths, classes)."""
        flat = values @ self.kernel.reshape(len(self.kernel), self.bias.size)
        return np.asarray(flat.reshape(len(values), *self.bias.shape) + self.bias)


def principal_components(values: Array) -> Array:
    """Returns the directions of largest variance, largest first, as columns: (width, components).

    Directions with hardly any variance are left out. The smaller of the two matrices of inner products is decomposed.
    """
    by_image = len(values) < values.shape[1]
    variances, vectors = np.linalg.eigh(values @ values.T if by_image else values.T @ values)
    kept = np.flatnonzero(variances > SMALLEST_VARIANCE * variances[-1])[::-1]
    vectors = vectors[:, kept]
    return np.ascontiguousarray(values.T @ (vectors / np.sqrt(variances[kept])) if by_image else vectors)


def descend(
    examples: Examples,
    strengths: NDArray[np.float64],
    schedule: Schedule,
    on_epoch: Callable[[Linear, float, float], None] = lambda *_: None,
) -> Linear:
    """Fits one classifier for each strength of L2, all side by side.

    The step of each component is the inverse of its curvature, at most a quarter of its variance plus that of the
    penalty. It is the smaller, the fewer images share a batch, and falls to zero.

    Args:
        examples: the training images.
        strengths: of L2, (strengths,).
        schedule: epochs, batch size and seed.
        on_epoch: called after each epoch with the classifiers, and with the mean loss and accuracy over the epoch's
            batches before their steps.
    """
    count, width = examples.values.shape
    size = min(schedule.batch_size, count)
    shape = len(strengths), examples.classes
    squares = np.square(examples.values).mean(0, dtype=np.float64)[:, None]
    steps = 1 / (squares / 4 + 2 * strengths)  # (width, strengths)
    rates = STEP / (1 + (1 + (squares * steps).sum(0) / 4) / size)  # (strengths,)
    kernel_steps, shrinking, bias_steps = (
        np.repeat(values, examples.classes, axis=-1).astype(np.float32)
        for values in (steps * rates, 2 * strengths * steps * rates, 4 * rates)
    )
    linear = Linear(np.zeros((width, *shape), np.float32), np.zeros(shape, np.float32))
    kernel, bias = linear.kernel.reshape(width, linear.bias.size), linear.bias.reshape(-1)
    kernel_speed, bias_speed, change = np.zeros_like(kernel), np.zeros_like(bias), np.empty_like(kernel)
    done, total = 0, schedule.epochs * -(-count // size)
    for epoch in range(schedule.epochs):
        order = np.random.default_rng([schedule.seed, epoch]).permutation(count)
        loss = hits = 0.0
        for start in range(0, count, size):
            batch = order[start : start + size]
            values, weights = examples.values[batch], examples.weights[batch]
            errors, own, hit = _errors(linear.logits(values), examples.labels[batch])
            loss += float(own @ weights)
            hits += float(hit.sum())
            falling = np.float32(1 - done / total)
            errors *= (falling * weights / size)[:, None]
            kernel_speed *= MOMENTUM
            bias_speed *= MOMENTUM
            bias_speed -= bias_steps * errors.sum(0)
            np.matmul(values.T, errors, out=change)
            change *= kernel_steps
            kernel_speed -= change
            np.multiply(kernel, shrinking, out=change)
            change *= falling
            kernel_speed -= change
            kernel += kernel_speed
            bias += bias_speed
            done += 1
        on_epoch(linear, loss / count, hits / count)
    return linear


def _errors(logits: Array, labels: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Returns probabilities minus targets, (n, strengths x classes), and each image's log loss and hits, (n,)."""
    errors = logits - logits.max(-1, keepdims=True)
    np.exp(errors, out=errors)
    errors /= errors.sum(-1, keepdims=True)
    rows = np.arange(len(labels))
    own = errors[rows, :, labels]
    hit = (errors.argmax(-1) == labels[:, None]).mean(1, dtype=np.float32)
    errors[rows, :, labels] -= 1
    return errors.reshape(len(labels), -1), -np.log(own.clip(1e-12)).mean(1), hit


class Choice(NamedTuple):
    """What cross-validation chose."""

    l2: float
    temperature: float


def cross_validate(
    examples: Examples, groups: NDArray[np.int64], strengths: NDArray[np.float64], schedule: Schedule
) -> Choice:
    """Chooses the strength with the lowest log loss on held-out images, and the temperature that suits them best.

    Images of one group are held out together. Each fold holds out about as much of each class. Images whose class is
    not among the others are not counted. Between the strengths, the loss is taken as a parabola.

    Args:
        examples: the training images.
        groups: (n,), the group of each image.
        strengths: of L2 to choose from, ascending; one of them: only the temperature is chosen.
        schedule: of the fits that are compared; choose for the same schedule with which you fit.
    """
    fold = folds(examples.labels, groups, schedule.seed)
    computed = range(int(np.clip(FOLD_COST // (len(fold) * examples.classes), 1, FOLDS)))

    def held_out(number: int) -> tuple[Array, NDArray[np.int64], Array]:
        others = examples.take(fold != number)
        held = examples.take((fold == number) & np.isin(examples.labels, others.labels))
        return descend(others, strengths, schedule).logits(held.values), held.labels, held.weights

    parts = [part for _, part in map_ahead(held_out, computed, len(computed))]
    logits, labels, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not len(labels):
        return Choice(float(np.clip(TYPICAL_STRENGTH, strengths[0], strengths[-1])), 1.0)
    losses = -(log_softmax(logits, -1)[np.arange(len(labels)), :, labels] * weights[:, None]).mean(0)
    best = int(losses.argmin())
    return Choice(_lowest(strengths, losses), best_temperature(softmax(logits[:, best], -1), labels))


def folds(labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Deals the groups of each class to folds in turn, in random order. Returns each image's fold: int64, (n,)."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % FOLDS
    return dealt[group]


def _lowest(strengths: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Returns where the parabola through the lowest loss and its neighbours is lowest."""
    best = int(losses.argmin())
    if not 0 < best < len(losses) - 1:
        return float(strengths[best])
    before, lowest, after = losses[best - 1 : best + 2]
    shift = (before - after) / (2 * (before + after - 2 * lowest)) if before + after > 2 * lowest else 0.0
    return float(strengths[best] * (strengths[best + 1] / strengths[best]) ** shift)
