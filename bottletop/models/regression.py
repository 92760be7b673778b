"""Multinomial logistic regression: what a top without hidden layers is, fitted in seconds and without TensorFlow.

It minimises the mean log loss of the training images plus ``l2`` times the sum of the kernel's squares, by L-BFGS: each
epoch is one iteration over all images. Features are first rotated onto their principal components. There the curvature
is nearly diagonal, so that each component gets a scale of its own and tens of epochs do what would take hundreds.

The strength of L2, the number of epochs and the temperature come from training images that a classifier has not seen.
The validation images have no influence on the model, so that they compare settings fairly.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from bottletop.core.parallel import map_ahead
from bottletop.models.calibration import cautious_temperature

Array = NDArray[np.float32]

BLOCK = 4096  # images whose losses are added up at once; the blocks are spread over the processors
FOLDS = 5
STRENGTHS = np.logspace(-5, 0, 6)  # of L2, for features of unit variance
NEAR = 10**0.5  # the best of them, divided and multiplied by this, is tried, too
TYPICAL_STRENGTH = 0.01  # where no class can be validated
FEWEST_EPOCHS = 20  # before a fit is stopped: until then, the loss of held-out images goes up and down
WORK = 1 << 18  # limit of images x classes over all folds: large datasets need no five folds to choose
TYPICAL_CURVATURE = 1 / 16  # of the log loss, as a fraction of a component's variance; 1/4 where nothing is certain
SMALLEST_VARIANCE = 1e-4  # components with a smaller fraction of the largest variance are left out
CONVERGED = {"ftol": 1e-7, "gtol": 1e-6}  # smaller changes of the objective, smaller gradients


class TrainingSet(NamedTuple):
    """Labelled training images in the coordinates of the fit."""

    values: Array  # (n, components)
    labels: NDArray[np.int64]  # (n,), below `classes`
    weights: Array  # (n,), with a mean of 1
    classes: int

    def take(self, chosen: NDArray[np.bool_] | slice) -> "TrainingSet":
        """Returns the images for which `chosen` is true, or those of a slice."""
        return TrainingSet(self.values[chosen], self.labels[chosen], self.weights[chosen], self.classes)

    def blocks(self) -> list["TrainingSet"]:
        """Returns the images in blocks of BLOCK, without copying their values."""
        return [self.take(slice(start, start + BLOCK)) for start in range(0, len(self.values), BLOCK)]


class Linear(NamedTuple):
    """A linear classifier."""

    kernel: Array  # (components, classes)
    bias: Array  # (classes,)

    def logits(self, values: Array) -> Array:
        """Returns the logits of each image: (n, classes)."""
        return np.asarray(values @ self.kernel + self.bias)


def log_losses(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Returns the log loss of each image, (n,), from the logits, (n, classes)."""
    return np.asarray(-log_softmax(logits, 1)[np.arange(len(labels)), labels])


def principal_components(values: Array) -> Array:
    """Returns the directions of largest variance, largest first, as columns: (width, components).

    Directions with hardly any variance are left out. The smaller of the two matrices of inner products is decomposed.
    """
    by_image = len(values) < values.shape[1]
    products = values @ values.T if by_image else values.T @ values
    variances, vectors = eigh(products, driver="evd", check_finite=False)  # in half of the time of NumPy's
    kept = np.flatnonzero(variances > SMALLEST_VARIANCE * variances[-1])[::-1]
    vectors = vectors[:, kept]
    return np.ascontiguousarray(values.T @ (vectors / np.sqrt(variances[kept])) if by_image else vectors)


def fit(examples: TrainingSet, l2: float, epochs: int, on_epoch: Callable[[Linear], None] = lambda _: None) -> Linear:
    """Fits a classifier by L-BFGS, from zero; its loss hardly changes any more, or the epochs are over.

    Args:
        examples: the training images.
        l2: strength of the penalty.
        epochs: largest number of iterations.
        on_epoch: called after each iteration with the classifier, at least once.
    """
    shares = examples.weights[:, None] / np.float32(len(examples.values))
    return _fit_side_by_side(examples, shares, l2, epochs, lambda found: on_epoch(found[0]))[0]


def _fit_side_by_side(
    examples: TrainingSet, shares: Array, l2: float, epochs: int, on_epoch: Callable[[list[Linear]], None]
) -> list[Linear]:
    """Fits several classifiers as one problem, as products of large matrices take less time than those of small ones.

    Args:
        examples: the training images.
        shares: (n, classifiers), by which the log losses of the images are added up to that of each classifier.
        l2: strength of the penalty.
        epochs: largest number of iterations.
        on_epoch: called after each iteration with the classifiers, at least once.
    """
    blocks = examples._replace(weights=shares).blocks()
    squares = sum(np.square(block.values).sum(0, dtype=np.float64) for block in blocks)
    variances = squares / len(examples.values)
    scale = (1 / np.sqrt(TYPICAL_CURVATURE * variances + 2 * l2 + 1e-12)).astype(np.float32)[:, None]
    problem = Problem(blocks, shares.shape[1], scale, np.float32(l2) * scale * scale)
    found = minimize(
        problem.objective, np.zeros(np.prod(problem.shape)), jac=True, method="L-BFGS-B",
        options={"maxiter": epochs, **CONVERGED}, callback=lambda flat: on_epoch(problem.classifiers(flat)),
    )  # fmt: skip
    if not found.nit:  # nothing to learn
        on_epoch(problem.classifiers(found.x))
    return problem.classifiers(found.x)


