"""Extracted features, joined to the labels and sides of their images."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottletop.errors import ArtefactError
from bottletop.files import sha256_text
from bottletop.manifest import Kind, Manifest, feature_file, read_manifest
from bottletop.split import SplitRow

Pooling = Literal["flatten", "avg", "max"]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class FeatureSet:
    """The features of a dataset with the labels, ids and sides of their images, row for row."""

    rows: tuple[SplitRow, ...]
    class_names: tuple[str, ...]  # sorted; a label's number is its position here
    labels: NDArray[np.int64]  # (n,)
    manifest: Manifest
    folder: Path
    kind: Kind
    pooling: Pooling

    def side(self, name: str) -> Rows:
        """Positions of the images of one side."""
        return np.array([i for i, row in enumerate(self.rows) if row.side == name], np.intp)

    def read(self, rows: Rows) -> NDArray[np.float16]:
        """Feature vectors in the order asked for: float16, (len(rows), features)."""
        result = np.empty((len(rows), self.width), np.float16)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(which):
            here = np.flatnonzero(which == shard)
            result[here] = self._vectors(self._arrays[shard][rows[here] - self._starts[shard]])
        return result

    @property
    def width(self) -> int:
        """Features per image."""
        if self.kind == "pooled":
            return self.manifest.pooled_shape[0]
        shape = self.manifest.bottleneck_shape or (0,)
        return math.prod(shape) if self.pooling == "flatten" else shape[-1]

    def _vectors(self, values: NDArray[np.float16]) -> NDArray[np.float16]:
        if self.kind == "pooled" or self.pooling == "flatten":
            return np.asarray(values.reshape(len(values), -1))
        if self.pooling == "max":
            return np.asarray(values.max((1, 2)))
        return np.asarray(values.mean((1, 2), dtype=np.float32), np.float16)

    @functools.cached_property
    def _arrays(self) -> list[NDArray[np.float16]]:
        files = [feature_file(self.folder, shard, self.kind) for shard in self.manifest.shards]
        return [_map(file) for file in files]

    @functools.cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The position of each shard's first image."""
        return np.cumsum([0, *(shard.rows for shard in self.manifest.shards.values())])[:-1]


def open_features(folder: Path, rows: Sequence[SplitRow], kind: Kind, pooling: Pooling) -> FeatureSet:
    """The features of a dataset, joined to its split.

    Raises:
        ArtefactError: they are of other images than the split, damaged, or the kind asked for was not extracted.
    """
    manifest = read_manifest(folder)
    redo = f"run dvc repro extract@{folder.name}"
    if sha256_text([row.id for row in rows]) != manifest.ids_sha256:
        raise ArtefactError(
            f"{folder} holds features of {manifest.rows} other images than the split's {len(rows)}: {redo}"
        )
    if kind == "bottleneck" and manifest.bottleneck_shape is None:
        raise ArtefactError(f"{folder} has no bottleneck features: set extract.bottleneck to true in params.yaml")
    class_names = tuple(sorted({row.label for row in rows}))
    number = {name: position for position, name in enumerate(class_names)}
    labels = np.array([number[row.label] for row in rows], np.int64)
    features = FeatureSet(tuple(rows), class_names, labels, manifest, folder, kind, pooling)
    expected = manifest.pooled_shape if kind == "pooled" else manifest.bottleneck_shape
    for (name, shard), array in zip(manifest.shards.items(), features._arrays, strict=True):
        if array.shape != (shard.rows, *(expected or ())) or array.dtype != np.dtype(manifest.dtype):
            raise ArtefactError(
                f"{folder}/{name}: expected {shard.rows} rows of {manifest.dtype} {expected}, "
                f"got {array.dtype} {array.shape}: {redo}"
            )
    return features


def _map(file: Path) -> NDArray[np.float16]:
    """The array in a file, read only where it is used."""
    try:
        return np.asanyarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(f"{file} can't be read ({error}): run dvc repro extract@{file.parent.name}") from error
