import os
import signal
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from bottletop.core.errors import ArtefactError
from bottletop.core.files import read_json, write_text
from bottletop.tracking.live import Watcher
from bottletop.tracking.store import store as opened
from bottletop.tracking.store import tracking_uri
from tests.tiny import ROOT

EPOCH = {"epoch": 1.0, "loss": 2.0, "val_loss": 2.5}
DATASETS = ("watched", "failed", "stopped", "killed", "orphaned")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Creating a database takes a second, so that the tests share one."""
    folder = tmp_path_factory.mktemp("repository")
    write_text(folder / "params.yaml", "train: {epochs: 3}")
    write_text(
        folder / "datasets.yaml", "datasets: {" + ", ".join(f"{name}: {{source: {{}}}}" for name in DATASETS) + "}"
    )
    return folder


@pytest.fixture(autouse=True)
def store(_at_home, folder, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    return folder


def runs_of(dataset):
    with opened() as client:  # its lock: a watcher may be creating the database
        experiment = client.get_experiment_by_name(f"bottletop/{dataset}")
        return client.search_runs([experiment.experiment_id]) if experiment else []


def only_run(dataset):
    [run] = runs_of(dataset)
    return run


def wait_for_status(dataset, expected):
    until = time.monotonic() + 60
    while [run.info.status for run in runs_of(dataset)] != [expected]:
        assert time.monotonic() < until, runs_of(dataset)
        time.sleep(0.1)


def test_training_opens_a_run_logs_its_epochs_and_leaves_it_to_be_finished(store):
    with Watcher("watched") as watcher:
        watcher.opened()
        assert (only_run("watched").info.status, only_run("watched").data.params) == (
            "RUNNING",
            {"train.epochs": "3", "source": "{}"},
        )
        watcher.log_epoch(EPOCH)
        watcher.trained("this model")
    assert only_run("watched").data.metrics == {"epoch_loss": 2.0, "epoch_val_loss": 2.5}
    assert only_run("watched").info.status == "RUNNING"
    link = {"run_id": only_run("watched").info.run_id, "model_digest": "this model"}
    assert read_json(store / ".dvc/tmp/bottletop/watched.json") == link


@pytest.mark.parametrize(
    ("error", "dataset", "status"), [(ValueError, "failed", "FAILED"), (KeyboardInterrupt, "stopped", "KILLED")]
)
def test_a_training_that_fails_or_is_stopped_has_ended_its_run_before_it_ends(error, dataset, status):
    def train():
        with Watcher(dataset) as watcher:
            watcher.opened()
            watcher.trained("this model")  # even so late
            raise error

    with pytest.raises(error):
        train()
    assert only_run(dataset).info.status == status


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("when", ["watcher.opened()", "pass"], ids=["open", "not yet open"])
def test_a_killed_trainings_run_is_closed_at_once(folder, how, when):
    code = f"""
import time
from bottletop.tracking.live import Watcher
with Watcher("killed") as watcher:
    {when}
    print("now", flush=True)
    time.sleep(99)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE) as training:
        assert training.stdout.readline() == b"now\n"
        training.send_signal(how)
    wait_for_status("killed", "KILLED")
    MlflowClient(tracking_uri()).delete_run(only_run("killed").info.run_id)


def test_a_killed_watcher_is_mentioned_and_does_not_stop_training(capsys):
    with Watcher("orphaned") as watcher:
        watcher.opened()
        os.kill(watcher._process.pid, signal.SIGKILL)
        watcher._process.wait()
        watcher.log_epoch(EPOCH)
        watcher.trained("this model")
    assert only_run("orphaned").data.metrics == {}
    assert "live logging ended early: track will log a run of its own" in capsys.readouterr().err


@pytest.mark.timeout(120)
def test_a_store_that_cannot_be_reached_is_named_before_any_training(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with (
        pytest.raises(ArtefactError, match=r"the MLflow store http://\*\*\*@127.0.0.1:9 failed .*") as raised,
        Watcher("watched") as watcher,
    ):
        watcher.opened()
    assert "secret" not in str(raised.value)


def test_a_watcher_that_breaks_says_so_and_training_does_not_begin(capfd):
    with (
        pytest.raises(ArtefactError, match="the process that watches training for MLflow ended"),
        Watcher("?") as watcher,
    ):
        watcher.opened()
    assert "KeyError: '?'" in capfd.readouterr().err


def test_a_store_whose_lock_cannot_be_written_is_named_without_a_traceback(store, capfd):
    lock = store / "mlflow.db.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    try:
        with pytest.raises(ArtefactError, match=r"mlflow\.db\.lock"), Watcher("watched") as watcher:
            watcher.opened()
    finally:
        lock.rmdir()
    assert "Traceback" not in capfd.readouterr().err


def test_training_does_not_import_mlflow():
    modules = "kinds, training, cnn, finetuning"
    code = f"import sys, stages.train; from bottletop.models import {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "tensorflow" in done.stdout.split()
    assert not {"mlflow", "pandas", "sklearn"} & set(done.stdout.split())
