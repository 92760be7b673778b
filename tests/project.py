"""A copy of the project with a small dataset of its own, and commands run in it as a user would."""

import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import psutil
import yaml
from filelock import FileLock
from PIL import Image

from benchmarks import samples
from tests.pictures import encode, photo
from tests.tiny import random_weights

DATASET = "patterns"
CLASSES = {"circles": "red", "noise": "green", "stripes": "blue"}  # a tint each, so that they can be told apart


def make(folder: Path) -> Path:
    """A project on three classes of generated pictures, with random backbone weights from a file: no network needed."""
    project = samples.copy_project(folder / "project")
    draw(project / "pictures", per_class=12)
    with (project / ".git/info/exclude").open("a") as excluded:
        excluded.write("/pictures/\n")
    with h5py.File(folder / "weights.h5", "w") as file:
        for name, array in random_weights(seed=0).items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0"] = array
    entry = {"title": "Patterns", "image_side_px": 32, "source": {"folder": "pictures"}}
    weights = {"digest": None, "sources": [{"url": f"file:{folder / 'weights.h5'}"}]}
    (project / "datasets.yaml").write_text(yaml.safe_dump({"datasets": {DATASET: entry}}))
    (project / "weights.yaml").write_text(yaml.safe_dump({"vgg16": weights}))
    samples.activate(project, [DATASET])
    set_param(project, "split.validation", 0.2)
    set_param(project, "split.test", 0.2)
    set_param(project, "train.epochs", 5)
    samples.commit(project, "patterns")
    return project


def train_long(project: Path, epochs: int = 100_000) -> None:
    """Makes the top a network that is trained for so many epochs: long enough to be watched, or stopped."""
    for name, value in (("optimiser", "adam"), ("epochs", epochs), ("patience", None)):
        set_param(project, f"train.{name}", value)


class Finished(NamedTuple):
    """A project in which a command has run to its end, such as `dvc repro` or a sweep."""

    folder: Path
    output: str  # what the command printed


def finish(folder: Path) -> Finished:
    """A project as of `make`, run, its results committed. Processes that ask for the same folder share one."""
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "output.txt").exists():
            output = run(make(folder), "dvc", "repro")
            samples.commit(folder / "project", "first results")
            (folder / "output.txt").write_text(output)
    return Finished(folder / "project", (folder / "output.txt").read_text())


def copy(project: Path, folder: Path) -> Path:
    """A copy with its cache, to be changed; hard links into the cache become links into the copy's."""
    subprocess.run(["cp", "-a", project, folder / "project"], check=True)
    return folder / "project"


def make_shallow(project: Path, origin: Path) -> None:
    """Cuts off the clone's history, as after `git clone --depth 1`; `origin` becomes a whole clone, and its remote."""
    samples.git(project, "clone", "--quiet", "--bare", ".", str(origin))
    samples.git(project, "remote", "add", "origin", f"file://{origin}")
    samples.git(project, "fetch", "--quiet", "--depth", "1", "origin", "HEAD")


def draw(folder: Path, per_class: int) -> None:
    """Pictures of random content in their class's tint, a folder for each class."""
    for position, (label, tint) in enumerate(CLASSES.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            content = photo(position * 1000 + number, (48, 48))
            picture = Image.blend(content, Image.new("RGB", content.size, tint), 0.5)
            (folder / label / f"{number:03}.jpg").write_bytes(encode(picture, "JPEG"))


def set_param(project: Path, name: str, value: object) -> None:
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    section, key = name.split(".")
    params[section][key] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def run(project: Path, *command: str, check: bool = True) -> str:
    """The command's output, stdout and stderr together."""
    environment = samples.environment(project)
    done = subprocess.run(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}")
    if not check and not done.returncode:
        raise AssertionError(f"{' '.join(command)} should have failed:\n{done.stdout}")
    return done.stdout


def stages_run(output: str) -> list[str]:
    """The stages that a `dvc repro` ran, the dataset's name left out; `sources`, which always runs, too."""
    lines = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
    return [name.split("@")[0] for name in lines if name != "stages/dvc.yaml:sources"]


def tracked_runs(project: Path) -> list[dict[str, Any]]:
    """The MLflow run of each experiment in the project's own store, the oldest first, read with plain SQL."""
    query = """
        select x.value as name, status,
            (select value from latest_metrics m where m.run_uuid = r.run_uuid and m.key = 'accuracy') as accuracy,
            (select count(*) from metrics m where m.run_uuid = r.run_uuid and m.key = 'epoch_val_loss') as epochs,
            (select value from tags t where t.run_uuid = r.run_uuid and t.key = 'restored') as restored,
            (select value from tags t where t.run_uuid = r.run_uuid and t.key = 'dvc.fingerprint') as fingerprint
        from runs r join tags x on x.run_uuid = r.run_uuid and x.key = 'experiment' order by start_time
    """
    with sqlite3.connect(project / "mlflow.db") as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


def start(project: Path, *command: str) -> subprocess.Popen[bytes]:
    """The command, running; its output is thrown away."""
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=project, env=samples.environment(project), stdout=nowhere, stderr=nowhere)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; pytest's own time limit ends what never comes."""
    while not condition():
        time.sleep(0.1)


def kill_stage(command: subprocess.Popen[bytes]) -> None:
    """Kill -9 for the stage that a running `dvc repro` has started, and the shell around it."""
    for process in psutil.Process(command.pid).children(recursive=True):
        process.kill()
