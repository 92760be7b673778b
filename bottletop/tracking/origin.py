"""Where a result came from, as plain text tags: commit, digests of dvc.lock, machine and package versions."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bottletop.core.addresses import masked
from bottletop.core.lock import LOCK, read_entries
from bottletop.core.paths import CATALOGUE, PARAMS, repository
from bottletop.core.settings import read_yaml

STAGES = ("download", "split", "extract", "train", "evaluate")  # stages of a dataset whose outputs make a result
INTRODUCTION = "git config --global user.name 'Your Name'; git config --global user.email you@example.org"
SHORT = 7  # digits of a short commit hash; git uses more where these are ambiguous
MAX_PARAM_LENGTH = 6000  # characters, MLflow's limit
EXPERIMENT = "DVC_EXP_NAME"  # variable that DVC sets in an experiment's stages
BASELINE = "DVC_EXP_BASELINE_REV"  # and another one, with the hash of the commit that it started from
COMMIT = "mlflow.source.git.commit"  # tag in which MLflow keeps the commit
HIDDEN = "mlflow."  # the UI does not show tags whose name begins so
PARENT = "mlflow.parentRunId"  # tag in which MLflow keeps the run that another belongs to
PARENTS = "BOTTLETOP_SWEEP_RUNS"  # variable that names it to a sweep's experiments, as JSON by dataset
PACKAGES = ("bottletop", "dvc", "keras", "mlflow", "tensorflow")


def experiment_name() -> str:
    """The DVC experiment's name, or the short commit hash for a plain `dvc repro`.

    Before the first commit it is ``uncommitted``.
    """
    return os.environ.get(EXPERIMENT) or git("rev-parse", f"--short={SHORT}", "HEAD") or "uncommitted"


def baseline() -> str:
    """The hash of the commit that the experiment started from, 40 hex digits; "none" before the first commit."""
    return os.environ.get(BASELINE) or git("rev-parse", "HEAD") or "none"


def origin_tags(dataset: str) -> dict[str, str]:
    """Tags that are known before anything has run: dataset, experiment, commit, machine and versions."""
    versions = {f"{HIDDEN}version.{name}": _version(name) for name in PACKAGES}
    parents = json.loads(os.environ.get(PARENTS, "{}"))
    return {
        "dataset": dataset,
        "experiment": experiment_name(),
        "mlflow.source.name": "bottletop",
        COMMIT: baseline(),
        "uncommitted_changes": "yes" if git("status", "--porcelain", "--untracked-files=no") else "no",
        "machine": f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores",
        f"{HIDDEN}version.python": platform.python_version(),
        **versions,
        **({PARENT: parents[dataset]} if dataset in parents else {}),
    }


def tracked_params(dataset: str) -> dict[str, Any]:
    """The params that determine the results, for MLflow to log.

    Returns:
        Every section of params.yaml except ``datasets``; and under ``source`` the dataset's source in datasets.yaml, as
        JSON cut to `MAX_PARAM_LENGTH` characters. Secrets in its addresses are masked.
    """
    sections = {section: values for section, values in read_yaml(PARAMS).items() if section != "datasets"}
    source = json.dumps(read_yaml(CATALOGUE)["datasets"][dataset]["source"], ensure_ascii=False)
    return {**sections, "source": masked(source)[:MAX_PARAM_LENGTH]}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each value of nested mappings with its dotted name, such as ``train.epochs``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def lock_tags(dataset: str, lock: Path = LOCK) -> dict[str, str]:
    """A digest of each stage's entry in dvc.lock, and one of all entries; equal inputs and outputs give equal digests.

    Stages without an entry are left out. A digest is the first 16 hex digits of a SHA-256.
    """
    stages = read_entries(lock)
    names = ["weights", *(f"{stage}@{dataset}" for stage in STAGES)]
    entries = {name: json.dumps(stages[name], sort_keys=True) for name in names if name in stages}
    digests = {f"dvc.{name.split('@')[0]}": short_digest(entry) for name, entry in entries.items()}
    fingerprint = short_digest(json.dumps(digests, sort_keys=True))
    return {**{f"{HIDDEN}{name}": value for name, value in digests.items()}, "dvc.fingerprint": fingerprint}


def is_shallow() -> bool:
    """Whether the main repository has only a part of git's history, as of ``git clone --depth 1``."""
    return git("-C", str(repository()), "rev-parse", "--is-shallow-repository") == "true"


def is_anonymous() -> bool:
    """Whether git does not know the user: DVC reads name and email from git's settings and two variables alone."""
    parts = ("name", "email")
    return not all(os.environ.get(f"GIT_COMMITTER_{part.upper()}") or git("config", f"user.{part}") for part in parts)


def short_digest(text: str) -> str:
    """Returns the first 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # not installed, such as bottletop run from its source folder
        return "unknown"


def git(*arguments: str) -> str:
    """Git's output, stripped; empty if git fails, as it does outside a repository or before the first commit."""
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
