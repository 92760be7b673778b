"""What the pipeline costs beside the work itself: commands that have nothing to do, or only a top to train.

    python -m benchmarks.overhead --classes 101 --rounds 5

DVC's time depends on the number of files, which there are three or four of for each class, however many images it has.
So a project of 101 classes with a few small pictures each is measured, beside a plain DVC pipeline with the same files
and stages whose commands do nothing. Commands take turns; medians are printed.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import yaml

from benchmarks import samples
from tests import project as projects

PICTURES = 5  # of each class


def make(folder: Path, classes: int) -> Path:
    """A project that has run once, and nothing left to do."""
    projects.CLASSES.clear()
    projects.CLASSES.update(
        {f"class {number:03}": f"hsl({number * 360 // classes}, 90%, 50%)" for number in range(classes)}
    )
    project = projects.make(folder)
    shutil.rmtree(project / "pictures")
    projects.draw(project / "pictures", per_class=PICTURES)
    projects.run(project, "dvc", "repro")
    samples.commit(project, "done")
    return project


def plain(project: Path, target: Path) -> Path:
    """The same files, stage by stage, in a repository whose stages only name them."""
    shutil.copytree(project, target, symlinks=True)
    locks = [project / "dvc.lock", project / "stages/dvc.lock"]
    stages = {
        name.replace("@", "-"): {
            "cmd": "true",
            "deps": [item["path"] for item in stage.get("deps", [])],
            "outs": [item["path"] for item in stage.get("outs", [])],
        }
        for lock in locks
        for name, stage in yaml.safe_load(lock.read_text())["stages"].items()
    }
    (target / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for name in ("dvc.lock", "stages/dvc.lock", "stages/dvc.yaml"):
        (target / name).unlink()
    samples.git(target, "rm", "--quiet", "-r", "--cached", "metrics", "fingerprints")
    projects.run(target, "dvc", "commit", "--force")
    samples.commit(target, "plain")
    return target


def measure(project: Path, other: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each command."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds):
        change = f"train.learning_rate={0.001 + number / 1e6}"  # never tried before
        for name, where, command in (
            ("dvc repro, plain pipeline", other, ("dvc", "repro")),
            ("dvc repro, nothing changed", project, ("dvc", "repro")),
            ("dvc exp run --temp, plain pipeline", other, ("dvc", "exp", "run", "--temp")),
            ("dvc exp run --temp, nothing changed", project, ("dvc", "exp", "run", "--temp")),
            ("dvc exp run --temp, a train setting changed", project, ("dvc", "exp", "run", "--temp", "-S", change)),
            ("bottletop --help", project, ("bottletop", "--help")),
            ("import TensorFlow and Keras", project, ("python", "-c", "import bottletop.backbones.runtime")),
        ):
            start = time.perf_counter()
            projects.run(where, *command)
            taken.setdefault(name, []).append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make(Path(folder), options.classes)
        taken = measure(project, plain(project, Path(folder, "plain")), options.rounds)
    print("| command | seconds |\n| --- | --- |")
    for name, seconds in taken.items():
        print(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
