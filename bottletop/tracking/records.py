"""Experiments as the MLflow tracking store has them: one record per run."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from bottletop.tracking.origin import COMMIT, SHORT
from bottletop.tracking.owner import HOST, is_gone
from bottletop.tracking.store import database, store, tracking_uri

NAMES = 1000  # newest runs that are searched for a name, and for suggestions if it is mistyped
RUN_ID = re.compile("[0-9a-f]{4,32}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One experiment on one dataset: an MLflow run or, where there is none, what DVC knows."""

    experiment: str  # its name; for a plain `dvc repro`, the short commit hash or "uncommitted"
    dataset: str
    baseline: str  # commit hash, 40 hex digits, or "none"
    started: float  # seconds since 1970
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    run_id: str = ""  # empty if this tracking store has no run of it
    folder_id: str = ""  # id of the MLflow experiment that holds the dataset's runs
    status: str = "-"  # of the MLflow run, in lower case, such as "finished"
    how: str = "-"  # "trained", or "restored" from DVC's run cache
    missing: str = ""  # what to say if this repository has no such experiment: "removed", "not here" or nothing

    @property
    def is_repro(self) -> bool:
        """Whether it came from a plain `dvc repro`, for which DVC keeps no experiment."""
        short_commit = len(self.experiment) >= SHORT and self.baseline.startswith(self.experiment)
        return self.experiment == "uncommitted" or short_commit


def newest(datasets: Sequence[str] | None, limit: int) -> list[Record]:
    """The runs that started last, newest first.

    Args:
        datasets: only runs of these; None for all.
        limit: the maximum number of runs.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    return _search(datasets, "", limit)


def matching(name: str) -> list[Record]:
    """The runs of the experiment `name` or, if there are none, those whose id begins with `name`; newest first.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    if not re.fullmatch(r"[^'\"`\\]+", name):
        return []  # DVC gives no such names, and a quote would end the text in MLflow's filter
    found = _search(None, f"tags.experiment = '{name}'", NAMES)
    return found or (_search(None, f"attributes.run_id LIKE '{name}%'", NAMES) if RUN_ID.fullmatch(name) else [])


def _search(datasets: Sequence[str] | None, condition: str, limit: int) -> list[Record]:
    path = database(tracking_uri())
    if path is not None and not path.exists():
        return []  # a search must not create the database
    with store() as client:
        folders = _folders(client, datasets)
        if not folders:
            return []
        condition = condition or "tags.experiment != ''"  # leaves out the runs that hold those of a sweep together
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
        baseline=tags.get(COMMIT, "none"),
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
    """What to say if this repository does not have the run's experiment; empty if it cannot be expected to.

    DVC saves an experiment when its command ends, so there is none for a run that failed or has not ended.
    """
    if status != "FINISHED" or (tags.get(HOST) == socket.gethostname() and not is_gone(tags)):
        return ""
    return "removed" if database(tracking_uri()) else "not here"  # servers have other clones' runs too
