"""Extracted features, joined to the labels and splits of their images."""

import functools
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.networks import Kind, Pooling
from bottletop.core.errors import RESTORE, ArtefactError, reason
from bottletop.core.files import sha256_text
from bottletop.features.manifest import ROWS, Manifest, feature_file, read_checksums, read_manifest
from bottletop.models.examples import Examples, Rows, labelled
from bottletop.split import SplitRow


@dataclass(frozen=True)
class FeatureSet(Examples):
    """The features of a dataset with the labels and splits of their images, row for row."""

    at_once = 512

    manifest: Manifest
    folder: Path
    kind: Kind
    pooling: Pooling

    def recipe(self) -> dict[str, object]:
        """The settings that, with the images, determine the features."""
        return {**self.manifest.recipe(), "kind": self.kind, "pooling": self.pooling}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's features: (width,)."""
        return (self.width,)

    def read(self, rows: Rows) -> NDArray[np.float16]:
        """Returns the features at these positions, in this order: float16, (len(rows), width).

        Raises:
            ArtefactError: a feature file ends too early, or was changed since it was extracted.
        """
        # In blocks: before pooling, maps take many times the memory of their vectors.
        blocks = np.split(rows, range(self.at_once, len(rows), self.at_once))
        parts = [vectors(self._maps(block), self.kind, self.pooling) for block in blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def width(self) -> int:
        """Number of features per image."""
        if self.kind == "pooled":
            return self.manifest.pooled_shape[0]
        shape = self.manifest.bottleneck_shape or (0,)
        return math.prod(shape) if self.pooling == "flatten" else shape[-1]

    def _maps(self, rows: Rows) -> NDArray[np.float16]:
        """Reads the stored arrays of these rows, in this order, before any pooling; verifies each row once."""
        values = np.empty((len(rows), *self._files[0].shape[1:]), np.float16)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(which).tolist():
            here = np.flatnonzero(which == shard)
            self._files[shard].read_into(values, here, rows[here] - self._starts[shard])
        for position in np.flatnonzero(~self._verified[rows]).tolist():
            row = rows[position]
            if zlib.crc32(values[position]) != self._checksums[row]:
                changed = f"the features of {self.rows[row].source} in {self.folder}"
                raise ArtefactError(f"{changed} are no longer those that were extracted", RESTORE)
        self._verified[rows] = True
        return values

    @functools.cached_property
    def _files(self) -> list["_File"]:
        return [_inspect(feature_file(self.folder, shard, self.kind)) for shard in self.manifest.shards]

    @functools.cached_property
    def _checksums(self) -> NDArray[np.uint32]:
        """The CRC-32 of each row as extracted: uint32, (n,)."""
        found = read_checksums(self.folder, self.kind)
        if len(found) != len(self.rows):
            raise ArtefactError(f"{self.folder / ROWS} has {len(found)} rows for {len(self.rows)} images", RESTORE)
        return found

    @functools.cached_property
    def _verified(self) -> NDArray[np.bool_]:
        """Whether each row was found to have its checksum: bool, (n,)."""
        return np.zeros(len(self.rows), np.bool_)

    @functools.cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The position of each file's first image: int64, (files,)."""
        return np.cumsum([0, *(file.shape[0] for file in self._files)])[:-1]


def vectors(values: NDArray[np.float16], kind: Kind, pooling: Pooling) -> NDArray[np.float16]:
    """Turns stored features into the vectors that a top takes: float16, (n, width).

    Args:
        values: of kind pooled: (n, features); of kind bottleneck: (n, height, width, channels).
        kind: the kind of the features.
        pooling: of the bottleneck; has no effect on pooled features.
    """
    if kind == "pooled" or pooling == "flatten":
        return values.reshape(len(values), math.prod(values.shape[1:]))
    if pooling == "max":
        return np.asarray(values.max((1, 2)))
    return np.asarray(values.mean((1, 2), dtype=np.float32), np.float16)


def open_features(folder: Path, rows: Sequence[SplitRow], kind: Kind, pooling: Pooling) -> FeatureSet:
    """Joins the features of a dataset to its split.

    Raises:
        ArtefactError: the features are damaged or of other images than the split, or this kind was not extracted.
    """
    manifest = read_manifest(folder)
    redo = f"run dvc repro extract@{folder.name}"
    if sha256_text([row.id for row in rows]) != manifest.ids_sha256:
        raise ArtefactError(
            f"{folder} holds features of {manifest.rows} other images than the split's {len(rows)}", redo
        )
    if kind == "bottleneck" and manifest.bottleneck_shape is None:
        raise ArtefactError(f"{folder} has no bottleneck features", "set extract.bottleneck to true in params.yaml")
    features = FeatureSet(*labelled(rows), manifest, folder, kind, pooling)
    expected = manifest.pooled_shape if kind == "pooled" else manifest.bottleneck_shape
    for shard, file in zip(manifest.shards.values(), features._files, strict=True):
        if file.shape != (shard.rows, *(expected or ())) or file.dtype.name != manifest.dtype:
            raise ArtefactError(
                f"{file.path}: expected {shard.rows} rows of {manifest.dtype} {expected}, got {file.dtype} "
                f"{file.shape}",
                redo,
            )
    return features


class _File(NamedTuple):
    """An array on disk.

    Rows are read one by one: the pages of a memory-mapped file would count as this process's memory.
    """

    path: Path
    start: int  # bytes before the first row
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read_into(self, values: NDArray[np.float16], positions: Rows, rows: Rows) -> None:
        """Reads `rows` of the file into `values`, at `positions`.

        Raises:
            ArtefactError: the file ends too early.
        """
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
                if os.preadv(file.fileno(), [values[position]], self.start + row * row_bytes) != row_bytes:
                    raise ArtefactError(f"{self.path} ends too early", f"run dvc repro extract@{self.path.parent.name}")


def _inspect(path: Path) -> _File:
    """Reads the header of a ``.npy`` file.

    Raises:
        ArtefactError: the file is missing, damaged or incomplete.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return _File(path, array.offset, array.shape, array.dtype)
    except Exception as error:  # numpy and tokenize raise errors of their own for damaged files
        raise ArtefactError(
            f"{path} can't be read ({reason(error)})", f"run dvc repro extract@{path.parent.name}"
        ) from error
