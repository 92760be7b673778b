"""Test scores of the default top on every sample, beside logistic regression, and what the stages cost.

Runs each stage on digits and on the sample archives in a copy of the project, then extracts with each backbone that has
weights here, and trains for ten seeds of split and training. Prints Markdown tables: the scores, the paired differences
with their standard errors, and the cost of the stages. Give it a folder to keep the copy there.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import samples
from benchmarks.memory import high_water_bytes
from bottletop.core.paths import Paths
from bottletop.core.settings import load
from bottletop.images.index import read_index
from bottletop.models import linear
from bottletop.models.params import TopParams
from bottletop.models.standardisation import signed_sqrt
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import SplitParams, assign_splits
from tests.project import set_param

SEEDS = (0, 1, 2)
COMPARED = range(10)  # seeds of split and training, here
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
        compared = {}
        for backbone in BACKBONES:
            set_param(project, "extract.backbone", backbone)
            run(project, "weights", backbone)
            for name in datasets:
                run(project, "extract", name)
                compared[name, backbone] = np.array([compare(name, seed) for seed in COMPARED])
        show(compared)
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


def compare(name: str, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Test log loss and accuracy of the default top, and of logistic regression, on the same features and split."""
    paths = Paths(name)
    params = load(SplitParams, "split")
    rows = assign_splits(read_index(paths.index), msgspec.structs.replace(params, seed=seed))
    default = load(TopParams, "train")
    features = open_features(paths.features, rows, default.features, default.pooling)
    trained = linear.train(features, msgspec.structs.replace(default, seed=seed))
    labels = features.labels[features.positions("test")]
    return scores(trained.probabilities["test"], labels), logistic_regression(features)


def scores(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log loss and accuracy."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.array([-np.log(own.clip(1e-15)).mean(), (probabilities.argmax(1) == labels).mean()])


def logistic_regression(features: FeatureSet) -> NDArray[np.float64]:
    """scikit-learn's, on standardised features or their square roots; both that and C chosen by validation log loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    positions = {name: features.positions(name) for name in ("train", "validation", "test")}
    labels = {name: features.labels[rows] for name, rows in positions.items()}
    found = []
    for transform in (np.asarray, signed_sqrt):
        values = {name: transform(features.read(rows).astype(np.float32)) for name, rows in positions.items()}
        scaler = StandardScaler().fit(values["train"])
        scaled = {name: scaler.transform(each) for name, each in values.items()}
        for strength in 10.0 ** np.arange(-5, 2):
            model = LogisticRegression(C=strength, max_iter=500).fit(scaled["train"], labels["train"])
            found.append([scores(model.predict_proba(scaled[name]), labels[name]) for name in ("validation", "test")])
    return min(found, key=lambda pair: float(pair[0][0]))[1]


def show(compared: dict[tuple[str, str], NDArray[np.float64]]) -> None:
    """Prints the scores, then the paired differences: the top's minus logistic regression's, mean and standard error.

    Args:
        compared: by dataset and backbone; (seeds, 2, 2): top or logistic regression, log loss or accuracy.
    """
    print("\n| dataset | backbone | log loss | logistic regression | accuracy | logistic regression |")
    print("|" + 6 * " --- |")
    for names, values in compared.items():
        cells = [spread(values[:, who, what]) for what in (0, 1) for who in (0, 1)]
        print("|", " | ".join([*names, *cells]), "|")
    print("\n| dataset | backbone | difference of log loss | of accuracy |\n|" + 4 * " --- |")
    for names, values in compared.items():
        differences = values[:, 0] - values[:, 1]
        errors = differences.std(0, ddof=1) / np.sqrt(len(differences))
        cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(differences.mean(0), errors, strict=True)]
        print("|", " | ".join([*names, *cells]), "|", flush=True)


def spread(values: NDArray[np.float64]) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
