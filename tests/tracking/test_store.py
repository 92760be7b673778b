"""Where the tracking store is, and that it is made whole or not at all."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from bottletop.core.errors import ArtefactError
from bottletop.tracking.runs import LiveRun
from bottletop.tracking.store import database, store, tracking_uri, uploading
from tests.tiny import ROOT

PARAMS = {"train": {"epochs": 3}}


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
@pytest.mark.timeout(60)  # MLflow's own retries take minutes
def test_a_server_that_cannot_be_reached_is_named_before_any_training(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(ArtefactError, match=rf"the MLflow store {address} failed .*check MLFLOW_TRACKING_URI"):
            LiveRun("animals", PARAMS)


@pytest.mark.slow
def test_a_server_that_takes_connections_and_says_nothing_is_given_up_within_20_seconds(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ArtefactError, match="Read timed out"):
            LiveRun("animals", PARAMS)
        assert time.monotonic() - started < 20


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_password_in_the_servers_address_is_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(ArtefactError, match=r"http://\*\*\*@127.0.0.1:9") as raised:
        LiveRun("animals", PARAMS)
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_two_processes_may_create_the_store_at_once(tmp_path):
    code = "from bottletop.tracking.runs import LiveRun; LiveRun('animals', {'a': 1})"
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("bottletop/animals")
    assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.mark.parametrize(("usual", "expected"), [("8", "60"), ("300", "300")])
def test_uploads_wait_longer_for_an_answer_unless_the_user_waits_longer_anyway(monkeypatch, usual, expected):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", usual)
    with uploading():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == expected
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == usual


def test_a_relative_path_of_a_database_is_taken_from_the_main_repository(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # while a temporary experiment runs elsewhere
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/runs/mlflow.db"


@pytest.mark.parametrize("name", ["a%20b", "why?", "100 %", "a#b"])
def test_the_database_is_in_the_repository_whatever_the_characters_of_its_path(monkeypatch, tmp_path, name):
    (tmp_path / name).mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / name))
    with store() as client:
        client.create_experiment("bottletop/animals")
    assert database(tracking_uri()) == tmp_path / name / "mlflow.db"
    assert (tmp_path / name / "mlflow.db").exists()
    assert len(list(tmp_path.rglob("mlflow.db"))) == 1  # MLflow makes an empty folder of the escaped name besides


def make_store(folder):
    """Runs in a process of its own."""
    os.environ["DVC_ROOT"] = str(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with store():
        pass


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none_or_a_whole_one(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])  # MLflow takes seconds to import
    for moment in range(6):
        folder = tmp_path / str(moment)
        folder.mkdir()
        process = processes.Process(target=make_store, args=(folder,))
        process.start()
        while process.is_alive() and not list(folder.glob(".mlflow.db.*.unfinished/mlflow.db")):
            time.sleep(0.01)
        time.sleep(0.2 * moment)  # the tables take a second or two
        process.kill()
        process.join()
        monkeypatch.setenv("DVC_ROOT", str(folder))
        with store():
            pass
        MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment("after the kill")
        assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
