"""Where every file of a dataset is, relative to the repository's root."""

import os
from dataclasses import dataclass
from pathlib import Path

PARAMS = Path("params.yaml")
CATALOGUE = Path("datasets.yaml")


@dataclass(frozen=True)
class Paths:
    """The files of one dataset."""

    dataset: str

    @property
    def fingerprint(self) -> Path:
        return Path("fingerprints", f"{self.dataset}.json")

    @property
    def images(self) -> Path:
        return Path("data/images", self.dataset)

    @property
    def index(self) -> Path:
        return self.images / "index.csv"

    @property
    def split(self) -> Path:
        return Path("data/splits", f"{self.dataset}.csv")

    @property
    def features(self) -> Path:
        return Path("data/features", self.dataset)

    @property
    def model(self) -> Path:
        return Path("data/models", self.dataset)

    @property
    def history(self) -> Path:
        return self.metrics / "history.csv"

    @property
    def pushed(self) -> Path:
        """Copies of evaluate's files in git, which `dvc push` leaves out: from these a run is restored elsewhere."""
        return Path("data/pushed", self.dataset)

    @property
    def metrics(self) -> Path:
        return Path("metrics", self.dataset)


def weights_file(backbone: str) -> Path:
    """The backbone's frozen weights."""
    return Path("data/weights", f"{backbone}.npz")


def repository() -> Path:
    """The main repository's root, also inside queued and ``--temp`` experiments (DVC sets DVC_ROOT there)."""
    return Path(os.environ.get("DVC_ROOT") or ".").absolute()


def user_cache() -> Path:
    """Where downloads are kept, for every clone on this machine: ``BOTTLETOP_CACHE``, else ``~/.cache/bottletop``."""
    return Path(os.environ.get("BOTTLETOP_CACHE") or "~/.cache/bottletop").expanduser()
