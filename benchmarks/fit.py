"""How long a top takes, from features on disk to the fitted model with its predictions.

    python -m benchmarks.fit                                  # the datasets of params.yaml, after dvc repro
    python -m benchmarks.fit --images 94700 --classes 101     # made-up features, as many for training as Food-101 has

Three ways take turns: the default top, a regression, which also chooses its L2, epochs and temperature; a network with
the same layers, trained by Adam; and one fit of scikit-learn's regression, with the strength of L2 that the default top
has chosen. Each is a process of its own, and its imports do not count.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks import made_up
from benchmarks.accuracy import scores
from benchmarks.memory import high_water_bytes
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import load, read_yaml
from bottletop.images.index import read_index
from bottletop.models.params import TopParams
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import SplitRow, read_split


class Fit(NamedTuple):
    """What a fit took, and how well its model does on the validation images."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    log_loss: float
    l2: float | None


def regression(features: FeatureSet, params: TopParams) -> Callable[[], tuple[np.ndarray, float | None]]:
    from bottletop.models import linear

    def run() -> tuple[np.ndarray, float | None]:
        found = linear.train(features, params)
        return found.probabilities["validation"], found.record.l2

    return run


def network(features: FeatureSet, params: TopParams) -> Callable[[], tuple[np.ndarray, float | None]]:
    from bottletop.models import training

    changed = msgspec.structs.replace(params, optimiser="adam")
    return lambda: (training.train(features, changed).probabilities["validation"], None)


def scikit_learn(features: FeatureSet, params: TopParams) -> Callable[[], tuple[np.ndarray, float | None]]:
    """The penalty that the others call `l2` is 1 / (2 C n)."""
    from sklearn.linear_model import LogisticRegression

    from bottletop.models.standardisation import Standardised

    def run() -> tuple[np.ndarray, float | None]:
        standardised, rows = Standardised.of(features, params), features.positions("train")
        model = LogisticRegression(C=1 / (2 * float(params.l2) * len(rows)), max_iter=500)
        with warnings.catch_warnings(action="ignore"):  # it may end before it has converged
            model.fit(standardised.read(rows), features.labels[rows])
        return model.predict_proba(standardised.read(features.positions("validation"))), None

    return run


WAYS = {"default top": regression, "network, Adam": network, "scikit-learn, one fit": scikit_learn}


def fit(way: str, folder: Path, rows: Sequence[SplitRow], params: TopParams) -> Fit:
    """Fits in this process."""
    features = open_features(folder, rows, params.features, params.pooling)
    run = WAYS[way](features, params)
    wall, cpu = time.perf_counter(), time.process_time()
    probabilities, l2 = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    loss, _ = scores(probabilities, features.labels[features.positions("validation")])
    return Fit(wall, cpu, high_water_bytes(os.getpid()) / 1e6, float(loss), l2)


def compare(name: str, folder: Path, rows: Sequence[SplitRow], rounds: int) -> Iterator[str]:
    """Yields a line of the table for each way: medians over the rounds."""
    params = load(TopParams, "train", PARAMS)
    found: dict[str, list[Fit]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, fits in found.items():
            chosen = found["default top"][-1].l2 if way.startswith("scikit") else params.l2
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                fits.append(pool.apply(fit, (way, folder, rows, msgspec.structs.replace(params, l2=chosen))))
    training = sum(row.split == "train" for row in rows)
    for way, fits in found.items():
        wall, cpu, peak, loss = np.median([each[:4] for each in fits], axis=0)
        yield f"| {name} | {training:,} | {way} | {wall:.1f} | {cpu:.1f} | {peak:,.0f} | {loss:.4f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help="made-up features of so many images; default: the project's own")
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| features | training images | fit | s | CPU s | peak MB | validation log loss |\n|" + 7 * " --- |", flush=True
    )
    if options.images:
        with tempfile.TemporaryDirectory() as name:
            rows = made_up.features(Path(name, "f"), options.images, options.classes, bottleneck=False)
            for line in compare("made up", Path(name, "f"), rows, options.rounds):
                print(line, flush=True)
        return
    for dataset in read_yaml(PARAMS)["datasets"]:
        paths = Paths(dataset)
        for line in compare(dataset, paths.features, read_split(paths.split, read_index(paths.index)), options.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
