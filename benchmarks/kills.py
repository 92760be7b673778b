"""Kills `dvc repro` at random moments, with all its processes, and lets the next `dvc repro` finish the work.

The outputs must then be those of a run that nobody has killed, byte for byte, with one finished MLflow run and none
that still seems to run. DVC writes dvc.lock and its list of locks in place. If a kill leaves one half-written, what
`bottletop doctor` prints must mend it. Prints a table of the stages that were killed, also when Ctrl-C stops it, and
ends with 1 if one was lost.

    python -m benchmarks.kills 100                # kills 100 times, which takes about 20 seconds each
    python -m benchmarks.kills 20 --model cnn     # a network, or `finetune`: what comes before its training is done
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from tabulate import tabulate

from bottletop.core.files import file_digest
from bottletop.core.progress import bar
from tests import project
from tests.project import run, tracked_runs

OUTPUTS = ("data", "metrics", "fingerprints", "dvc.lock")
DVCS_OWN = ".*.tmp"  # what a killed DVC leaves beside a file that it was linking; .dvcignore has it, too
OUTCOMES = ("survived", "mended by doctor", "lost")
FIX = re.compile(r"^problem .*\n +fix: (.+)$", re.MULTILINE)
NETWORK = {"train.epochs": 100, "train.patience": None, "cnn.filters": [8, 16], "finetune.epochs": 10}


def main(rounds: int, model: str) -> int:
    """Kills so many runs, and returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        made, place = project.make(Path(folder)), Path(folder, "project")
        if model != "top":
            prepare(made, model)
        made = made.rename(Path(folder, "made"))
        begin(made, place)
        started = time.monotonic()
        run(place, "dvc", "repro")
        seconds, expected = time.monotonic() - started, results(place)
        counts: Counter[tuple[str, str]] = Counter()
        chance = np.random.default_rng()
        with bar("kill", " rounds", rounds) as shown, contextlib.suppress(KeyboardInterrupt):
            for _ in range(rounds):
                begin(made, place)
                after_s = float(chance.uniform(0, seconds))
                killed = kill(place, after_s)
                outcome = resumed(place, expected)
                counts[killed, outcome] += 1
                shown.update()
                if outcome == "lost":
                    print(f"lost: killed after {after_s:.2f} s, in {killed}", flush=True)
        rows = [[name, *(counts[name, outcome] for outcome in OUTCOMES)] for name in sorted({key for key, _ in counts})]
        print(tabulate(rows, ("killed in", *OUTCOMES), tablefmt="github"))
        return int(any(outcome == "lost" for _, outcome in counts))


def prepare(made: Path, model: str) -> None:
    """Lets the project train a network, and runs the stages that come before the training."""
    for name, value in {"train.model": model, **NETWORK}.items():
        project.set_param(made, name, value)
    run(made, "dvc", "repro", f"extract@{project.DATASET}", f"split@{project.DATASET}")


def begin(made: Path, place: Path) -> None:
    """Puts the project there as it was made. The place is always the same: paths may be in its files."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place, symlinks=True)


def kill(place: Path, after_s: float) -> str:
    """Starts `dvc repro` and kills it with all its processes after so many seconds; returns the stage it was in."""
    command = project.start(place, "dvc", "repro")
    try:
        command.wait(after_s)
        return "after the end"
    except subprocess.TimeoutExpired:
        started = [*psutil.Process(command.pid).children(recursive=True), psutil.Process(command.pid)]
        stage = _stage(started)
        for process in started:
            process.kill()
        psutil.wait_procs(started)
        return stage


def _stage(processes: list[psutil.Process]) -> str:
    words = [word for process in processes for word in process.cmdline()]
    return next((word for word in words if word.startswith("stages.")), "DVC itself")


def resumed(place: Path, expected: dict[str, str]) -> str:
    """Runs `dvc repro` again; returns the outcome."""
    try:
        outcome = _repeated(place)
    except AssertionError as error:
        print(error)
        return "lost"
    found = results(place)
    if found != expected:
        print({name for name in {*found, *expected} if found.get(name) != expected.get(name)})
    return outcome if found == expected else "lost"


def _repeated(place: Path) -> str:
    try:
        run(place, "dvc", "repro")
        return "survived"
    except AssertionError as error:
        print(error)
        for fix in FIX.findall(run(place, "bottletop", "doctor", "--quick", check=False)):
            print(f"doctor's fix: {fix}", flush=True)
            run(place, "bash", "-c", fix)
        run(place, "dvc", "repro")
        return "mended by doctor"


def results(place: Path) -> dict[str, str]:
    """Returns the digest of each output by its path, and how the MLflow runs ended."""
    roots = [place / name for name in OUTPUTS]
    paths = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    files = [path for path in paths if path.is_file() and not path.match(DVCS_OWN)]
    digests = {str(path.relative_to(place)): file_digest(path) for path in files}
    runs = Counter(found["status"] for found in tracked_runs(place))
    return {**digests, "finished runs": str(runs["FINISHED"]), "unfinished runs": str(runs["RUNNING"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=100)
    parser.add_argument("--model", choices=("top", "cnn", "finetune"), default="top", help="what is trained")
    sys.exit(main(**vars(parser.parse_args())))
