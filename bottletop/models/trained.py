"""What every training ends with: a model, its record, predictions and history, and the files they are saved as."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from bottletop.core.errors import DataError
from bottletop.core.files import replacing, sha256_text, write_csv, write_json, write_sums
from bottletop.models.examples import Examples
from bottletop.models.params import TopParams
from bottletop.models.record import Probabilities, TopRecord, write_probabilities
from bottletop.split import digest

Entry = dict[str, float]
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")  # loss: mean log loss of the true classes


@dataclass(frozen=True)
class Trained(ABC):
    """A trained model of any kind."""

    record: TopRecord
    probabilities: Probabilities
    history: tuple[Entry, ...]  # one entry per epoch, with the keys in HISTORY

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the network that predicts, as ``top.keras``, and what else predictions need."""

    def save(self, folder: Path, history: Path) -> None:
        """Writes the model, its record, probabilities and history. Their bytes depend only on the training's inputs.

        The folder also gets a copy of the history: `dvc push` skips files kept in git, and DVC's run cache needs the
        content to restore the stage on another machine.

        Args:
            folder: where the model goes; it is replaced as a whole.
            history: CSV file for the history.
        """
        rows = [[epoch, *(entry[name] for name in HISTORY)] for epoch, entry in enumerate(self.history, 1)]
        with replacing(folder) as staging:
            staging.mkdir()
            self.write(staging)
            write_json(staging / "top.json", msgspec.to_builtins(self.record))
            write_probabilities(staging, self.probabilities)
            write_csv(staging / "history.csv", ("epoch", *HISTORY), rows)
            write_sums(staging, sorted(path.name for path in staging.iterdir()))
        write_csv(history, ("epoch", *HISTORY), rows)


def record(examples: Examples, params: TopParams, best_epoch: int) -> TopRecord:
    """Returns the record of a model trained on the examples; `best_epoch` counts from 1."""
    return TopRecord(
        class_names=examples.class_names,
        contract=examples.recipe(),
        data_digest=sha256_text(row.id for row in examples.rows),
        split=digest(examples.rows),
        best_epoch=best_epoch,
        params=params,
        versions=_versions(("numpy", "scipy") if params.is_regression else ("keras", "numpy", "tensorflow")),
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", **{name: version(name) for name in packages}}


def check_classes(examples: Examples) -> None:
    """Checks that there is something to tell apart.

    Raises:
        DataError: there is only one class.
    """
    if len(examples.class_names) < 2:
        raise DataError(f"a dataset needs at least two classes, got only {examples.class_names[0]!r}", "add a folder")
