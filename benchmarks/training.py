"""How long an epoch takes: features read from disk, features in memory, and the bare matrix products of the network.

    python -m benchmarks.training --images 20000

The features are made up, 25,088 an image (49 KB) as VGG16's bottleneck; the top is the classic one, [100, 50]. Features
from disk are in its cache once they have been read. Medians are printed, with the accuracies that the
two ways of reading end with: the dataset is sorted by class, and must be shuffled as well from disk.
"""

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import made_up
from bottletop import training
from bottletop.config import load
from bottletop.features import FeatureSet, open_features
from bottletop.paths import PARAMS
from bottletop.runtime import tf
from bottletop.top_params import TopParams

CLASSES = 101
UNBOUNDED = 1 << 62


class Measured(NamedTuple):
    """Median seconds of an epoch with its validation, and the last validation accuracy."""

    epoch_s: float
    val_accuracy: float


def measure(features: FeatureSet, params: TopParams) -> dict[str, Measured]:
    """Each way of reading trains once: epochs but the first, which also builds the network, count."""
    found = {}
    for name, limit in (("in memory", UNBOUNDED), ("from disk", 0)):
        training.IN_MEMORY_BYTES = limit
        ends: list[float] = []
        trained = training.train(features, params, lambda _, ends=ends: ends.append(time.perf_counter()))
        epochs = [end - start for start, end in pairwise(ends)]
        found[name] = Measured(median(epochs), trained.history[-1]["val_accuracy"])
    return found


def bare_products(images: int, batch_size: int, widths: list[int]) -> float:
    """Seconds of what an epoch multiplies: forward, to the weights' gradients, and back to all layers but the first."""
    layers = []
    for position, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes = ((batch_size, inputs), (inputs, outputs), (batch_size, outputs))
        layers.append((position, *(tf.random.normal(shape) for shape in shapes)))
    steps = images // batch_size
    start = time.perf_counter()
    for _ in range(steps):
        for position, values, weights, errors in layers:
            tf.matmul(values, weights)
            tf.matmul(values, errors, transpose_a=True)
            if position:
                tf.matmul(errors, weights, transpose_b=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    changes = {"features": "bottleneck", "pooling": "flatten", "hidden": (100, 50), "patience": None}
    params = msgspec.structs.replace(
        load(TopParams, "train", PARAMS), **changes, epochs=options.epochs, batch_size=options.batch_size
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = made_up.features(Path(folder, "f"), options.images, CLASSES, bottleneck=True)
        features = open_features(Path(folder, "f"), rows, params.features, params.pooling)
        found = measure(features, params)
        products_s = bare_products(len(features.side("train")), params.batch_size, [features.width, 100, 50, CLASSES])
    print("| epoch | seconds | of that in memory | validation accuracy |\n| --- | --- | --- | --- |")
    print(f"| matrix products alone | {products_s:.2f} | {products_s / found['in memory'].epoch_s:.2f} | |")
    for name, (epoch_s, val_accuracy) in found.items():
        print(f"| {name} | {epoch_s:.2f} | {epoch_s / found['in memory'].epoch_s:.2f} | {val_accuracy:.3f} |")


if __name__ == "__main__":
    main()
