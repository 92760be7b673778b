import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bottletop.tracking import sweeps
from bottletop.tracking.runs import Result, finish
from bottletop.tracking.store import tracking_uri
from tests.tiny import ROOT

SETTINGS = ["train.epochs=5,10", "train.batch_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating a database takes a second, so that the tests share one."""
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(autouse=True)
def store(_at_home: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)


def log(dataset: str, val_accuracy: float = 0.9) -> str:
    return finish(dataset, {}, Result({"val_accuracy": val_accuracy}, [], {}, "m", "d" * 64, "none"))


def run(run_id: str) -> Run:
    return MlflowClient(tracking_uri()).get_run(run_id)


def parent_of(run_id: str) -> Run:
    return run(run(run_id).data.tags["mlflow.parentRunId"])


def test_the_runs_of_a_sweep_are_below_one_that_is_finished_with_it() -> None:
    with sweeps.parents(["cats", "dogs"], SETTINGS):
        cats, dogs = [log("cats") for _ in range(2)], log("dogs")
        assert parent_of(dogs).info.status == "RUNNING"
    assert parent_of(cats[0]).info.run_id == parent_of(cats[1]).info.run_id != parent_of(dogs).info.run_id
    assert parent_of(cats[0]).info.run_name == "cats: sweep of train.epochs, train.batch_size"
    assert [parent_of(one).info.status for one in (*cats, dogs)] == ["FINISHED"] * 3


def test_a_run_after_the_sweep_does_not_belong_to_it() -> None:
    with sweeps.parents(["cats"], SETTINGS):
        pass
    assert "mlflow.parentRunId" not in run(log("cats")).data.tags


def test_the_sweeps_run_names_the_best_on_validation() -> None:
    with sweeps.parents(["named"], SETTINGS):
        best, _ = log("named", 0.95), log("named", 0.85)
    assert f"/runs/{best})" in parent_of(best).data.tags["mlflow.note.content"]


def test_a_sweep_that_goes_on_has_the_same_run_and_another_sweep_another() -> None:
    found = []
    for settings in (SETTINGS, SETTINGS, ["train.epochs=5"]):
        with sweeps.parents(["cats"], settings):
            found.append(parent_of(log("cats")).info.run_id)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_the_run_of_a_sweep_that_is_stopped_or_fails_says_so(error: type[BaseException], status: str) -> None:
    def sweep() -> None:
        with sweeps.parents(["cats"], [f"train.seed={status}"]):
            found.append(parent_of(log("cats")).info.run_id)
            raise error

    found: list[str] = []
    with pytest.raises(error):
        sweep()
    assert run(found[0]).info.status == status


@pytest.mark.slow
def test_the_run_of_a_sweep_that_was_killed_is_closed_by_the_next_command(folder: Path) -> None:
    code = "import os; from bottletop.tracking import sweeps\nwith sweeps.parents(['gone'], ['a=1']): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    log("gone")
    client = MlflowClient(tracking_uri())
    found = client.search_runs([client.get_experiment_by_name("bottletop/gone").experiment_id])
    assert {one.info.run_name.partition(" (")[0]: one.info.status for one in found} == {
        "gone: baseline": "FINISHED",
        "gone: sweep of a": "KILLED",
    }
