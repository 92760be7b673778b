"""Transforms features and scales them to zero mean and unit variance, block by block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottletop.models.examples import Rows
from bottletop.models.params import TopParams
from bottletop.models.vectors import FeatureSet

CONSTANT_VARIANCE = 1e-6  # features with a smaller variance are not scaled up


@dataclass(frozen=True)
class Standardised:
    """The features of a dataset as a top sees them: transformed, then standardised if the params say so."""

    features: FeatureSet
    sqrt: bool  # take the signed square root first
    mean: NDArray[np.float64]  # of the transformed training images, (width,)
    variance: NDArray[np.float64]  # (width,); all 1 if features are not standardised

    @classmethod
    def of(cls, features: FeatureSet, params: TopParams) -> "Standardised":
        """Computes the moments of the training images."""
        sqrt = params.transform == "sqrt"
        mean, variance = moments(features, features.positions("train"), sqrt=sqrt)
        return cls(features, sqrt, mean, variance if params.standardise else np.ones_like(variance))

    def read(self, rows: Rows) -> NDArray[np.float32]:
        """Returns the standardised features at these positions, in this order: float32, (len(rows), width)."""
        values = self.features.read(rows).astype(np.float32)
        values = signed_sqrt(values) if self.sqrt else values
        values -= self.mean.astype(np.float32)
        values /= np.sqrt(self.variance).astype(np.float32)
        return values


def moments(features: FeatureSet, rows: Rows, *, sqrt: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes mean and variance of each transformed feature, each (width,), in constant memory.

    Features with a variance up to CONSTANT_VARIANCE get a variance of 1. The sums are of differences from the first
    image (Chan, Golub and LeVeque, 1983), which are float32 and added up in float64. So the variance is not a small
    difference of large sums, and that of a constant feature is exactly 0.
    """
    transform = signed_sqrt if sqrt else np.asarray
    first = transform(features.read(rows[:1]).astype(np.float32))
    total, squares = np.zeros(features.width), np.zeros(features.width)
    for start in range(0, len(rows), 128):
        block = transform(features.read(rows[start : start + 128]).astype(np.float32)) - first
        total += block.sum(0, dtype=np.float64)
        squares += np.square(block).sum(0, dtype=np.float64)
    mean = total / len(rows)
    variance = squares / len(rows) - mean * mean
    return first[0] + mean, np.where(variance > CONSTANT_VARIANCE, variance, 1.0)


def signed_sqrt(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the square root of the absolute values, with the values' signs."""
    return np.copysign(np.sqrt(np.abs(values)), values)
