"""DVC experiments: run by DVC's own commands, read where git keeps them.

Each is a commit that a ref names, ``refs/exps/<baseline commit>/<name>``. Asking git takes milliseconds, DVC a second.
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

from bottletop.core.errors import ArtefactError
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import parse_yaml
from bottletop.tracking.origin import git

_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) ([0-9a-f]{40}) (\d+)")


@dataclass(frozen=True)
class Experiment:
    """One experiment that this repository holds, or the workspace."""

    name: str
    baseline: str  # the commit that it was made from, 40 hex digits
    commit: str  # its own; empty: the workspace
    saved: float  # when, seconds since 1970

    @cached_property
    def params(self) -> dict[str, Any]:
        """All of its params.yaml."""
        return dict(parse_yaml(self._text(PARAMS) or "{}"))

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Hashes of the code and of the datasets' sources that it was made from, by path."""
        stages = parse_yaml(self._text(Path("dvc.lock")) or "{}").get("stages", {})
        found = [dependency for stage in stages.values() for dependency in stage.get("deps", [])]
        own = [one for one in found if one["path"].startswith(("bottletop/", "stages/", "fingerprints/"))]
        return {one["path"]: one["md5"] for one in own}

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Its metrics.json for each dataset; empty where it has none."""
        names = self.params.get("datasets", [])
        return {name: json.loads(self._text(Paths(name).metrics / "metrics.json") or "{}") for name in names}

    @contextmanager
    def predictions(self, dataset: str) -> Iterator[IO[str]]:
        """The open ``predictions.csv``, from the workspace or DVC's cache."""
        path = Paths(dataset).metrics / "predictions.csv"
        if not self.commit:
            with path.open(encoding="utf-8", newline="") as file:
                yield file
        else:
            import dvc.api  # a second to import, for comparisons alone

            with dvc.api.open(str(path), rev=self.commit, encoding="utf-8") as file:
                yield cast(IO[str], file)

    def _text(self, path: Path) -> str:
        """A file's text; empty where it is missing."""
        if self.commit:
            return git("show", f"{self.commit}:./{path}")
        return path.read_text(encoding="utf-8") if path.exists() else ""


def workspace() -> Experiment:
    """What params.yaml and the results say now.

    Raises:
        ArtefactError: there is no commit that experiments could start from.
    """
    head = git("rev-parse", "HEAD")
    if not head:
        raise ArtefactError("experiments start from a commit, and there is none", "git add --all, then git commit")
    return Experiment("workspace", head, "", 0)


def saved() -> list[Experiment]:
    """Every experiment of the repository, the newest first; none outside git."""
    return _listed("refs/exps")


def find(baseline: str, name: str) -> Experiment | None:
    """The experiment of this name that was made from the commit, if it has succeeded."""
    return next(iter(_listed(_ref(baseline, name))), None)


def forget(baseline: str, name: str) -> None:
    """Removes the experiment, if there is one, so that another may have its name."""
    git("update-ref", "-d", _ref(baseline, name))


def reproduce() -> None:
    """Runs the pipeline as params.yaml says; the stages print, DVC itself does only where one fails.

    Raises:
        ArtefactError: a stage failed, or another command is running here.
    """
    if subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], check=False).returncode:
        raise ArtefactError("dvc repro failed, see above: no experiment was started")


def start(
    name: str, overrides: Mapping[str, Any], log: IO[bytes], keep_open: int, threads: int
) -> subprocess.Popen[bytes]:
    """Starts one experiment in a folder of its own, on the workspace's present state.

    Args:
        log: takes all that it prints.
        keep_open: a file descriptor that stays open as long as it runs.
        threads: how many it may use.
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
    """The settings as `dvc exp run` takes them; it would write escapes such as ``\\u00e9`` as they are."""
    written = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]
    return [part for each in written for part in ("-S", each)]


def _listed(pattern: str) -> list[Experiment]:
    fields = "%(refname) %(objectname) %(creatordate:unix)"
    lines = git("for-each-ref", "--sort=-creatordate", f"--format={fields}", pattern).splitlines()
    refs = (match.groups() for match in map(_REF.fullmatch, lines) if match)
    return [Experiment(name, start + rest, commit, float(time)) for start, rest, name, commit, time in refs]


def _ref(baseline: str, name: str) -> str:
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"
