"""Test accuracy of the default top on every sample, beside logistic regression, and what the stages cost.

Runs each stage on digits and on the sample archives in a copy of the project, then extracts with each backbone that has
weights here, and trains for three seeds of split and training. Prints two Markdown tables. Give it a folder to keep the
copy there.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import samples
from benchmarks.memory import high_water_bytes
from bottletop.core.paths import Paths
from bottletop.core.settings import load
from bottletop.images.index import read_index
from bottletop.models.params import TopParams
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import SplitParams, assign_splits
from tests.project import set_param

SEEDS = (0, 1, 2)
BACKBONES = ("vgg16", "efficientnet_lite0")
STAGES = ("download", "split", "extract", "train", "evaluate", "track")


class Cost(NamedTuple):
    """What one run of a stage took."""

    elapsed_s: float
    peak_mb: float


def main(scratch: Path) -> None:
    datasets = ["digits", *samples.ARCHIVES]
    with samples.served(samples.folder()) as address:
        project = samples.copy_project(scratch / "project")
        samples.activate(project, datasets)
        samples.use_samples(project, address)
        run(project, "sources")
        weights = run(project, "weights", "vgg16")
        costs = {name: [run(project, stage, name) for stage in STAGES] for name in datasets}
        os.chdir(project)
        print("\n| dataset | images | backbone | test accuracy | logistic regression |\n|" + 5 * " --- |")
        for backbone in BACKBONES:
            set_param(project, "extract.backbone", backbone)
            run(project, "weights", backbone)
            for name in datasets:
                run(project, "extract", name)
                images = read_index(Paths(name).index)
                ours, theirs = zip(*(accuracies(name, seed) for seed in SEEDS), strict=True)
                print(f"| {name} | {len(images):,} | {backbone} | {spread(ours)} | {spread(theirs)} |", flush=True)
        print(f"\n| dataset | {' | '.join(STAGES)} |\n| --- |{' --- |' * len(STAGES)}")
        for name, row in costs.items():
            print(f"| {name} | {' | '.join(f'{c.elapsed_s:.1f} s, {c.peak_mb:.0f} MB' for c in row)} |")
        print(f"\nweights: {weights.elapsed_s:.1f} s, {weights.peak_mb:.0f} MB")


def run(project: Path, stage: str, *arguments: str) -> Cost:
    """Runs a stage and measures the whole process, its import of TensorFlow included."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *arguments],
        cwd=project, env=samples.environment(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, high_water_bytes(process.pid))
        time.sleep(0.01)
    if process.returncode:
        sys.exit(f"{stage} {' '.join(arguments)} failed: run it by hand in a copy of the project")
    return Cost(time.monotonic() - start, peak_bytes / 1e6)


def accuracies(name: str, seed: int) -> tuple[float, float]:
    """Test accuracy of the default top and of logistic regression, on the same features and the same split."""
    from bottletop.models import top, training  # TensorFlow's memory would count as that of the stages started before

    paths = Paths(name)
    params = load(SplitParams, "split")
    rows = assign_splits(read_index(paths.index), msgspec.structs.replace(params, seed=seed))
    default = load(TopParams, "train")
    features = open_features(paths.features, rows, default.features, default.pooling)
    trained = training.train(features, msgspec.structs.replace(default, seed=seed))
    test = features.positions("test")
    predicted = top.predict(trained.model, features, test).argmax(1)
    return float((predicted == features.labels[test]).mean()), logistic_regression(features)


def logistic_regression(features: FeatureSet) -> float:
    """scikit-learn's on standardised features, C chosen on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    positions = {name: features.positions(name) for name in ("train", "validation", "test")}
    values: dict[str, NDArray[np.float32]] = {
        name: features.read(rows).astype(np.float32) for name, rows in positions.items()
    }
    scaler = StandardScaler().fit(values["train"])
    labels = {name: features.labels[rows] for name, rows in positions.items()}
    best = (-1.0, -1.0)
    for strength in 10.0 ** np.arange(-5, 1):
        model = LogisticRegression(C=strength, max_iter=500).fit(scaler.transform(values["train"]), labels["train"])
        scores = [model.score(scaler.transform(values[name]), labels[name]) for name in ("validation", "test")]
        best = max(best, (scores[0], scores[1]), key=lambda pair: pair[0])
    return best[1]


def spread(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
