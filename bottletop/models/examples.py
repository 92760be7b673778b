"""What models are trained on: arrays, with the labels and splits of their images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bottletop.split import SplitRow

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Examples(ABC):
    """A dataset's images or their features, row for row with the labels and splits."""

    at_once: ClassVar[int]  # number of examples per prediction batch: fewer for images than for features

    rows: tuple[SplitRow, ...]
    class_names: tuple[str, ...]  # sorted; a label is a position in this tuple
    labels: NDArray[np.int64]  # (n,), positions in `class_names`

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @abstractmethod
    def recipe(self) -> dict[str, object]:
        """The settings that, with the images, determine the examples."""

    @abstractmethod
    def read(self, rows: Rows) -> NDArray[Any]:
        """Returns the examples at these positions, in this order: (len(rows), *shape), always of the same dtype."""

    def positions(self, split: str) -> Rows:
        """Returns the positions of one split's images: intp, (n,)."""
        return np.array([i for i, row in enumerate(self.rows) if row.split == split], np.intp)


def labelled(rows: Sequence[SplitRow]) -> tuple[tuple[SplitRow, ...], tuple[str, ...], NDArray[np.int64]]:
    """Returns the rows, the sorted class names, and each row's label as a position in them: int64, (n,)."""
    class_names = tuple(sorted({row.label for row in rows}))
    number = {name: position for position, name in enumerate(class_names)}
    return tuple(rows), class_names, np.array([number[row.label] for row in rows], np.int64)


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns a weight per class, inversely proportional to its share; the mean over all images is 1."""
    counts = np.bincount(labels)
    return np.asarray(len(labels) / ((counts > 0).sum() * counts.clip(1)))
