"""Scores of predictions, each with its 95 % bootstrap interval."""

from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from bottletop.core.settings import Params

Probabilities = NDArray[np.float64]  # (n, classes), rows sum to 1
Labels = NDArray[np.int64]  # (n,), positions of the true classes
Weights = NDArray[np.float64]  # (n,), how often each image is counted
Curve = NDArray[np.float64]  # (points, 2), x and y

CALIBRATION_BINS = 15
MIN_PROBABILITY = 1e-7


class EvaluateParams(Params, frozen=True, kw_only=True):
    """Section ``evaluate`` of params.yaml."""

    bootstrap: Annotated[int, Meta(ge=100)] = 1000  # resamples of the test images
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0  # of the resampling
    # With two classes, the one named here is positive; else the last by name.
    positive_classes: tuple[str, ...] = ("malignant",)


class Positive(NamedTuple):
    """Which of two classes is the positive one, and when an image is called so."""

    position: int  # of the class
    threshold: float  # images with at least this probability of the class are called positive


class Score(NamedTuple):
    """A score and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


Metric = Callable[[Weights], float]


def evaluate(
    probabilities: Probabilities,
    labels: Labels,
    groups: NDArray[np.int64],
    params: EvaluateParams,
    positive: Positive | None = None,
) -> dict[str, Score]:
    """Computes all scores of one test set.

    The intervals are percentile bootstrap intervals (Efron and Tibshirani, 1993). Whole groups of duplicates are
    resampled with replacement. At 0 % or 100 % the bootstrap interval of a rate has zero width, so the intervals of
    rates are extended to include Wilson's (1927).

    Args:
        probabilities: (n, classes).
        labels: (n,), positions of the true classes.
        groups: (n,), the number of each image's duplicate group, from 0 to the number of groups minus 1.
        params: section ``evaluate`` of params.yaml.
        positive: of two classes; None: sensitivity, specificity and ROC AUC are left out.

    Returns:
        The scores by name; `top5_accuracy` only with more than five classes.
    """
    rates, metrics = _rates(probabilities, labels), _metrics(probabilities, labels)
    if positive is not None:
        probability, is_positive = probabilities[:, positive.position], labels == positive.position
        called = probability >= positive.threshold
        rates["sensitivity"] = _Rate(called & is_positive, is_positive)
        rates["specificity"] = _Rate(~called & ~is_positive, ~is_positive)
        metrics["roc_auc"] = _roc_auc(probability, is_positive)
    metrics = {name: rate.value for name, rate in rates.items()} | metrics
    draws = [[metric(weights) for metric in metrics.values()] for weights in _resamples(groups, params)]
    scores = {}
    for (name, metric), values in zip(metrics.items(), np.array(draws).T, strict=True):
        ends = list(np.nanpercentile(values, [2.5, 97.5]))
        if name in rates:
            ends += wilson(int(rates[name].hits.sum()), int(rates[name].of.sum()))
        scores[name] = Score(metric(np.ones(len(labels))), float(min(ends)), float(max(ends)))
    return scores


def _resamples(groups: NDArray[np.int64], params: EvaluateParams) -> Iterator[Weights]:
    """Yields how often each image is counted, for each resample of the groups."""
    random, count = np.random.default_rng(params.seed), int(groups.max()) + 1
    for _ in range(params.bootstrap):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups].astype(np.float64)


def choose_threshold(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Chooses the threshold with the highest sum of sensitivity and specificity (Youden, 1950), on validation images.

    The candidates lie midway between neighbouring probabilities. A few images cannot tell near-best candidates apart:
    of all whose sum is within one image of the highest, the one nearest to 0.5 is chosen. One image counts 1 / the size
    of the smaller class.

    Args:
        probability: of the positive class, (n,).
        positive: whether each image is of that class, (n,).

    Returns:
        The threshold; 0.5 if all probabilities are equal.
    """
    values, position = np.unique(probability, return_inverse=True)
    if len(values) < 2:
        return 0.5
    thresholds = (values[:-1] + values[1:]) / 2
    missed = np.bincount(position, positive).cumsum()[:-1]  # positives below each threshold
    rejected = np.bincount(position, ~positive).cumsum()[:-1]
    sensitivity = 1 - missed / max(1, positive.sum())
    specificity = rejected / max(1, (~positive).sum())
    total = sensitivity + specificity
    one_image = 1 / max(1, min(positive.sum(), (~positive).sum()))
    good = thresholds[total >= total.max() - one_image - 1e-12]
    return float(good[np.argmin(np.abs(good - 0.5))])


