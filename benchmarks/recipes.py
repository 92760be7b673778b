"""The recipes on the sample archives, each beside the default top on the same split.

    python -m benchmarks.recipes

Runs every recipe as users do, in a copy of the project, and prints a Markdown table. Name some to run only these.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import samples
from bottletop.experiments.recipes import FOLDER, settings
from tests.project import run


class Found(NamedTuple):
    """Test accuracy with its 95 % interval, and how long the experiment took."""

    accuracy: float
    low: float
    high: float
    images: int
    elapsed_s: float

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%})"


def main(names: list[str], scratch: Path) -> None:
    with samples.served(samples.folder()) as address:
        project = samples.copy_project(scratch / "project")
        samples.use_samples(project, address)
        samples.activate(project, list(samples.ARCHIVES))
        samples.commit(project, "samples")
        run(project, "dvc", "repro")
        samples.commit(project, "default tops")
        tops = {name: found(project, name, 0.0) for name in samples.ARCHIVES}
        print("| recipe | test accuracy (95 %) | default top, same split | test images | elapsed |\n|" + 5 * " --- |")
        for name in names:
            [dataset] = settings(name)["datasets"]
            start = time.monotonic()
            run(project, "bottletop", "recipe", name)
            result = found(project, dataset, time.monotonic() - start)
            print(f"| `{name}` | {result} | {tops[dataset]} | {result.images} | {result.elapsed_s:.0f} s |", flush=True)
            run(project, "git", "checkout", "--quiet", ".")


def found(project: Path, dataset: str, elapsed_s: float) -> Found:
    folder = project / "metrics" / dataset
    metrics = json.loads((folder / "metrics.json").read_text())
    images = json.loads((folder / "details.json").read_text())["images"]["test"]
    return Found(metrics["accuracy"], metrics["accuracy_low"], metrics["accuracy_high"], images, elapsed_s)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.yaml"))], Path(scratch))
