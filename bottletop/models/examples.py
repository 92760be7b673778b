"""What models are trained on: arrays with the labels and splits of the images that they come from."""

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
    """Images of a dataset in some form, row for row with their labels and splits."""

    at_once: ClassVar[int]  # how many are predicted together: of images, fewer than of features

    rows: tuple[SplitRow, ...]
    class_names: tuple[str, ...]  # sorted; a label's number is its position here
    labels: NDArray[np.int64]  # (n,)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @abstractmethod
    def recipe(self) -> dict[str, object]:
        """What the examples follow from, apart from the images."""

    @abstractmethod
    def read(self, rows: Rows) -> NDArray[Any]:
        """Examples in the order asked for, (len(rows), *shape), always of one dtype."""

    def positions(self, split: str) -> Rows:
        """Where the images of one split are."""
        return np.array([i for i, row in enumerate(self.rows) if row.split == split], np.intp)


def labelled(rows: Sequence[SplitRow]) -> tuple[tuple[SplitRow, ...], tuple[str, ...], NDArray[np.int64]]:
    """The rows, the classes by name, and each row's class as a number."""
    class_names = tuple(sorted({row.label for row in rows}))
    number = {name: position for position, name in enumerate(class_names)}
    return tuple(rows), class_names, np.array([number[row.label] for row in rows], np.int64)
