"""Tests whether one model beats another on the same test images."""

import csv
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bottletop.core.cells import unguarded
from bottletop.core.errors import ArtefactError

PERMUTATIONS, RESAMPLES = 9999, 1999
SIGNIFICANT = 0.05


class Outcome(NamedTuple):
    """Which test images a model classified correctly."""

    images: tuple[tuple[str, str], ...]  # id and path of each image
    groups: NDArray[np.int64]  # (n,), from 0 to the number of groups - 1; images of a group are copies
    correct: NDArray[np.float64]  # (n,), in [0, 1]: 0 or 1; for several seeds, the share that was right


class Difference(NamedTuple):
    """The accuracy of one model minus that of another, on the same images."""

    value: float  # in [-1, 1]
    low: float  # lower end of the 95 % interval
    high: float  # upper end
    p_value: float  # probability of a difference at least this large if neither model were better
    images: int  # number of test images

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` if the p value is below `SIGNIFICANT`, else ``no difference shown``."""
        if self.p_value >= SIGNIFICANT:
            return "no difference shown"
        return "better" if self.value > 0 else "worse"


def read_outcome(file: IO[str]) -> Outcome:
    """Reads ``predictions.csv``.

    The column ``predicted`` decides what is correct, because the probabilities are rounded and may tie.
    """
    rows = list(csv.DictReader(file))
    correct = np.array([row["predicted"] == row["label"] for row in rows], np.float64)
    _, groups = np.unique([row["group"] for row in rows], return_inverse=True)
    return Outcome(tuple((row["id"], unguarded(row["path"])) for row in rows), groups, correct)


def average(outcomes: Sequence[Outcome]) -> Outcome:
    """Averages the outcomes of one configuration with several seeds.

    Raises:
        ArtefactError: the outcomes are of different images.
    """
    _require_same_images(outcomes)
    return outcomes[0]._replace(correct=np.mean([outcome.correct for outcome in outcomes], axis=0))


def compare(first: Outcome, second: Outcome, seed: int = 0) -> Difference:
    """How much more accurate the first model is, with a paired permutation test and a paired bootstrap interval.

    The test asks how often a difference as large would arise if each image's two results were swapped at random
    (Fisher, 1935). For two single models this is McNemar's exact test (1947). If there are more than `PERMUTATIONS`
    ways to swap, a random sample of them is taken. Copies of an image are swapped and resampled together.

    Args:
        first: the model whose accuracy counts as positive.
        second: the model that it is compared with.
        seed: of the random swaps and resamples.

    Raises:
        ArtefactError: the outcomes are of different images.
    """
    _require_same_images([first, second])
    gains = np.bincount(first.groups, first.correct - second.correct)
    sizes = np.bincount(first.groups)
    common: dict[str, Any] = {"batch": 100, "vectorized": True, "rng": np.random.default_rng(seed)}
    differing = np.append(gains[np.abs(gains) > 1e-12], 0.0)  # scipy needs two values; a zero changes no sum
    p_value = 1.0
    if len(differing) > 1:
        p_value = stats.permutation_test(
            (differing,), np.sum, permutation_type="samples", n_resamples=PERMUTATIONS, **common
        ).pvalue
    interval = stats.bootstrap(
        (gains, sizes), _mean, paired=True, method="percentile", n_resamples=RESAMPLES, **common
    ).confidence_interval
    value = float(gains.sum() / sizes.sum())
    return Difference(value, float(interval.low), float(interval.high), float(p_value), int(sizes.sum()))


def _mean(gains: NDArray[np.float64], sizes: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
    return np.asarray(gains.sum(axis) / sizes.sum(axis))


def _require_same_images(outcomes: Sequence[Outcome]) -> None:
    if any(outcome.images != outcomes[0].images for outcome in outcomes):
        raise ArtefactError(
            "the models were tested on different images", "compare those of one split (split.*, download.*)"
        )
