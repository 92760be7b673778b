"""Where a result came from: commit, lock, digests, machine and versions, as plain text tags."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bottletop.core.paths import CATALOGUE, PARAMS
from bottletop.core.settings import read_yaml

STAGES = ("download", "split", "extract", "train", "evaluate")  # whose outputs make a result
SHORT = 7  # digits of a short commit, or more where that is ambiguous
MAX_PARAM_LENGTH = 6000  # MLflow's limit
PACKAGES = ("bottletop", "dvc", "keras", "mlflow", "tensorflow")


def experiment_name() -> str:
    """The DVC experiment's name, or the commit's short hash for a plain `dvc repro`."""
    return os.environ.get("DVC_EXP_NAME") or git("rev-parse", f"--short={SHORT}", "HEAD") or "uncommitted"


def origin_tags(dataset: str) -> dict[str, str]:
    """What is known before anything has run."""
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or git("rev-parse", "HEAD")
    versions = {f"version.{name}": _version(name) for name in PACKAGES}
    return {
        "dataset": dataset,
        "experiment": experiment_name(),
        "mlflow.source.name": "bottletop",
        "mlflow.source.git.commit": commit or "none",
        "uncommitted_changes": "yes" if git("status", "--porcelain", "--untracked-files=no") else "no",
        "machine": f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores",
        "version.python": platform.python_version(),
        **versions,
    }


def tracked_params(dataset: str) -> dict[str, Any]:
    """The sections of params.yaml that say how results are made, and the dataset's source as JSON."""
    sections = {section: values for section, values in read_yaml(PARAMS).items() if section != "datasets"}
    source = json.dumps(read_yaml(CATALOGUE)["datasets"][dataset]["source"], ensure_ascii=False)
    return {**sections, "source": source[:MAX_PARAM_LENGTH]}


def lock_tags(dataset: str, lock: Path = Path("dvc.lock")) -> dict[str, str]:
    """A hash of each stage's entry in dvc.lock, and one of all of them: equal for equal inputs and outputs."""
    stages: dict[str, Any] = read_yaml(lock)["stages"] if lock.exists() else {}
    names = ["weights", *(f"{stage}@{dataset}" for stage in STAGES)]
    entries = {name: json.dumps(stages[name], sort_keys=True) for name in names if name in stages}
    digests = {f"dvc.{name.split('@')[0]}": _short(entry) for name, entry in entries.items()}
    return {**digests, "dvc.fingerprint": _short(json.dumps(digests, sort_keys=True))}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a folder that was not installed
        return "unknown"


def git(*arguments: str) -> str:
    """Git's answer; empty outside a repository or before the first commit."""
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
