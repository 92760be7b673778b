"""train@<dataset>: features and split in, the best epoch's model and the history out; MLflow watches."""

import sys

from bottletop.config import load, unedited
from bottletop.errors import exit_on_error
from bottletop.features import open_features
from bottletop.files import file_digest
from bottletop.paths import PARAMS, Paths
from bottletop.provenance import tracked_params
from bottletop.split import read_split
from bottletop.top_params import TopParams
from bottletop.tracking import LiveRun
from bottletop.training import save, train


def run(params: TopParams, paths: Paths) -> None:
    with LiveRun(paths.dataset, tracked_params(paths.dataset)) as live, unedited("train"):
        features = open_features(paths.features, read_split(paths.split), params.features, params.pooling)
        save(paths.model, paths.history, train(features, params, live.log_epoch))
        live.trained(file_digest(paths.model / "top.keras"))


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        run(load(TopParams, "train", PARAMS), Paths(sys.argv[1]))
