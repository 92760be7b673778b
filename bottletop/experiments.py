"""DVC experiments: run by DVC's own commands, read from the git commits that DVC makes of them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from bottletop.config import parse_yaml
from bottletop.errors import ArtefactError
from bottletop.paths import PARAMS, Paths

LOCK = Path("dvc.lock")


@dataclass(frozen=True)
class Experiment:
    """What an experiment, or the workspace, was made from and how good it is."""

    rev: str | None  # for git and DVC; None: the workspace
    params: Mapping[str, Any]  # all of params.yaml
    inputs: Mapping[str, str]  # hashes of the code and of the datasets' sources, by path
    metrics: Mapping[str, Mapping[str, float]]  # of metrics.json, by dataset

    @contextmanager
    def predictions(self, dataset: str) -> Iterator[IO[str]]:
        """The open ``predictions.csv``, from the workspace or DVC's cache."""
        path = Paths(dataset).metrics / "predictions.csv"
        if self.rev is None:
            with path.open(encoding="utf-8", newline="") as file:
                yield file
        else:
            import dvc.api  # a second to import, for comparisons alone

            with dvc.api.open(str(path), rev=self.rev, encoding="utf-8") as file:
                yield cast(IO[str], file)


def head() -> str:
    """The commit that experiments are made from.

    Raises:
        ArtefactError: there is none.
    """
    try:
        return _git("rev-parse", "HEAD").strip()
    except subprocess.CalledProcessError as error:
        message = "experiments start from a commit, and there is none: git add --all, then git commit"
        raise ArtefactError(message) from error


def reproduce() -> None:
    """Runs the pipeline as params.yaml says; the stages print, DVC itself does only where one fails.

    Raises:
        ArtefactError: a stage failed, or another command is running here.
    """
    if subprocess.run(_dvc("repro", "--quiet"), check=False).returncode:
        raise ArtefactError("dvc repro failed, see above: no experiment was started")


def start(name: str, overrides: Mapping[str, Any], log: IO[bytes], keep_open: int) -> subprocess.Popen[bytes]:
    """Starts one experiment in a folder of its own, on the workspace's present state.

    Args:
        log: takes all that it prints.
        keep_open: a file descriptor that stays open as long as it runs.
    """
    settings = [part for key, value in overrides.items() for part in ("-S", f"{key}={json.dumps(value)}")]
    command = _dvc("exp", "run", "--temp", "--name", name, *settings)
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=[keep_open])


def workspace() -> Experiment:
    return _experiment(None)


def find(commit: str, name: str) -> Experiment | None:
    """The experiment of this name that was made from `commit`, if it has succeeded."""
    ref = _ref(commit, name)
    return _experiment(ref) if _text(ref, PARAMS) else None


def forget(commit: str, name: str) -> None:
    """Removes the experiment, if there is one, so that another may have its name."""
    _git("update-ref", "-d", _ref(commit, name))


def _experiment(rev: str | None) -> Experiment:
    params = parse_yaml(_text(rev, PARAMS))
    stages = parse_yaml(_text(rev, LOCK) or "{}").get("stages", {})
    dependencies = [dependency for stage in stages.values() for dependency in stage.get("deps", [])]
    inputs = {
        found["path"]: found["md5"]
        for found in dependencies
        if found["path"].endswith(".py") or found["path"].startswith("data/sources/")
    }
    metrics = {
        name: json.loads(_text(rev, Paths(name).metrics / "metrics.json") or "{}") for name in params["datasets"]
    }
    return Experiment(rev, params, inputs, metrics)


def _ref(commit: str, name: str) -> str:
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def _text(rev: str | None, path: Path) -> str:
    """A file's text in the workspace or a commit; empty where it is missing."""
    try:
        return _git("show", f"{rev}:{path}") if rev else path.read_text(encoding="utf-8")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def _dvc(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]
