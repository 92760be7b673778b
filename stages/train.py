"""train@<dataset>: features or images and split in, the best epoch's model and the history out; MLflow watches."""

import sys

from bottletop import cnn
from bottletop.catalogue import image_side_px
from bottletop.config import load, unedited
from bottletop.errors import exit_on_error
from bottletop.features import open_features
from bottletop.files import file_digest
from bottletop.images import read_index
from bottletop.network_params import AugmentParams, CnnParams
from bottletop.paths import Paths
from bottletop.pictures import open_pictures
from bottletop.provenance import tracked_params
from bottletop.split import read_split
from bottletop.top_params import TopParams
from bottletop.tracking import LiveRun
from bottletop.training import save, train


def run(params: TopParams, layers: CnnParams, augment: AugmentParams, paths: Paths) -> None:
    with LiveRun(paths.dataset, tracked_params(paths.dataset)) as live, unedited("train", "cnn", "augment"):
        rows = read_split(paths.split)
        if params.model == "cnn":
            side = image_side_px(paths.dataset, layers.image_side_px)
            pictures = open_pictures(paths.images, read_index(paths.index), rows, side)
            trained = cnn.train(pictures, layers, augment, params, live.log_epoch)
        else:
            features = open_features(paths.features, rows, params.features, params.pooling)
            trained = train(features, params, live.log_epoch)
        save(paths.model, paths.history, trained)
        live.trained(file_digest(paths.model / "top.keras"))


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        sections = load(TopParams, "train"), load(CnnParams, "cnn"), load(AugmentParams, "augment")
        run(*sections, Paths(sys.argv[1]))
