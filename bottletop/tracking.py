"""MLflow runs: what was done, with what, and what came out."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before MLflow is imported
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes to say that a server can't be reached
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from bottletop.errors import ArtefactError
from bottletop.paths import repository

BATCH = 1000  # metrics per request, MLflow's limit; for params it is 100

KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens the UI on training runs, not on chat traces


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else one database in the main repository, whichever folder the stages run in."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{repository() / 'mlflow.db'}"


def log_run(
    dataset: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: list[dict[str, float]],
    artefacts: Mapping[str, Path],
) -> str:
    """Logs one finished run and returns its id.

    Args:
        params: nested; logged as ``train.epochs`` and so on.
        history: an entry per epoch, with its number under ``epoch``.
        artefacts: files and folders, by the folder to log them under.

    Raises:
        ArtefactError: the tracking store can't be reached.
    """
    with _store() as client:
        experiment = _experiment(client, f"bottletop/{dataset}")
        name = os.environ.get("DVC_EXP_NAME") or _git("rev-parse", "--short", "HEAD") or "uncommitted"
        run = client.create_run(experiment, run_name=name, tags={"dataset": dataset, "mlflow.source.name": "bottletop"})
        run_id = str(run.info.run_id)
        try:
            _log(client, run_id, params, metrics, history, artefacts)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
    return run_id


def _log(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: list[dict[str, float]],
    artefacts: Mapping[str, Path],
) -> None:
    now = int(time.time() * 1000)
    flat = [Param(name, str(value)) for name, value in _flatten(params)]
    commit = _git("rev-parse", "HEAD")
    tags = [RunTag("mlflow.source.git.commit", commit)] if commit else []
    for start in range(0, len(flat), 100):
        client.log_batch(run_id, params=flat[start : start + 100], tags=tags)
    points = [Metric(name, value, now, 0) for name, value in metrics.items()]
    points += [
        Metric(f"epoch_{name}", value, now, int(entry["epoch"]))
        for entry in history
        for name, value in entry.items()
        if name != "epoch"
    ]
    for start in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[start : start + BATCH])
    for folder, path in artefacts.items():
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder)
        else:
            client.log_artifact(run_id, str(path), folder)


@contextmanager
def _store() -> Iterator[MlflowClient]:
    """A client of the tracking store.

    Two processes that create an empty database at once leave a broken one, so a local store is opened under a lock.
    """
    uri = tracking_uri()
    try:
        if uri.startswith("sqlite:"):
            with FileLock(repository() / "mlflow.db.lock"):
                client = MlflowClient(uri)
                client.search_experiments(max_results=1)
        else:
            client = MlflowClient(uri)
        yield client
    except MlflowException as error:
        raise ArtefactError(
            f"the MLflow store {uri} failed ({error}): check MLFLOW_TRACKING_URI, then dvc repro"
        ) from error


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite:")
    try:
        return str(client.create_experiment(name, (repository() / "mlartifacts").as_uri() if local else None, KIND))
    except MlflowException:  # another process was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _git(*arguments: str) -> str:
    """Git's answer; empty outside a repository or before the first commit."""
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
