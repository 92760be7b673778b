"""A clone that is moved or copied: its runs, models and artefacts are found in the new place."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bottletop.tracking.relocation import former_places
from bottletop.tracking.runs import Result, finish
from bottletop.tracking.store import store


def log(clone, patch, dataset="animals"):
    """A run with a report, logged in the clone."""
    patch.setenv("DVC_ROOT", str(clone))
    patch.chdir(clone)
    (clone / "report.txt").write_text(dataset)
    return finish(dataset, {}, Result({}, [], {"report": clone / "report.txt"}, dataset, "d" * 64, "none"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A clone with one run and a model that is registered from its artefacts, and the run's id."""
    clone = tmp_path_factory.mktemp("made") / "100 % mine"
    clone.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_id = log(clone, patch)
        with store() as client:
            client.create_registered_model("animals")
            client.create_model_version("animals", f"{client.get_run(run_id).info.artifact_uri}/report", run_id)
    return clone, run_id


@pytest.fixture
def moved(made, tmp_path, monkeypatch):
    """The clone in another place, where it has no artefacts of its former place to fall back on; and the run's id."""
    clone, run_id = made
    shutil.copytree(clone, tmp_path / "clone")
    clone.rename(clone.with_name("hidden"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))
    yield tmp_path / "clone", run_id
    shutil.rmtree(clone, ignore_errors=True)
    clone.with_name("hidden").rename(clone)


def text(client, run_id, path, folder):
    folder.mkdir()
    return Path(client.download_artifacts(run_id, path, str(folder))).read_text()


def test_a_moved_clone_finds_its_artefacts_and_models_and_does_not_make_its_old_folder_again(
    made, moved, tmp_path, monkeypatch, capsys
):
    clone, first = moved
    second = log(clone, monkeypatch, "flowers")
    third = log(clone, monkeypatch)
    with store() as client:
        for run_id, expected in ((first, "animals"), (second, "flowers"), (third, "animals")):
            assert text(client, run_id, "report/report.txt", tmp_path / run_id) == expected
        assert client.get_model_version_download_uri("animals", "1").startswith(clone.as_uri())
    assert not made[0].exists()
    assert capsys.readouterr().err.count(f"MLflow's artefacts are in {clone}/mlartifacts now") == 1


def test_what_was_written_to_the_old_place_after_the_move_is_brought_along(made, moved, tmp_path, monkeypatch):
    clone, _ = moved
    client = MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("bottletop/animals")
    late = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(late, "late", "note.txt")
    assert list(made[0].rglob("note.txt"))  # MLflow has made the old folder again
    with store() as client:
        assert text(client, late, "note.txt", tmp_path / "fetched") == "late"
        assert client.get_run(late).info.artifact_uri.startswith(clone.as_uri())


def test_a_team_s_database_elsewhere_keeps_its_places(made, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert former_places(made[0] / "mlflow.db") == []


@pytest.mark.parametrize("place", ["s3://bucket/mlartifacts", "file:///elsewhere/results"])
def test_artefacts_that_somebody_keeps_elsewhere_stay_there(place, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with store() as client:
        client.create_experiment("bottletop/animals", place)
    with store() as client:
        assert client.get_experiment_by_name("bottletop/animals").artifact_location == place


def test_an_empty_database_has_no_former_places(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "mlflow.db").touch()
    assert former_places(tmp_path / "mlflow.db") == []
