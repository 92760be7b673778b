"""What further views of the images gain: the default top on one to four views, for three seeds of split and training.

Extracts digits and the sample archives with four views of each image in a copy of the project, trains on the first few,
and tests on the whole images and on the mean over those views. Prints a Markdown table of test accuracy and log loss.
Give it a folder to keep the copy there, and datasets to do no others.
"""

import dataclasses
import os
import sys
import tempfile
import warnings
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import samples
from benchmarks.accuracy import SEEDS, run, spread
from bottletop.core.paths import Paths
from bottletop.core.settings import load
from bottletop.evaluation.scores import MIN_PROBABILITY
from bottletop.images.index import read_index
from bottletop.models.params import TopParams
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import SplitParams, split
from tests.project import set_param

VIEWS = (1, 2, 4)
COLUMNS = ("1 view", "2 views", "2, mean at test", "4 views", "4, mean at test")


def main(scratch: Path, datasets: list[str]) -> None:
    project = samples.copy_project(scratch / "project")
    samples.activate(project, datasets)
    set_param(project, "extract.views", max(VIEWS))
    set_param(project, "extract.bottleneck", False)
    with samples.served(samples.folder()) as address:
        samples.use_samples(project, address)
        run(project, "sources")
        run(project, "weights", "vgg16")
        for name in datasets:
            run(project, "download", name)
    os.chdir(project)
    print(f"| dataset | crops | {' | '.join(COLUMNS)} |\n| --- | --- |{' --- |' * len(COLUMNS)}", flush=True)
    for name in datasets:
        for flip in (False, True) if name == "digits" else (True,):
            set_param(project, "extract.flip", flip)
            run(project, "extract", name)
            columns = np.array([scores(name, seed) for seed in SEEDS]).transpose(1, 2, 0)
            cells = (f"{spread(accuracy)}, {np.mean(log_loss):.3f}" for accuracy, log_loss in columns)
            print(f"| {name} | {'mirrored' if flip else 'plain'} | {' | '.join(cells)} |", flush=True)


def scores(name: str, seed: int) -> list[tuple[float, float]]:
    """Test accuracy and log loss of the default top, in the order of `COLUMNS`."""
    from bottletop.models import training  # TensorFlow is not needed before

    params, default = load(SplitParams, "split"), load(TopParams, "train")
    rows = split(read_index(Paths(name).index), msgspec.structs.replace(params, seed=seed))
    features = open_features(Paths(name).features, rows, default.features, default.pooling)
    labels, found = features.labels[features.side("test")], []
    for views in VIEWS:
        some = first_views(features, views)
        for mean in (False, True)[:views]:
            chosen = msgspec.structs.replace(default, seed=seed, test_time_views=mean)
            probabilities = training.train(some, chosen).probabilities["test"]
            own = probabilities[np.arange(len(labels)), labels].clip(MIN_PROBABILITY)
            found.append((float((probabilities.argmax(1) == labels).mean()), -float(np.log(own).mean())))
    return found


def first_views(features: FeatureSet, views: int) -> FeatureSet:
    """As if so many had been extracted."""
    return dataclasses.replace(features, manifest=msgspec.structs.replace(features.manifest, views=views))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder, *names = sys.argv[1:] or [scratch]
        main(Path(folder), names or ["digits", *samples.ARCHIVES])
