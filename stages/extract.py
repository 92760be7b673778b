"""extract@<dataset>: images and weights in, never the split; features and their manifest out."""

import sys

from bottletop import weights
from bottletop.catalogue import dataset
from bottletop.config import load, unedited
from bottletop.errors import exit_on_error
from bottletop.extraction import extract
from bottletop.images import Index
from bottletop.manifest import ExtractParams
from bottletop.needs import features_are_needed, leave_out
from bottletop.networks import side_px
from bottletop.paths import CATALOGUE, PARAMS, Paths, weights_file


def run(params: ExtractParams, paths: Paths) -> None:
    if not features_are_needed():
        leave_out(paths.features)
        return
    side = side_px(params.backbone, params.image_side_px, dataset(paths.dataset).image_side_px)
    arrays = weights.load(weights_file(params.backbone))
    extract(Index(paths.index), paths.images, arrays, side, params, paths.features)


if __name__ == "__main__":
    with (
        exit_on_error(f"extract@{sys.argv[1]}"),
        unedited("extract"),
        unedited(f"datasets.{sys.argv[1]}.image_side_px", path=CATALOGUE),
    ):
        run(load(ExtractParams, "extract", PARAMS), Paths(sys.argv[1]))