class Problem(NamedTuple):
    """What L-BFGS minimises: a function of the scaled weights of classifiers side by side, in one vector."""

    blocks: list[TrainingSet]  # with weights (n, classifiers), as of `_fit_side_by_side`
    fits: int  # number of classifiers
    scale: Array  # of each component, (components, 1)
    penalty: Array  # on the squares of the scaled weights, (components, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the weights: kernels and, in the last row, biases."""
        return len(self.scale) + 1, self.fits * self.blocks[0].classes

    def weights(self, flat: NDArray[np.float64]) -> Array:
        """Returns the weights that belong to the vector."""
        weights = flat.astype(np.float32).reshape(self.shape)
        weights[:-1] *= self.scale
        return weights

    def classifiers(self, flat: NDArray[np.float64]) -> list[Linear]:
        """Returns the classifiers that belong to the vector."""
        each = np.split(self.weights(flat), self.fits, axis=1)
        return [Linear(columns[:-1], columns[-1]) for columns in each]

    def objective(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Returns the sum of losses and penalties, and its gradient."""
        loss, gradient = 0.0, np.zeros(self.shape)
        for part, slopes in _losses(self.weights(flat), self.blocks):
            loss += part
            gradient += slopes
        kernels = flat.reshape(self.shape)[:-1]
        shrinking = self.penalty * kernels
        gradient[:-1] = self.scale * gradient[:-1] + 2 * shrinking
        return loss + float(np.vdot(shrinking, kernels)), gradient.ravel()


def _losses(weights: Array, blocks: Sequence[TrainingSet]) -> list[tuple[float, Array]]:
    if len(blocks) == 1:  # starting threads for it would take a tenth of the time
        return [_loss(weights, blocks[0])]
    return [found for _, found in map_ahead(lambda block: _loss(weights, block), blocks, len(blocks))]


def _loss(weights: Array, examples: TrainingSet) -> tuple[float, Array]:
    """Returns the sum of the log losses, and its gradient by the weights: kernels and, in the last row, biases.

    The images' own weights are (n, classifiers) here.
    """
    shares, rows = examples.weights, np.arange(len(examples.values))
    logits = examples.values @ weights[:-1] + weights[-1]
    by_class = logits.reshape(*shares.shape, examples.classes)
    by_class -= by_class.max(2, keepdims=True)
    own = by_class[rows, :, examples.labels]
    np.exp(logits, out=logits)
    sums = by_class.sum(2)
    loss = float(((np.log(sums) - own) * shares).sum(dtype=np.float64))
    by_class *= (shares / sums)[:, :, None]
    by_class[rows, :, examples.labels] -= shares
    return loss, np.vstack([(logits.T.copy() @ examples.values).T, logits.sum(0)])


class Schedule(NamedTuple):
    """How long the fits take that are compared."""

    epochs: int  # at most
    patience: int | None  # epochs without a lower loss on held-out images before stopping; None: never
    seed: int  # of the folds
    first: int = FEWEST_EPOCHS  # earlier epochs are not chosen, unless the fit ends before


class Choice(NamedTuple):
    """What cross-validation chose."""

    l2: float
    epochs: int
    temperature: float


class HeldOut(NamedTuple):
    """What the classifiers of one strength predict for images that they were not fitted on."""

    losses: list[float]  # mean, after each epoch of the whole fit
    best: int  # the epoch with the lowest loss, counted from 0
    classifiers: list[Linear]  # after that epoch, as the two below
    logits: Array  # (n, classes)
    labels: NDArray[np.int64]

    @property
    def lowest(self) -> float:
        """The lowest loss."""
        return self.losses[self.best]

    def at(self, epoch: int) -> float:
        """The loss after an epoch, counted from 0, or after the last one."""
        return self.losses[min(epoch, len(self.losses) - 1)]

    def choice(self, l2: float) -> Choice:
        """The epochs and the temperature that belong to this strength."""
        return Choice(l2, self.best + 1, cautious_temperature(softmax(self.logits, 1), self.labels))


def cross_validate(
    examples: TrainingSet,
    groups: NDArray[np.int64],
    strengths: NDArray[np.float64],
    schedule: Schedule,
    on_strength: Callable[[], object] = lambda: None,
) -> Choice:
    """Chooses the strength and the number of epochs with the lowest log loss on held-out images, and the temperature.

    From the middle strength on, the neighbours of the best one are tried, until both are worse; then two strengths
    between them. Between strengths, the loss is taken as a parabola.

    Args:
        examples: the training images.
        groups: (n,), the group of each image: images of one group are held out together.
        strengths: of L2, each ten times the one before; if there is only one, the epochs and temperature are chosen.
        schedule: how long the fits that are compared may take, and the seed of the folds.
        on_strength: called after each strength that was tried.
    """
    count = int(np.clip(WORK // (len(groups) * examples.classes), 1, FOLDS))
    fitted = folds(examples.labels, groups, FOLDS, schedule.seed)[:, None] != np.arange(count)

    def try_out(strength: float) -> HeldOut | None:
        held = held_out(examples, fitted, strength, schedule)
        on_strength()
        return held

    tried = _search(strengths.tolist(), try_out)
    if not tried:
        return Choice(float(np.clip(TYPICAL_STRENGTH, strengths[0], strengths[-1])), schedule.epochs, 1.0)
    best = _best(tried)
    held = tried[best]
    losses = {strength: tried[strength].at(held.best) for strength in sorted(tried)}
    return held.choice(_between(losses, best))


def _search(strengths: list[float], try_out: Callable[[float], HeldOut | None]) -> dict[float, HeldOut]:
    """Returns what the strengths gave that were tried; nothing if no image can be tested."""
    tried: dict[float, HeldOut] = {}

    def go_on(candidates: Sequence[float]) -> None:
        found = map_ahead(try_out, candidates, len(candidates))
        tried.update({strength: held for strength, held in found if held})

    middle = strengths[(len(strengths) - 1) // 2]
    go_on(_neighbours(strengths, middle)[::-1])  # the strongest takes longest: it starts first
    if not tried:
        return {}
    while untried := [each for each in _neighbours(strengths, _best(tried)) if each not in tried]:
        go_on(untried)
    if len(strengths) > 1:
        go_on([_best(tried) / NEAR, _best(tried) * NEAR])
    return tried


def _best(tried: Mapping[float, HeldOut]) -> float:
    """Returns the strength with the lowest loss."""
    return min(tried, key=lambda strength: tried[strength].lowest)


def held_out(
    examples: TrainingSet,
    fitted: NDArray[np.bool_],
    l2: float,
    schedule: Schedule,
    on_epoch: Callable[[list[Linear]], None] = lambda _: None,
) -> HeldOut | None:
    """Fits classifiers side by side until their loss on the other images has not fallen for `patience` epochs.

    Args:
        examples: the training images.
        fitted: (n, classifiers), the images that each is fitted to.
        l2: strength of the penalty.
        schedule: how long the fit may take.
        on_epoch: called after each epoch with the classifiers.

    Returns:
        What they predict, or None if no image counts. An image counts if its class is among the fitted ones.
    """
    held = [examples.take(~own & np.isin(examples.labels, examples.labels[own])) for own in fitted.T]
    labels = np.concatenate([each.labels for each in held])
    if not len(labels):
        return None
    weights = np.concatenate([each.weights for each in held])
    losses: list[float] = []
    best: HeldOut | None = None

    def record(found: list[Linear]) -> None:
        nonlocal best
        logits = np.concatenate([each.logits(part.values) for each, part in zip(found, held, strict=True)])
        losses.append(float((log_losses(logits, labels) * weights).sum(dtype=np.float64)) / len(labels))
        if best is None or len(losses) <= schedule.first or losses[-1] < best.lowest:
            best = HeldOut(losses, len(losses) - 1, found, logits, labels)
        on_epoch(found)
        if schedule.patience and len(losses) > schedule.patience + max(best.best, FEWEST_EPOCHS - 1):
            raise StopIteration  # scipy ends the fit

    shares = fitted * (examples.weights[:, None] / fitted.sum(0, dtype=np.float32))
    _fit_side_by_side(examples, shares, l2, schedule.epochs, record)
    return best


def folds(labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Deals the groups of each class to folds in turn, in random order. Returns each image's fold: int64, (n,)."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % count
    return dealt[group]


def _neighbours(strengths: list[float], strength: float) -> list[float]:
    position = strengths.index(strength)
    return strengths[max(position - 1, 0) : position + 2]


def _between(losses: dict[float, float], best: float) -> float:
    """Returns where the parabola through the losses of the best strength and its two neighbours is lowest."""
    strengths = list(losses)
    position = strengths.index(best)
    if not 0 < position < len(strengths) - 1:
        return best
    before, lowest, after = (losses[strength] for strength in strengths[position - 1 : position + 2])
    bend = before + after - 2 * lowest
    return best * float(NEAR ** ((before - after) / (2 * bend))) if bend > 0 else best
