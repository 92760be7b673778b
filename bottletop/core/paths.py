"""Paths of each dataset's files, relative to the repository's root."""

import os
from dataclasses import dataclass
from pathlib import Path

PARAMS = Path("params.yaml")
CATALOGUE = Path("datasets.yaml")
WEIGHTS = Path("weights.yaml")


@dataclass(frozen=True)
class Paths:
    """The paths of one dataset's files."""

    dataset: str

    @property
    def fingerprint(self) -> Path:
        """Fingerprints of the dataset's local folder or archives."""
        return Path("fingerprints", f"{self.dataset}.json")

    @property
    def images(self) -> Path:
        """Folder of the shards and the index."""
        return Path("data/images", self.dataset)

    @property
    def index(self) -> Path:
        """The index: the table of the dataset's images."""
        return self.images / "index.csv"

    @property
    def split(self) -> Path:
        """Table of the split of each image."""
        return Path("data/splits", f"{self.dataset}.csv")

    @property
    def features(self) -> Path:
        """Folder of the features and their manifest."""
        return Path("data/features", self.dataset)

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return Path("data/models", self.dataset)

    @property
    def history(self) -> Path:
        """Table of the training history, a row per epoch."""
        return self.metrics / "history.csv"

    @property
    def pushed(self) -> Path:
        """Folder with copies of the `evaluate` outputs that are kept in git.

        `dvc push` leaves out the originals, so a run is restored on another machine from these copies.
        """
        return Path("data/pushed", self.dataset)

    @property
    def metrics(self) -> Path:
        """Folder of metrics, reports and plots."""
        return Path("metrics", self.dataset)

    @property
    def report(self) -> Path:
        """The page on the model: one HTML file."""
        return self.metrics / "report.html"


def weights_file(backbone: str) -> Path:
    """Returns the path of the backbone's frozen weights."""
    return Path("data/weights", f"{backbone}.npz")


def repository() -> Path:
    """Returns the main repository's root, also in queued and ``--temp`` experiments, where DVC sets DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or ".").absolute()


def user_cache() -> Path:
    """Returns the folder of downloads, which all clones on this machine share.

    It is ``BOTTLETOP_CACHE`` if that is set, otherwise ``~/.cache/bottletop``.
    """
    return Path(os.environ.get("BOTTLETOP_CACHE") or "~/.cache/bottletop").expanduser()
