"""What training hands to later stages: a record and probabilities. Reading them needs no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ArtefactError, reason
from bottletop.core.files import read_json, replacing, verified
from bottletop.core.settings import Params
from bottletop.models.params import TopParams
from bottletop.split import SplitRow, digest

TUNED = "weights.npz"  # file of a fine-tuned backbone's weights, in the folder of its top
PREDICTED_SPLITS = ("validation", "test")
Probabilities = dict[str, NDArray[np.float32]]  # by split: (n, classes), images in the order of the index


class TopRecord(Params, frozen=True, kw_only=True):
    """``top.json``: what inputs the model in the same folder expects, and how it was trained."""

    class_names: tuple[str, ...]  # in the order of the model's outputs
    contract: dict[str, Any]  # settings that determine the model's inputs; see `Examples.recipe`
    data_digest: str  # SHA-256 of the images' ids, in the order of the index
    split: str  # digest of the split that the model was trained on; see `split.digest`
    best_epoch: int  # counted from 1
    params: TopParams
    l2: float | None = None  # strength that a regression was fitted with
    temperature: float | None = None  # that a regression's logits were divided by
    precision: str = "float32"  # of a cnn's convolutions during training; it always predicts in float32
    versions: dict[str, str] = msgspec.field(default_factory=dict)  # of Python and the packages that trained it


def read_record(folder: Path) -> TopRecord:
    """Reads the record of the model in the folder.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    path = verified(folder / "top.json")
    try:
        return msgspec.convert(read_json(path), TopRecord)
    except (ArtefactError, OSError, ValueError) as error:
        raise unreadable(folder, error) from error


def write_probabilities(folder: Path, probabilities: Probabilities) -> None:
    """Writes an uncompressed .npz, whose bytes depend only on the values."""
    with replacing(folder / "probabilities.npz") as new:
        np.savez(new, **probabilities)  # type: ignore[arg-type]


def read_probabilities(folder: Path, rows: Sequence[SplitRow]) -> Probabilities:
    """Reads the model's class probabilities for the validation and test images.

    Raises:
        ArtefactError: a file is missing or damaged, or the model was trained on another split than `rows`.
    """
    if read_record(folder).split != digest(rows):
        raise ArtefactError(f"{folder} was trained on another split", f"run dvc repro train@{folder.name}")
    path = verified(folder / "probabilities.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {split: stored[split] for split in PREDICTED_SPLITS}
    except Exception as error:  # numpy, zipfile, zlib and tokenize raise errors of their own for damaged files
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: Exception) -> ArtefactError:
    """Returns the error to raise for a model folder that cannot be read."""
    cause = reason(error).rpartition("Exception encountered: ")[2]  # Keras repeats the model before each of its reasons
    return ArtefactError(f"{folder} holds no model that can be read ({cause})", f"run dvc repro train@{folder.name}")
