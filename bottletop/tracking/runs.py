"""MLflow runs: `train` opens a run and logs each epoch as it ends; `track` finishes the run.

Between the two stages, a note (`live.note`) names the run and the model that it trained. A regression has no run yet:
`track` creates it. An experiment that DVC restored from its run cache has no such note: its run is marked as restored.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from bottletop.core.files import read_json, write_json
from bottletop.core.paths import repository
from bottletop.core.terminal import say
from bottletop.tracking import columns, description, logged_data, logged_model, relocation
from bottletop.tracking.live import note
from bottletop.tracking.origin import COMMIT, baseline, experiment_name, flatten, lock_tags, origin_tags
from bottletop.tracking.owner import FOLDER, is_gone, owner_tags
from bottletop.tracking.store import database, store, tracking_uri, transfer, uploading

METRICS_A_REQUEST, PARAMS_A_REQUEST = 1000, 100  # MLflow's limits
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI then shows training runs first, not chat traces


@dataclass(frozen=True)
class Result:
    """What `track` logs of one dataset."""

    metrics: Mapping[str, float]
    history: list[dict[str, float]]  # an entry per epoch, with its number under "epoch"
    artefacts: Mapping[str, Path]  # local file or folder, by the artefact folder to log it in
    model_digest: str  # of the model that was evaluated
    data_digest: str  # of the images' ids
    weights_digest: str  # of the backbone's weights, or "none"


class LiveRun:
    """An MLflow run that training logs to while it runs."""

    def __init__(self, dataset: str, params: Mapping[str, Any]) -> None:
        """Opens the run, before any expensive work.

        Raises:
            ArtefactError: the tracking store cannot be reached.
        """
        self._note = note(dataset)
        with store() as self._client:
            close_abandoned(self._client)
            self._run_id = _create(self._client, dataset, params, description.changed(params))
        self._logging = True
        write_json(self._note, {"run_id": self._run_id, "model_digest": None})

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Logs one epoch. If the store stops answering, live logging stops and training continues."""
        if self._logging:
            try:
                self._client.log_batch(self._run_id, _epoch_metrics(entry))
            except MlflowException as error:
                self._logging = False
                say(f"live logging stopped, track will catch up: {error}", file=sys.stderr)

    def trained(self, model_digest: str) -> None:
        """Records which model this run trained, so that `finish` recognises it."""
        write_json(self._note, {"run_id": self._run_id, "model_digest": model_digest})

    def end(self, status: Literal["FAILED", "KILLED"]) -> None:
        """Ends the run of a training that failed or was stopped.

        Raises:
            ArtefactError: the tracking store cannot be reached.
        """
        self._note.unlink(missing_ok=True)
        with store() as client:
            client.set_terminated(self._run_id, status)


def finish(dataset: str, params: Mapping[str, Any], result: Result) -> str:
    """Finishes the run that trained this model, or logs a new run if there is none, as for a restored experiment.

    If a killed command finished the run of this result already, nothing is logged.

    Returns:
        The run's id.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    noted = read_json(note(dataset)) if note(dataset).exists() else {}
    restored = noted.get("model_digest") != result.model_digest
    if restored:
        noted = {}
    differing = description.changed(params)
    with store() as client:
        run_id = noted.get("run_id")
        if run_id is not None and not _reopen(client, run_id):
            run_id, restored = None, True
        if restored and (finished := _finished_before(client, dataset)):
            return finished
        if run_id is None:
            run_id = _create(client, dataset, params, differing, noted.get("started_ms"))
            if not restored:
                write_json(note(dataset), {**noted, "run_id": run_id})
        try:
            client.set_tag(run_id, "restored", str(restored).lower())
            _log(client, run_id, params, differing, result)
        except MlflowException:
            raise  # a silent store would be waited for once more; the next command ends the run
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        note(dataset).unlink(missing_ok=True)
        close_abandoned(client)
    return run_id


def fail(run_id: str) -> None:
    """Ends a run as FAILED, if it has not ended. Its note stays: `finish` may reopen it.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    with store() as client:
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "FAILED")


def close_abandoned(client: MlflowClient) -> None:
    """Ends runs as KILLED if their process is gone: a `kill -9` leaves no other trace."""
    experiments = client.search_experiments(filter_string="name LIKE 'bottletop/%'")
    if experiments:
        ids = [experiment.experiment_id for experiment in experiments]
        for run in client.search_runs(ids, "attributes.status = 'RUNNING'"):
            if is_gone(run.data.tags):
                client.set_terminated(run.info.run_id, "KILLED")


