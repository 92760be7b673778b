"""How long one waits for a changed train setting on digits, by stage, and for the prediction of a photo.

    python -m benchmarks.everyday --rounds 3

Each stage is timed while DVC runs it: a `python` that is first in PATH notes its seconds, by the clock and of CPU time.
What is left of the whole is DVC's own. The first run, which extracts the features, takes a minute or two.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import samples
from tests import project as projects

PYTHON = """#!/usr/bin/env bash
TIMEFORMAT="$* %R %U %S"
{{ time {python} "$@" 2>&3; }} 3>&2 2>>{log}
"""
Seconds = dict[str, tuple[float, float]]  # by the clock, and of CPU time


def prepare(folder: Path) -> Path:
    """A project with digits that has run once, and a photo."""
    project = samples.copy_project(folder / "project")
    projects.run(project, "dvc", "repro")
    samples.commit(project, "done")
    projects.draw(project / "photos", per_class=1)
    return project


def timed(project: Path, tools: Path, *command: str) -> Seconds:
    """Runs a command; returns what it and each stage that it ran took."""
    log = tools / "log"
    log.write_text("")
    environment = samples.environment(project)
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    elapsed, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found: Seconds = {}
    for line in log.read_text().splitlines():
        *words, real, user, system = line.split()
        found[words[1].removeprefix("stages.")] = float(real), float(user) + float(system)
    own = elapsed - sum(real for real, _ in found.values()), cpu - sum(used for _, used in found.values())
    return {**found, "DVC": own, "all": (elapsed, cpu)} if found else {"all": (elapsed, cpu)}


def measure(project: Path, tools: Path, rounds: int) -> None:
    """Prints a table for each command: medians over the rounds."""
    photo = str(next((project / "photos").rglob("*.jpg")))
    taken: dict[str, list[Seconds]] = {}
    for number in range(rounds):
        projects.set_param(project, "train.seed", 2 * number + 1)  # never tried before
        experiment = ("dvc", "exp", "run", "--temp", "-S", f"train.seed={2 * number + 2}")
        for command in (("dvc", "repro"), experiment, ("bottletop", "predict", photo)):
            taken.setdefault(" ".join(command[:4]), []).append(timed(project, tools, *command))
    for name, results in taken.items():
        print(f"\n| {name.replace(photo, 'PHOTO')} | seconds | CPU seconds |\n| --- | --- | --- |")
        for part in results[0]:
            elapsed, cpu = (median(result[part][which] for result in results) for which in range(2))
            print(f"| {part} | {elapsed:.1f} | {cpu:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder, "tools")
        tools.mkdir()
        python = Path(samples.environment(Path(folder))["PATH"].split(os.pathsep)[0], "python")
        (tools / "python").write_text(PYTHON.format(python=python, log=tools / "log"))
        (tools / "python").chmod(0o755)
        measure(prepare(Path(folder)), tools, options.rounds)


if __name__ == "__main__":
    main()
