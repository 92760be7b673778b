"""What bfloat16 costs in accuracy: the default top on features in float32 and in bfloat16, for three seeds.

Extracts digits and the sample archives once in each, in a copy of the project, and prints a
Markdown table. Give it a folder to keep the copy there.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import samples
from benchmarks.accuracy import SEEDS, run
from bottletop.core.files import read_json
from bottletop.core.paths import Paths
from bottletop.core.settings import load
from bottletop.images.index import read_index
from bottletop.models import linear
from bottletop.models.params import TopParams
from bottletop.models.vectors import open_features
from bottletop.split import SplitParams, assign_splits
from tests.project import set_param

PRECISIONS = ("float32", "bfloat16")


def main(scratch: Path) -> None:
    datasets = ["digits", *samples.ARCHIVES]
    project = samples.copy_project(scratch / "project")
    samples.activate(project, datasets)
    with samples.served(samples.folder()) as address:
        samples.use_samples(project, address)
        for stage, names in (("sources", [""]), ("weights", ["vgg16"]), ("download", datasets), ("split", datasets)):
            for name in names:
                run(project, stage, *filter(None, [name]))
    os.chdir(project)
    print(f"| dataset | test images | {' | '.join(PRECISIONS)} | cosine |")
    print("|" + 5 * " --- |", flush=True)
    for name in datasets:
        scores, features = {}, {}
        for precision in PRECISIONS:
            set_param(project, "extract.precision", precision)
            run(project, "extract", name)
            features[precision] = pooled(Paths(name).features)
            results = [test_accuracy(name, seed) for seed in SEEDS]
            scores[precision], tested = [accuracy for accuracy, _ in results], results[0][1]
        means = " | ".join(f"{np.mean(each):.4f} ({', '.join(f'{v:.3f}' for v in each)})" for each in scores.values())
        likeness = cosine(features["float32"], features["bfloat16"])
        print(f"| {name} | {tested} | {means} | {likeness:.5f} |", flush=True)


def test_accuracy(name: str, seed: int) -> tuple[float, int]:
    """Of the default top, and of how many images."""
    params, default = load(SplitParams, "split"), load(TopParams, "train")
    rows = assign_splits(read_index(Paths(name).index), msgspec.structs.replace(params, seed=seed))
    features = open_features(Paths(name).features, rows, default.features, default.pooling)
    trained = linear.train(features, msgspec.structs.replace(default, seed=seed))
    test = features.positions("test")
    predicted = trained.probabilities["test"].argmax(1)
    return float((predicted == features.labels[test]).mean()), len(test)


def pooled(folder: Path) -> NDArray[np.float64]:
    """The pooled features of all images."""
    shards = read_json(folder / "manifest.json")["shards"]
    return np.concatenate([np.load(folder / f"{shard}.pooled.npy") for shard in shards]).astype(np.float64)


def cosine(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The mean over images."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(1) / lengths).mean())


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