def confusion_matrix(predicted: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """Counts images by true class (rows) and predicted class (columns): int64, (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Computes precision, recall, F1 and number of images of each class, (classes, 4); 0 where undefined."""
    hits, true, called = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    precision, recall = hits / np.maximum(called, 1), hits / np.maximum(true, 1)
    return np.stack([precision, recall, 2 * hits / np.maximum(true + called, 1), true], 1)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Returns the ends of Wilson's 95 % interval (1927) of a rate; 0 and 1 if nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    rate, z = hits / count, 1.959964
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return float(middle - half), float(middle + half)


def order_by_confusion(matrix: NDArray[np.int64]) -> list[int]:
    """Orders classes so that those that are often confused stand together.

    The most confused pair becomes neighbours first, then the next, as long as both are at an end of their chains of
    neighbours. SciPy's optimal leaf ordering does the same in more ways; its import takes half a second of CPU time.

    Args:
        matrix: counts, (classes, classes); see `confusion_matrix`.

    Returns:
        Positions of the classes, in the new order.
    """
    both = np.triu(matrix + matrix.T, 1)
    pairs = np.argwhere(both)
    chains = {position: [position] for position in range(len(matrix))}  # by class; the classes of a chain share it
    for one, other in pairs[np.argsort(-both[tuple(pairs.T)], kind="stable")].tolist():
        left, right = chains[one], chains[other]
        if left is right or one not in (left[0], left[-1]) or other not in (right[0], right[-1]):
            continue
        left = left if left[-1] == one else left[::-1]
        joined = left + (right if right[0] == other else right[::-1])
        chains.update(dict.fromkeys(joined, joined))
    return [position for chain in {id(chain): chain for chain in chains.values()}.values() for position in chain]


def calibration(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    """Returns mean confidence, accuracy and number of images of each bin that holds images: float64, (bins, 3)."""
    confidence, correct, bins = _bins(probabilities, labels)
    rows = [(confidence[bins == b].mean(), correct[bins == b].mean(), (bins == b).sum()) for b in np.unique(bins)]
    return np.array(rows, np.float64)


def calibration_error(bins: NDArray[np.float64]) -> float:
    """Returns the expected calibration error (Guo et al., 2017) of the bins from `calibration`."""
    return float(np.abs(bins[:, 0] - bins[:, 1]) @ bins[:, 2] / bins[:, 2].sum())


def roc_curve(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> Curve:
    """Returns false and true positive rate at each threshold, from the highest down: float64, (thresholds + 1, 2)."""
    true, false = _counts(probability, positive)
    return np.stack([false / max(1, false[-1]), true / max(1, true[-1])], 1)


def precision_recall_curve(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> Curve:
    """Returns recall and precision at each threshold, from the highest down: float64, (thresholds, 2)."""
    true, false = _counts(probability, positive)
    return np.stack([true / max(1, true[-1]), true / np.maximum(true + false, 1)], 1)[1:]


def _counts(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[Labels, Labels]:
    """Counts the true and false positives at each threshold, from none down to the lowest probability."""
    order = np.argsort(-probability, kind="stable")
    last = np.append(np.diff(probability[order]) != 0, True)  # of images with equal probability
    hits = positive[order]
    return np.append(0, hits.cumsum()[last]), np.append(0, (~hits).cumsum()[last])


class _Rate(NamedTuple):
    """A rate: the share of hits among the images that it refers to."""

    hits: NDArray[np.bool_]  # (n,), only images in `of`
    of: NDArray[np.bool_]  # (n,), the images that count

    def value(self, weights: Weights) -> float:
        """The rate of the weighted images; NaN if none of them counts."""
        total = weights @ self.of
        return float(weights @ self.hits / total) if total else float("nan")


def _rates(probabilities: Probabilities, labels: Labels) -> dict[str, _Rate]:
    everything = np.ones(len(labels), np.bool_)
    rates = {"accuracy": _Rate(probabilities.argmax(1) == labels, everything)}
    if probabilities.shape[1] > 5:
        own = probabilities[np.arange(len(labels)), labels]
        rates["top5_accuracy"] = _Rate((probabilities > own[:, None]).sum(1) < 5, everything)
    return rates


def _metrics(probabilities: Probabilities, labels: Labels) -> dict[str, Metric]:
    count, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    nats = -np.log(probabilities[np.arange(count), labels].clip(MIN_PROBABILITY))
    confidence, correct, bins = _bins(probabilities, labels)

    def balanced_accuracy(weights: Weights) -> float:
        per_class = np.bincount(labels, weights, classes)
        seen = per_class > 0
        return float((np.bincount(labels, weights * correct, classes)[seen] / per_class[seen]).mean())

    def macro_f1(weights: Weights) -> float:
        hits = np.bincount(labels, weights * correct, classes)
        either = np.bincount(labels, weights, classes) + np.bincount(predicted, weights, classes)
        return float((2 * hits[either > 0] / either[either > 0]).mean())

    def calibration_error(weights: Weights) -> float:
        """Expected calibration error (Guo et al., 2017)."""
        gaps = np.bincount(bins, weights * (confidence - correct), CALIBRATION_BINS)
        return float(np.abs(gaps).sum() / weights.sum())

    return {
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "log_loss": lambda weights: float(weights @ nats / weights.sum()),
        "calibration_error": calibration_error,
    }


def _roc_auc(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> Metric:
    """The area under the ROC curve (Hanley and McNeil, 1982).

    This is the share of pairs of a positive and a negative image in which the positive one has the higher probability;
    ties count half. It is computed once for each resample of the bootstrap, for which scikit-learn's `roc_auc_score`
    would also be imported; see `reports._per_class_text`.
    """
    _, tied = np.unique(probability, return_inverse=True)

    def roc_auc(weights: Weights) -> float:
        ups = np.bincount(tied, weights * positive)
        downs = np.bincount(tied, weights * ~positive)
        pairs = ups.sum() * downs.sum()
        return float(ups @ (np.cumsum(downs) - downs / 2) / pairs) if pairs else float("nan")

    return roc_auc


def _bins(probabilities: Probabilities, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64], Labels]:
    """Bins predictions by confidence.

    Returns:
        The probability of the predicted class; 1 if that class is right, else 0; and the number of the bin, from 0.
        Each is (n,). The bins have equal width.
    """
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == labels).astype(np.float64)
    return confidence, correct, np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
