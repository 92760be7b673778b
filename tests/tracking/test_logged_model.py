import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.models import Model
from PIL import Image

from bottletop.core.files import write_json
from bottletop.tracking import logged_model
from bottletop.tracking.runs import LiveRun, Result, finish
from bottletop.tracking.store import tracking_uri


@pytest.fixture
def log(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Logs a result with a model on pets; returns the run's id."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "model/top.json", {"class_names": ["cat", "dog"]})
    result = Result({"accuracy": 0.9}, [], {"model": tmp_path / "model"}, "m", "d" * 64, "none")
    return lambda: finish("pets", {"train": {"epochs": 5}}, result)


def models(client: MlflowClient) -> list[LoggedModel]:
    return client.search_logged_models([client.get_experiment_by_name("bottletop/pets").experiment_id])


def test_a_run_has_one_model_that_is_ready_and_knows_its_run_scores_and_data(log: Callable[[], str]) -> None:
    run_id = log()
    [model] = models(MlflowClient(tracking_uri()))
    [score] = model.metrics
    assert (model.name, model.status, model.source_run_id) == ("pets", "READY", run_id)
    assert (score.key, score.value, score.dataset_name, score.run_id) == ("accuracy", 0.9, "pets", run_id)
    run = MlflowClient(tracking_uri()).get_run(run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


def test_mlflow_reads_the_models_signature_and_an_example_that_is_a_picture(
    log: Callable[[], str], tmp_path: Path
) -> None:
    log()
    read = Model.load(next((tmp_path / "mlartifacts").rglob("MLmodel")))
    assert [column.name for column in read.signature.inputs] == ["image"]
    assert [column.name for column in read.signature.outputs] == ["class", "probabilities"]
    assert read.metadata == {"class_names": ["cat", "dog"]}
    example = json.loads(next((tmp_path / "mlartifacts").rglob("input_example.json")).read_text())
    assert Image.open(io.BytesIO(base64.b64decode(example["data"][0][0]))).size == (8, 8)


def test_a_track_that_is_killed_while_it_logs_the_model_leaves_one_that_the_next_finishes(
    log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveRun("pets", {})
    live.trained("m")
    with monkeypatch.context() as patch:
        patch.setattr(logged_model, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log()
    client = MlflowClient(tracking_uri())
    assert [model.status for model in models(client)] == ["PENDING"]
    assert log() == live._run_id
    assert [model.status for model in models(client)] == ["READY"]


def test_a_name_that_mlflow_refuses_is_written_with_dashes(log: Callable[[], str], tmp_path: Path) -> None:
    result = Result({}, [], {"model": tmp_path / "model"}, "m", "d" * 64, "none")
    log()
    run_id = finish("cats v1.5", {}, result)
    client = MlflowClient(tracking_uri())
    model_id = client.get_run(run_id).outputs.model_outputs[0].model_id
    assert client.get_logged_model(model_id).name == "cats v1-5"
