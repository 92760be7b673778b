"""train@<dataset>: features or images and split in, the best epoch's model and the history out; MLflow watches."""

import sys

from bottletop import models
from bottletop.config import load, unedited
from bottletop.errors import exit_on_error
from bottletop.files import file_digest
from bottletop.paths import Paths
from bottletop.provenance import tracked_params
from bottletop.top_params import TopParams
from bottletop.tracking import LiveRun
from bottletop.training import save


def run(params: TopParams, paths: Paths) -> None:
    sections = ("train", "cnn", "finetune", "augment")
    with LiveRun(paths.dataset, tracked_params(paths.dataset)) as live, unedited(*sections):
        save(paths.model, paths.history, models.train(params, paths, live.log_epoch))
        live.trained(file_digest(paths.model / "top.keras"))


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        run(load(TopParams, "train"), Paths(sys.argv[1]))
