import os
import socket
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from bottletop.errors import ArtefactError
from bottletop.tracking import log_run, tracking_uri
from tests.tiny import ROOT

PARAMS = {"train": {"epochs": 3, "hidden": [100, 50], "patience": None}, "split": {"seed": 0}}
METRICS = {"accuracy": 0.9, "log_loss": 0.25}
HISTORY = [{"epoch": 1.0, "loss": 2.0, "val_loss": 2.5}, {"epoch": 2.0, "loss": 1.0, "val_loss": 1.5}]


def use_store(folder, patch):
    """Lets MLflow write to a database in `folder`, as if that were the main repository."""
    patch.setenv("DVC_ROOT", str(folder))
    patch.setenv("DVC_EXP_NAME", "tidy-otter")
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Creating a database takes a second, so that the tests share one."""
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(autouse=True)
def store(_at_home, folder, monkeypatch):
    use_store(folder, monkeypatch)
    return folder


@pytest.fixture(scope="module")
def run_id(folder):
    (folder / "report/plots").mkdir(parents=True)
    (folder / "report/metrics.json").write_text("{}")
    (folder / "report/plots/curves.png").write_bytes(b"png")
    (folder / "manifest.json").write_text("{}")
    artefacts = {"report": folder / "report", "data": folder / "manifest.json"}
    with pytest.MonkeyPatch.context() as patch:  # module fixtures come before `store`
        use_store(folder, patch)
        return log_run("animals", PARAMS, METRICS, HISTORY, artefacts)


@pytest.fixture
def run(run_id):
    return MlflowClient(tracking_uri()).get_run(run_id)


def runs(dataset):
    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(f"bottletop/{dataset}")
    return client.search_runs([experiment.experiment_id])


def test_one_finished_run_is_logged_in_the_datasets_experiment(run):
    assert run.info.status == "FINISHED"
    assert [found.info.run_id for found in runs("animals")] == [run.info.run_id]
    assert run.data.tags["dataset"] == "animals"


def test_the_run_is_named_after_the_experiment(run):
    assert run.info.run_name == "tidy-otter"


def test_params_are_logged_by_section_and_name(run):
    assert run.data.params == {
        "train.epochs": "3",
        "train.hidden": "[100, 50]",
        "train.patience": "None",
        "split.seed": "0",
    }


def test_metrics_and_those_of_each_epoch_are_logged(run):
    client = MlflowClient(tracking_uri())
    assert run.data.metrics == {**METRICS, "epoch_loss": 1.0, "epoch_val_loss": 1.5}
    history = client.get_metric_history(run.info.run_id, "epoch_val_loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.5), (2, 1.5)]


def test_files_and_folders_are_kept_beside_the_database(run, store):
    client = MlflowClient(tracking_uri())
    names = {item.path for folder in ("report", "data") for item in client.list_artifacts(run.info.run_id, folder)}
    assert names == {"report/metrics.json", "report/plots", "data/manifest.json"}
    assert list((store / "mlartifacts").rglob("curves.png"))


def test_the_commit_is_logged_where_there_is_one(monkeypatch, tmp_path):
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@localhost"]
    subprocess.run([*git, "init", "-q", tmp_path], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], cwd=tmp_path, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME")
    run = MlflowClient(tracking_uri()).get_run(log_run("commits", {"a": 1}, {}, [], {}))
    assert run.data.tags["mlflow.source.git.commit"] == commit.stdout.strip()
    assert commit.stdout.startswith(run.info.run_name)


def test_outside_git_a_run_is_called_uncommitted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert MlflowClient(tracking_uri()).get_run(log_run("commits", {}, {}, [], {})).info.run_name == "uncommitted"


def test_more_params_and_metrics_than_mlflow_takes_at_once_are_all_logged():
    params = {f"p{i}": i for i in range(250)}
    history = [{"epoch": epoch, "loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in range(1, 601)]
    client = MlflowClient(tracking_uri())
    run = client.get_run(log_run("large", params, {}, history, {}))
    assert len(run.data.params) == 250
    assert len(client.get_metric_history(run.info.run_id, "epoch_loss")) == 600


def test_a_run_that_could_not_be_logged_whole_is_marked_as_failed(store):
    with pytest.raises(FileNotFoundError):
        log_run("broken", PARAMS, METRICS, HISTORY, {"report": store / "missing.json"})
    [run] = runs("broken")
    assert run.info.status == "FAILED"


def test_the_store_is_one_database_in_the_main_repository_whatever_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/main/mlflow.db"
    monkeypatch.delenv("DVC_ROOT")
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_server_named_in_the_environment_is_used_instead(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri() == "http://127.0.0.1:5000"


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_is_named_within_seconds(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        began = time.monotonic()
        with pytest.raises(ArtefactError, match=rf"the MLflow store {address} failed .*check MLFLOW_TRACKING_URI"):
            log_run("animals", PARAMS, METRICS, HISTORY, {})
        assert time.monotonic() - began < 15


@pytest.mark.slow
def test_two_processes_may_create_the_store_at_once(tmp_path):
    code = "from bottletop.tracking import log_run; log_run('animals', {'a': 1}, {'b': 2.0}, [], {})"
    environment = {**os.environ, "DVC_ROOT": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("bottletop/animals")
    found = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]
