"""A network that was trained, and whose evaluation then fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bottletop.core.errors import DataError
from bottletop.core.files import write_json
from bottletop.tracking.live import failing, note
from bottletop.tracking.runs import LiveRun, Result, fail, finish
from bottletop.tracking.store import tracking_uri
from tests import project as small
from tests.project import DATASET, run, tracked_runs
from tests.tiny import ROOT


@pytest.fixture(autouse=True)
def store(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses() -> list[str]:
    client = MlflowClient(tracking_uri())
    folder = client.get_experiment_by_name("bottletop/cats")
    return [run.info.status for run in client.search_runs([folder.experiment_id])]


@pytest.mark.slow
def test_its_run_fails_at_once_and_is_finished_where_the_evaluation_succeeds_later() -> None:
    LiveRun("cats", {}).trained("digest")
    with pytest.raises(DataError, match="no image"), failing("cats"):
        raise DataError("no image")
    assert statuses() == ["FAILED"]
    finish("cats", {}, Result({}, [], {}, "digest", "d" * 64, "none"))
    assert statuses() == ["FINISHED"]


def test_a_run_that_has_ended_keeps_its_status() -> None:
    live = LiveRun("cats", {})
    live.trained("digest")
    MlflowClient(tracking_uri()).set_terminated(live._run_id, "KILLED")
    fail(live._run_id)
    assert statuses() == ["KILLED"]


@pytest.mark.parametrize("trained", [True, False], ids=["a regression", "nothing"])
def test_nothing_is_started_where_no_network_was_trained(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if trained:
        write_json(note("cats"), {"run_id": None, "model_digest": "digest", "started_ms": 0})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(DataError), failing("cats"):
        raise DataError("no image")


def test_an_evaluation_that_succeeds_loads_no_mlflow() -> None:
    code = "import sys, stages.evaluate; print(sorted(name for name in sys.modules if name == 'mlflow'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_the_pipeline_shows_it_as_failed_when_it_ends(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT")
    small.set_param(project, "train.optimiser", "adam")
    stage = project / "stages/evaluate.py"
    text = stage.read_text()
    stage.write_text(text.replace("    images, record = ", '    raise OSError("disk full")\n    images, record = '))
    assert f"evaluate@{DATASET}: OSError: disk full" in run(project, "dvc", "repro", check=False)
    assert [each["status"] for each in tracked_runs(project)] == ["FINISHED", "FAILED"]
    stage.write_text(text)
    run(project, "dvc", "repro")
    assert [each["status"] for each in tracked_runs(project)] == ["FINISHED", "FINISHED"]
