"""Code with which MLflow loads an exported model; it is exported together with the model.

The input is a table whose column ``image`` holds the bytes of an image file in each row (base64 in JSON). The output
is a table with the most probable ``class`` of each row and the ``probabilities`` of all classes.
"""

import base64
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray

from bottletop.core.errors import DataError
from bottletop.core.parallel import map_ahead
from bottletop.inference import classifier

COLUMN = "image"
BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+")
WEIGHTS = "backbone.npz"  # the backbone's weights, beside the files of the top


class Model:
    """A classifier of image files."""

    def __init__(self, folder: Path) -> None:
        self._classifier = classifier.load(files(folder))

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Predicts the class of each row.

        Args:
            table: the images' files in column ``image``.
            params: part of MLflow's interface; not used.

        Returns:
            A row for each row of the table, in order: ``class``, and ``probabilities`` by class name.

        Raises:
            MlflowException: a row is not an image; the whole request is refused with status 400.
        """
        names, at_once = self._classifier.class_names, self._classifier.batch_size
        seen = [pixels for _, pixels in map_ahead(self._look, enumerate(table[COLUMN]), ahead=len(table) or 1)]
        batches = (np.stack(seen[start : start + at_once]) for start in range(0, len(seen), at_once))
        rows = [shares for batch in batches for shares in self._classifier.probabilities(batch).tolist()]
        classes = [names[int(np.argmax(shares))] for shares in rows]
        probabilities = [dict(zip(names, shares, strict=True)) for shares in rows]
        return pd.DataFrame({"class": classes, "probabilities": probabilities})

    def _look(self, row: tuple[int, bytes | str]) -> NDArray[np.uint8]:
        number, data = row
        try:
            return self._classifier.look(_content(data))[1]
        except DataError as error:
            message = f"row {number}, column {COLUMN!r}: {error}: send an image file's bytes, in JSON as base64"
            raise MlflowException(message, INVALID_PARAMETER_VALUE) from error


def _content(data: bytes | str) -> bytes:
    """The image file's bytes. In some request formats MLflow leaves base64 encoded, so it is decoded here."""
    raw = data.encode() if isinstance(data, str) else data
    if BASE64.fullmatch(raw):  # no image format consists of these characters alone
        with suppress(ValueError):
            return base64.b64decode(raw)
    return raw


def files(folder: Path) -> classifier.Files:
    """The model's files in an exported folder."""
    weights = folder / WEIGHTS
    return classifier.Files(folder.name, folder, weights if weights.exists() else None)


def _load_pyfunc(data_path: str) -> Model:
    """Loads the model from its data folder; MLflow calls this function by its name."""
    return Model(Path(data_path))
