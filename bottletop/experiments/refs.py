"""DVC experiments: started with DVC's own commands, read directly from git.

Each experiment is a commit with the ref ``refs/exps/<baseline commit>/<name>``. Reading it takes milliseconds through
git, and a second through DVC.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from bottletop.core import lock
from bottletop.core.errors import ArtefactError
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import parse_yaml
from bottletop.tracking.origin import INTRODUCTION, git, is_anonymous, is_shallow

_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) ([0-9a-f]{40}) (\d+)")


@dataclass(frozen=True)
class Experiment:
    """One experiment of this repository, or the workspace."""

    name: str
    baseline: str  # hash of the commit that it started from, 40 hex digits
    commit: str  # hash of the experiment's own commit; empty for the workspace
    saved: float  # time of that commit, seconds since 1970; 0 for the workspace

    @cached_property
    def params(self) -> dict[str, Any]:
        """The whole of its params.yaml."""
        return dict(parse_yaml(self._text(PARAMS) or "{}"))

    @cached_property
    def inputs(self) -> dict[str, str]:
        """MD5 hashes, by path, of the code and of the fingerprints of the datasets' sources that it was made from."""
        stages = lock.entries(parse_yaml(self._text(lock.LOCK)))
        found = {path: md5 for stage in stages.values() for path, md5 in lock.hashes(stage, "deps").items()}
        own = ("bottletop/", "stages/", "fingerprints/")
        return {path: md5 for path, md5 in found.items() if path.startswith(own)}

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The contents of metrics.json by dataset; empty for a dataset without one."""
        names = self.params.get("datasets", [])
        return {name: json.loads(self._text(Paths(name).metrics / "metrics.json") or "{}") for name in names}

    @contextmanager
    def predictions(self, dataset: str) -> Iterator[IO[str]]:
        """Opens ``predictions.csv``, from the workspace or, for an experiment, from DVC's cache."""
        path = Paths(dataset).metrics / "predictions.csv"
        if not self.commit:
            with path.open(encoding="utf-8", newline="") as file:
                yield file
        else:
            import dvc.api  # takes a second to import, and only comparisons need it

            with dvc.api.open(str(path), rev=self.commit, encoding="utf-8") as file:
                yield cast(IO[str], file)

    def _text(self, path: Path) -> str:
        """A file's text; empty if the file is missing."""
        if self.commit:
            return git("show", f"{self.commit}:./{path}")
        return path.read_text(encoding="utf-8") if path.exists() else ""


def workspace() -> Experiment:
    """The workspace as an experiment, with its current params.yaml and results.

    Raises:
        ArtefactError: there is no commit for experiments to start from.
    """
    head = git("rev-parse", "HEAD")
    if not head:
        raise ArtefactError("experiments start from a commit, and there is none", "git add --all, then git commit")
    return Experiment("workspace", head, "", 0)


def refuse_shallow() -> None:
    """Refuses to run experiments in folders of their own if the clone has only a part of git's history.

    DVC would run such an experiment, fail to fetch its commit from that folder, and end without an error.

    Raises:
        ArtefactError: the main repository is a shallow clone, as of ``git clone --depth 1``.
    """
    if is_shallow():
        problem = (
            "this clone has only a part of git's history, so DVC would lose experiments of --temp, queues and sweeps"
        )
        raise ArtefactError(problem, "git fetch --unshallow")


def refuse_anonymous() -> None:
    """Refuses to run experiments if git does not know the user: DVC fails then, after it has changed params.yaml.

    DVC needs name and email if a file differs from the commit, as dvc.lock does after most runs.

    Raises:
        ArtefactError: name or email is not set.
    """
    if is_anonymous():
        raise ArtefactError("git does not know your name and email, which it writes into each experiment", INTRODUCTION)


def saved() -> list[Experiment]:
    """All experiments of the repository, newest first; none outside a git repository."""
    return _listed("refs/exps")


def find(baseline: str, name: str) -> Experiment | None:
    """The experiment of this name that started from the commit `baseline`; None if none has succeeded."""
    return next(iter(_listed(_ref(baseline, name))), None)


def forget(baseline: str, name: str) -> None:
    """Removes the experiment, if there is one, so that another can take its name."""
    git("update-ref", "-d", _ref(baseline, name))


def reproduce() -> None:
    """Runs the pipeline with the current params.yaml. The stages print; DVC itself prints only if one fails.

    Raises:
        ArtefactError: a stage failed, or another DVC command is running in the workspace.
    """
    if subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], check=False).returncode:
        raise ArtefactError("dvc repro failed, see above: no experiment was started")


def start(
    name: str, overrides: Mapping[str, Any], log: IO[bytes], keep_open: int, threads: int
) -> subprocess.Popen[bytes]:
    """Starts one experiment from the workspace's current state, in a folder of its own.

    Args:
        name: of the experiment.
        overrides: values of the settings that it changes, by name, such as ``train.epochs``.
        log: receives everything that the experiment prints.
        keep_open: a file descriptor that the experiment keeps open as long as it runs.
        threads: how many threads it may use.

    Returns:
        The running process.
    """
    alone = [sys.executable, "-m", "bottletop.experiments.alone", "dvc"]
    command = [*alone, "exp", "run", "--temp", "--name", name, *options(overrides)]
    return subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        pass_fds=[keep_open],
        env={**os.environ, "BOTTLETOP_THREADS": str(threads)},
    )


def options(overrides: Mapping[str, Any]) -> list[str]:
    """The settings as options of `dvc exp run`. Text is not escaped: DVC would keep ``\\u00e9`` as it is."""
    written = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]
    return [part for each in written for part in ("-S", each)]


def _listed(pattern: str) -> list[Experiment]:
    fields = "%(refname) %(objectname) %(creatordate:unix)"
    lines = git("for-each-ref", "--sort=-creatordate", f"--format={fields}", pattern).splitlines()
    refs = (match.groups() for match in map(_REF.fullmatch, lines) if match)
    return [Experiment(name, start + rest, commit, float(time)) for start, rest, name, commit, time in refs]


def _ref(baseline: str, name: str) -> str:
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"