def experiment(client: MlflowClient, dataset: str, differing: Iterable[str]) -> str:
    """The id of the dataset's MLflow experiment, whose views then have a column for each of these params."""
    name = f"bottletop/{dataset}"
    found = client.get_experiment_by_name(name)
    if found is None:
        artefacts = relocation.artefacts() if database(tracking_uri()) is not None else None
        try:
            return str(client.create_experiment(name, artefacts, {**KIND, **columns.tags(differing, {})}))
        except MlflowException:  # another process created it first
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    for tag, value in columns.tags(differing, found.tags).items():
        client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _log(
    client: MlflowClient, run_id: str, params: Mapping[str, Any], differing: Mapping[str, str], result: Result
) -> None:
    run = client.get_run(run_id)
    dataset = run.data.tags["dataset"]
    report, model = result.artefacts.get("report"), result.artefacts.get("model")
    data = logged_data.used(dataset, result.data_digest, str(params.get("source")), report)
    client.log_inputs(run_id, [data])
    links = logged_model.create(client, run, data.dataset, differing) if model is not None else {}
    _log_metrics(client, run_id, result, links)
    digests = {"data_digest": result.data_digest, "weights_digest": result.weights_digest}
    tags = {**lock_tags(dataset), **digests, "model_digest": result.model_digest}
    tags[description.NOTE] = description.text(run, differing, result.metrics, report)
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    with uploading(), transfer(f"the artefacts of run {run_id}"):
        for folder, path in result.artefacts.items():
            if path.is_dir():
                client.log_artifacts(run_id, str(path), folder)
            else:
                client.log_artifact(run_id, str(path), folder)
        if model is not None:
            logged_model.finish(client, links["model_id"], run_id, model)


def _log_metrics(client: MlflowClient, run_id: str, result: Result, links: Mapping[str, str]) -> None:
    logged = {metric.step for metric in client.get_metric_history(run_id, "epoch_val_loss")}
    now = int(time.time() * 1000)
    points = [point for entry in result.history if entry["epoch"] not in logged for point in _epoch_metrics(entry)]
    points += [Metric(name, value, now, 0, **links) for name, value in result.metrics.items()]
    for start in range(0, len(points), METRICS_A_REQUEST):
        client.log_batch(run_id, metrics=points[start : start + METRICS_A_REQUEST])


def _create(
    client: MlflowClient,
    dataset: str,
    params: Mapping[str, Any],
    differing: Mapping[str, str],
    started_ms: int | None = None,
) -> str:
    folder = experiment(client, dataset, differing)
    tags = {**origin_tags(dataset), **owner_tags()}
    name = description.run_name(dataset, differing, tags[COMMIT])
    run_id = str(client.create_run(folder, started_ms, tags, name).info.run_id)
    flat = [Param(name, str(value)) for name, value in flatten(params)]
    for start in range(0, len(flat), PARAMS_A_REQUEST):
        client.log_batch(run_id, params=flat[start : start + PARAMS_A_REQUEST])
    return run_id


def _reopen(client: MlflowClient, run_id: str) -> bool:
    """Sets the run to RUNNING again; returns whether the run exists.

    If the command that trained was interrupted before `track`, another command may have ended its run.
    """
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False  # the tracking store is another one now, or the run was deleted
        raise
    return True


def _finished_before(client: MlflowClient, dataset: str) -> str | None:
    """The run of this result that a command finished which was killed before DVC noted that `track` had run.

    It is this clone's newest run of the experiment. An older one with the same result is another matter: it belongs to
    settings that the user has left and come back to.
    """
    folder = client.get_experiment_by_name(f"bottletop/{dataset}")
    if folder is None:
        return None
    named = client.search_runs([folder.experiment_id], f"tags.experiment = '{experiment_name()}'")  # the newest first
    newest = next((run for run in named if run.data.tags.get(FOLDER) == str(repository())), None)
    if newest is None or newest.info.status != "FINISHED" or not is_gone(newest.data.tags):
        return None
    result = {COMMIT: baseline(), **lock_tags(dataset)}
    return str(newest.info.run_id) if result.items() <= newest.data.tags.items() else None


def _epoch_metrics(entry: Mapping[str, float]) -> list[Metric]:
    """The validation loss comes first: the MLflow UI compares runs by the first metric that was logged."""
    now, epoch = int(time.time() * 1000), int(entry["epoch"])
    names = sorted(entry.keys() - {"epoch"}, reverse=True)
    return [Metric(f"epoch_{name}", entry[name], now, epoch) for name in names]
