"""Stage extract@<dataset>: reads images and weights, never the split; writes features and their manifest."""

import sys

from bottletop.backbones import weights
from bottletop.backbones.extractor import Extractor, best_engine
from bottletop.backbones.networks import side_px
from bottletop.core.catalogue import dataset
from bottletop.core.errors import exit_on_error
from bottletop.core.paths import CATALOGUE, PARAMS, Paths, weights_file
from bottletop.core.settings import load, unedited
from bottletop.features.extraction import extract
from bottletop.features.manifest import ExtractParams
from bottletop.features.needs import features_are_needed, leave_out
from bottletop.images.index import Index


def run(params: ExtractParams, paths: Paths) -> None:
    """Writes the features or, if the model reads the images themselves, a folder with a note instead."""
    if not features_are_needed():
        leave_out(paths.features)
        return
    side = side_px(params.backbone, params.image_side_px, dataset(paths.dataset).image_side_px)
    arrays = weights.load(weights_file(params.backbone))
    extractor = Extractor(params.backbone, arrays, side, best_engine(params.backbone, params.precision))
    extract(Index(paths.index), paths.images, extractor, params, paths.features)


if __name__ == "__main__":
    with (
        exit_on_error(f"extract@{sys.argv[1]}"),
        unedited("extract"),
        unedited(f"datasets.{sys.argv[1]}.image_side_px", path=CATALOGUE),
    ):
        run(load(ExtractParams, "extract", PARAMS), Paths(sys.argv[1]))
