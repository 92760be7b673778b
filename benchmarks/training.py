"""How long an epoch takes: features read from disk, features in memory, and the bare matrix products of the network.

    python -m benchmarks.training --images 20000

Two tops, on made-up features: one without hidden layers, trained by Adam, on 2,560 features an image (5 KB), and that
of the recipe animals-bottleneck, [100, 50] on 25,088 (49 KB). Features from disk are in its cache once they have been
read.

The products are those of an epoch, in float32 and on the same threads: of each batch forward, to the weights'
gradients, and back to all layers but the first; and forward for the validation images. The three take turns, and
medians are printed; CPU time is less moved by what else the machine does. The accuracies with which the two
ways of reading end are for comparison: the dataset is sorted by class, and must be shuffled as well from disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import made_up
from bottletop.backbones.runtime import tf
from bottletop.core.paths import PARAMS
from bottletop.core.settings import parse, read_yaml
from bottletop.experiments.grid import with_overrides
from bottletop.experiments.recipes import settings
from bottletop.models import training
from bottletop.models.params import TopParams
from bottletop.models.trained import Entry
from bottletop.models.vectors import FeatureSet, open_features

CLASSES = 101
READING = {"in memory": 1 << 62, "from disk": 0}  # bytes that may be held
RECIPE = "animals-bottleneck"


class Measured(NamedTuple):
    """An epoch with its validation."""

    wall_s: float
    cpu_s: float


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def measure(features: FeatureSet, params: TopParams, rounds: int) -> tuple[dict[str, Measured], dict[str, float]]:
    """An epoch of each kind of work, the median, and the last validation accuracy of both ways of reading.

    Of each training, all epochs but the first count, which also builds the network.
    """
    taken: dict[str, list[tuple[float, float]]] = {}
    accuracies: dict[str, float] = {}
    for _ in range(rounds):
        taken.setdefault("matrix products alone", []).extend(timed(lambda: products(features, params)))
        for name, limit in READING.items():
            training.IN_MEMORY_BYTES = limit
            ends: list[tuple[float, float]] = []
            trained = training.train(features, params, partial(_note, ends))
            taken.setdefault(name, []).extend((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(ends))
            accuracies[name] = trained.history[-1]["val_accuracy"]
    return {name: Measured(*np.median(times, axis=0)) for name, times in taken.items()}, accuracies


def _note(ends: list[tuple[float, float]], _: Entry) -> None:
    ends.append(now())


def timed(function: Callable[[], None]) -> list[tuple[float, float]]:
    start = now()
    function()
    return [(now()[0] - start[0], now()[1] - start[1])]


def products(features: FeatureSet, params: TopParams) -> None:
    """All that an epoch multiplies."""
    widths = [features.width, *params.hidden, CLASSES]
    for split, batch_size in (("train", params.batch_size), ("validation", features.at_once)):
        layers = []
        for inputs, outputs in pairwise(widths):
            shapes = ((batch_size, inputs), (inputs, outputs), (batch_size, outputs))
            layers.append([tf.random.normal(shape) for shape in shapes])
        for _ in range(0, len(features.positions(split)), batch_size):
            for position, (values, weights, errors) in enumerate(layers):
                tf.matmul(values, weights)
                if split == "train":
                    tf.matmul(values, errors, transpose_a=True)
                    if position:
                        tf.matmul(errors, weights, transpose_b=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 256])
    options = parser.parse_args()
    print("| top | batch | epoch | seconds | of the products' | CPU seconds | of the products' | validation accuracy |")
    print("|" + 8 * " --- |", flush=True)
    defaults = with_overrides(read_yaml(PARAMS), {"train.optimiser": "adam"})
    for top, sections in (("adam", defaults), (RECIPE, with_overrides(defaults, settings(RECIPE)))):
        train = {**sections["train"], "patience": None, "epochs": options.epochs}
        with tempfile.TemporaryDirectory() as folder:
            rows = made_up.features(Path(folder, "f"), options.images, CLASSES, bottleneck=top == RECIPE)
            for batch_size in options.batch_size:
                params = parse(TopParams, {**train, "batch_size": batch_size}, "train", PARAMS)
                features = open_features(Path(folder, "f"), rows, params.features, params.pooling)
                taken, accuracies = measure(features, params, options.rounds)
                least = taken["matrix products alone"]
                for name, (wall_s, cpu_s) in taken.items():
                    ratios = f"{wall_s / least.wall_s:.2f} | {cpu_s:.2f} | {cpu_s / least.cpu_s:.2f}"
                    accuracy = f"{accuracies[name]:.3f}" if name in accuracies else ""
                    print(f"| {top} | {batch_size} | {name} | {wall_s:.2f} | {ratios} | {accuracy} |", flush=True)


if __name__ == "__main__":
    main()
