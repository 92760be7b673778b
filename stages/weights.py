"""weights: its catalogue entry in, the backbone's checked arrays out."""

from bottletop.config import load
from bottletop.errors import exit_on_error
from bottletop.needs import features_are_needed
from bottletop.paths import CATALOGUE, WEIGHTS
from bottletop.weight_sources import WeightsEntry, obtain
from bottletop.weights import save


def run(entry: WeightsEntry) -> None:
    save(WEIGHTS, obtain(entry) if features_are_needed() else {})


if __name__ == "__main__":
    with exit_on_error("weights"):
        run(load(WeightsEntry, "weights.vgg16", CATALOGUE))
