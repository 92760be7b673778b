"""Stage weights: reads the backbone's entry; writes its checked arrays, or none if no features are needed."""

import sys

from bottletop.backbones.networks import named
from bottletop.backbones.weights import save
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.errors import exit_on_error
from bottletop.core.paths import WEIGHTS, weights_file
from bottletop.core.settings import load, unedited
from bottletop.download.weight_sources import obtain
from bottletop.features.needs import features_are_needed


def run(backbone: str) -> None:
    """Writes the backbone's arrays, or an empty file of arrays if the model reads the images themselves."""
    named(backbone)
    entry = load(WeightsEntry, backbone, WEIGHTS)
    save(weights_file(backbone), obtain(entry, backbone) if features_are_needed() else {})


if __name__ == "__main__":
    with exit_on_error("weights"), unedited(sys.argv[1], path=WEIGHTS):
        run(sys.argv[1])
