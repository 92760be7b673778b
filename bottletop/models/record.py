"""What training leaves for the stages after it, read without TensorFlow: a record, and probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ArtefactError
from bottletop.core.files import read_json, replacing
from bottletop.core.settings import Params
from bottletop.models.params import TopParams
from bottletop.split import SplitRow, digest

TUNED = "weights.npz"  # of a backbone that was trained too, beside its top
PREDICTED_SPLITS = ("validation", "test")
Probabilities = dict[str, NDArray[np.float32]]  # by split: (its images in the order of the index, classes)


class TopRecord(Params, frozen=True, kw_only=True):
    """``top.json``: what the model beside it expects and how it came about."""

    class_names: tuple[str, ...]  # in the order of the model's outputs
    contract: dict[str, Any]  # what the model's inputs follow from, see `Examples.recipe`
    data_digest: str  # of the images' ids, in the order of the index
    split: str  # digest of the split that it was trained on
    best_epoch: int  # counted from 1
    params: TopParams
    precision: str = "float32"  # of a cnn's convolutions in training; it predicts in float32


def read_record(folder: Path) -> TopRecord:
    """The record of the model in the folder."""
    try:
        return msgspec.convert(read_json(folder / "top.json"), TopRecord)
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from error


def write_probabilities(folder: Path, probabilities: Probabilities) -> None:
    """An uncompressed .npz, whose bytes depend on the values alone."""
    with replacing(folder / "probabilities.npz") as new:
        np.savez(new, **probabilities)  # type: ignore[arg-type]


def read_probabilities(folder: Path, rows: Sequence[SplitRow]) -> Probabilities:
    """What the model in the folder says of the validation and test images.

    Raises:
        ArtefactError: the file is damaged, or the model was trained on another split than `rows`.
    """
    if read_record(folder).split != digest(rows):
        raise ArtefactError(f"{folder} was trained on another split", f"run dvc repro train@{folder.name}")
    try:
        with np.load(folder / "probabilities.npz", allow_pickle=False) as stored:
            return {split: stored[split] for split in PREDICTED_SPLITS}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: Exception) -> ArtefactError:
    return ArtefactError(f"{folder} holds no model that can be read ({error})", f"run dvc repro train@{folder.name}")
