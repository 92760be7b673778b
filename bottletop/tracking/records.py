"""Experiments as the MLflow store records them: a record for each run."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from bottletop.tracking.origin import SHORT
from bottletop.tracking.owner import HOST, is_gone
from bottletop.tracking.runs import store, tracking_uri

NAMES = 1000  # newest runs whose names are offered for a mistyped one
RUN_ID = re.compile("[0-9a-f]{4,32}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One experiment on one dataset."""

    experiment: str  # its name, or the short commit for a plain `dvc repro`
    dataset: str
    baseline: str  # commit, 40 hex digits, or "none"
    started: float  # seconds since 1970
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    run_id: str = ""  # empty: not in this MLflow store
    folder_id: str = ""  # of MLflow's experiment, which holds the dataset's runs
    status: str = "-"
    how: str = "-"
    missing: str = ""  # what it means that this repository has no such experiment

    @property
    def is_repro(self) -> bool:
        """Whether a plain `dvc repro` made it, which DVC keeps no experiment of."""
        short_commit = len(self.experiment) >= SHORT and self.baseline.startswith(self.experiment)
        return self.experiment == "uncommitted" or short_commit


def newest(datasets: Sequence[str] | None, limit: int) -> list[Record]:
    """The last runs to start, of these datasets or of all.

    Raises:
        ArtefactError: the tracking store can't be reached.
    """
    return _search(datasets, "", limit)


def matching(name: str) -> list[Record]:
    """The runs of an experiment, or those whose id begins so; the newest first."""
    if not re.fullmatch(r"[^'\"`\\]+", name):
        return []  # no name that DVC gives, and it would end MLflow's filter
    found = _search(None, f"tags.experiment = '{name}'", NAMES)
    return found or (_search(None, f"attributes.run_id LIKE '{name}%'", NAMES) if RUN_ID.fullmatch(name) else [])


def _search(datasets: Sequence[str] | None, condition: str, limit: int) -> list[Record]:
    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []  # looking creates nothing
    with store() as client:
        folders = _folders(client, datasets)
        if not folders:
            return []
        found = client.search_runs(folders, condition, max_results=limit, order_by=["start_time DESC"])
        return [_record(run) for run in found]


def _folders(client: MlflowClient, datasets: Sequence[str] | None) -> list[str]:
    folders = client.search_experiments(filter_string="name LIKE 'bottletop/%'")
    wanted = None if datasets is None else {f"bottletop/{dataset}" for dataset in datasets}
    return [folder.experiment_id for folder in folders if wanted is None or folder.name in wanted]


def _record(run: Run) -> Record:
    tags = run.data.tags
    how = {"true": "restored", "false": "trained"}.get(tags.get("restored", ""), "-")
    return Record(
        experiment=tags.get("experiment", run.info.run_name),
        dataset=tags.get("dataset", "-"),
        baseline=tags.get("mlflow.source.git.commit", "none"),
        started=run.info.start_time / 1000,
        params=run.data.params,
        metrics=run.data.metrics,
        tags=tags,
        run_id=run.info.run_id,
        folder_id=run.info.experiment_id,
        status=run.info.status.lower(),
        how=how,
        missing=_missing(run.info.status, tags),
    )


def _missing(status: str, tags: dict[str, str]) -> str:
    """DVC saves an experiment as its command ends, so one that failed or has not ended has none to miss."""
    if status != "FINISHED" or (tags.get(HOST) == socket.gethostname() and not is_gone(tags)):
        return ""
    return "removed" if tracking_uri().startswith("sqlite:") else "not here"  # a server knows other clones' runs too
