"""What each stage takes as a dataset grows: time, peak memory, disk. All should grow linearly, or not at all.

    python -m benchmarks.growth --images 1000 10000 101000

An archive of small made-up pictures in 101 classes goes through the whole pipeline at 32 px, with random weights: what
is measured is the work that each image costs beside the backbone's. Each stage is a process of its own, its start and
import of TensorFlow included; `dvc repro` afterwards finds nothing to do, after DVC has taken up what was made.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks import made_up, samples
from benchmarks.accuracy import STAGES, Cost, run
from tests import project as projects

NAME, SIDE_PX = "made-up", 32
EPOCHS = 5


def make(folder: Path, images: int) -> Path:
    """A project whose one dataset is an archive of so many pictures."""
    project = projects.make(folder)
    random = np.random.default_rng(0)
    made_up.archive(folder / "made-up.tar.gz", (made_up.picture(random, 64, 48) for _ in range(images)))
    catalogue = yaml.safe_load((project / "datasets.yaml").read_text())
    source = {"urls": [f"file:{folder / 'made-up.tar.gz'}"], "images": "made-up/{label}/*"}
    catalogue["datasets"] = {NAME: {"title": "Made up", "image_side_px": SIDE_PX, "source": source}}
    (project / "datasets.yaml").write_text(yaml.safe_dump(catalogue))
    samples.activate(project, [NAME])
    projects.set_param(project, "train.epochs", EPOCHS)
    projects.set_param(project, "train.patience", None)
    samples.commit(project, "made up")
    return project


def measure(project: Path) -> dict[str, str]:
    run(project, "sources")
    run(project, "weights", "vgg16")
    found = {stage: _cost(run(project, stage, NAME)) for stage in STAGES}
    seconds = []
    for command in ("commit --force", "repro", "repro"):  # the first repro runs what always runs, and links files
        start = time.monotonic()
        projects.run(project, "dvc", *command.split())
        seconds.append(time.monotonic() - start)
    found["dvc commit"], found["dvc repro, nothing to do"] = f"{seconds[0]:.1f} s", f"{seconds[-1]:.1f} s"
    found["data/ on disk"] = f"{_size(project / 'data') / 1e6:,.0f} MB"
    return found


def _cost(cost: Cost) -> str:
    return f"{cost.elapsed_s:.1f} s, {cost.peak_mb:,.0f} MB"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    options = parser.parse_args()
    columns = {}
    for images in options.images:
        with tempfile.TemporaryDirectory() as name:
            columns[images] = measure(make(Path(name), images))
    print(f"| images | {' | '.join(f'{images:,}' for images in columns)} |\n|{' --- |' * (1 + len(columns))}")
    for what in next(iter(columns.values())):
        print(f"| {what} | {' | '.join(column[what] for column in columns.values())} |")


if __name__ == "__main__":
    main()
