"""train@<dataset>: features and split in, the best epoch's model and the history out."""

import sys

from bottletop.config import load
from bottletop.errors import exit_on_error
from bottletop.features import open_features
from bottletop.paths import PARAMS, Paths
from bottletop.split import read_split
from bottletop.top import TopParams
from bottletop.training import save, train


def run(params: TopParams, paths: Paths) -> None:
    features = open_features(paths.features, read_split(paths.split), params.features, params.pooling)
    save(paths.model, paths.history, train(features, params))


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        run(load(TopParams, "train", PARAMS), Paths(sys.argv[1]))
