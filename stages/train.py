"""Stage train@<dataset>: reads features or images, and the split; writes the best epoch's model and the history.

MLflow logs each epoch of a network live.
"""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.core.files import file_digest
from bottletop.core.paths import CATALOGUE, Paths
from bottletop.core.settings import load, unedited
from bottletop.models.params import TopParams
from bottletop.tracking.live import Unwatched, Watcher


def run(params: TopParams, paths: Paths) -> None:
    """Trains the model on the dataset while a second process logs a network's epochs to MLflow."""
    with (
        Unwatched(paths.dataset) if params.is_regression else Watcher(paths.dataset) as watcher,
        unedited("train", "cnn", "finetune", "augment"),
        unedited(f"datasets.{paths.dataset}.image_side_px", path=CATALOGUE),
    ):
        from bottletop.models import kinds  # imports while the watcher imports MLflow

        watcher.opened()
        kinds.train(params, paths, watcher.log_epoch).save(paths.model, paths.history)
        watcher.trained(file_digest(paths.model / "top.keras"))


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        run(load(TopParams, "train"), Paths(sys.argv[1]))
