"""A trained model as MLflow's page of models lists it: linked to its run, data and scores, with its signature.

The model's files stay among the run's artefacts. `bottletop export` makes a model of them that MLflow can serve.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.version import VERSION

from bottletop.core.files import read_json
from bottletop.tracking.description import NOTE

INPUTS = [{"name": "image", "type": "binary", "required": True}]
PROBABILITIES = {"type": "map", "values": {"type": "double", "required": True}}
OUTPUTS = [
    {"name": "class", "type": "string", "required": True},
    {"name": "probabilities", **PROBABILITIES, "required": True},
]
EXAMPLE = "input_example.json"
BLANK = (  # a white picture of 8 x 8 pixels: PNG, in base64
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mP8zwABTAwUMQBJQQEPkWFcdwAAAABJRU5ErkJggg=="
)


def create(client: MlflowClient, run: Run, data: Dataset, params: Mapping[str, str]) -> dict[str, str]:
    """Announces the model of a run, unless a command that was killed has done so.

    Args:
        client: of the tracking store.
        run: the run that trained it.
        data: the dataset that it was trained on, whose name it gets.
        params: the settings to show beside it.

    Returns:
        What links a metric to the model, its data and its run: more arguments of MLflow's `Metric`.
    """
    run_id = run.info.run_id
    if run.outputs is not None and run.outputs.model_outputs:
        model_id = run.outputs.model_outputs[0].model_id
    else:
        name = re.sub(r"[/:.%\"']", "-", data.name)  # MLflow allows none of these
        folder = run.info.experiment_id
        model_id = client.create_logged_model(folder, name, run_id, {NOTE: _use(run_id)}, dict(params)).model_id
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    return {"model_id": model_id, "dataset_name": data.name, "dataset_digest": data.digest, "run_id": run_id}


def finish(client: MlflowClient, model_id: str, run_id: str, files: Path) -> None:
    """Logs what the model takes and gives, and marks it as ready.

    Args:
        client: of the tracking store.
        model_id: as of `create`.
        run_id: of the run that trained it.
        files: the model's folder, with top.json.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _describe(Path(scratch), model_id, run_id, files)
        client.log_model_artifacts(model_id, scratch)
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)


def _use(run_id: str) -> str:
    return (
        f"`bottletop predict --run {run_id} IMAGE`; `bottletop export --run {run_id}` makes an MLflow model to serve."
    )


def _describe(folder: Path, model_id: str, run_id: str, files: Path) -> None:
    """Writes MLflow's description of a model, and an example of its input."""
    description = {
        "flavors": {"bottletop": {"predict": f"bottletop predict --run {run_id} IMAGE"}},
        "metadata": {"class_names": read_json(files / "top.json")["class_names"]},
        "mlflow_version": VERSION,
        "model_id": model_id,
        "run_id": run_id,
        "saved_input_example_info": {"artifact_path": EXAMPLE, "pandas_orient": "split", "type": "dataframe"},
        "signature": {"inputs": json.dumps(INPUTS), "outputs": json.dumps(OUTPUTS), "params": None},
        "utc_time_created": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")
    (folder / EXAMPLE).write_text(json.dumps({"columns": ["image"], "data": [[BLANK]]}), encoding="utf-8")
