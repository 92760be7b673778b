import dataclasses
import os
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from bottletop.core.errors import ArtefactError
from bottletop.tracking.live import Unwatched
from bottletop.tracking.owner import FOLDER, HOST, STARTED, owner_tags
from bottletop.tracking.runs import LiveRun, Result, finish
from bottletop.tracking.store import tracking_uri
from tests.tiny import ROOT

PARAMS = {"train": {"epochs": 3, "hidden": [100, 50], "patience": None}, "split": {"seed": 0}}
METRICS = {"accuracy": 0.9, "log_loss": 0.25}
HISTORY = [{"epoch": 1.0, "loss": 2.0, "val_loss": 2.5}, {"epoch": 2.0, "loss": 1.0, "val_loss": 1.5}]


def result(metrics=METRICS, history=HISTORY, artefacts=(), model="this model"):
    return Result(metrics, history, dict(artefacts), model_digest=model, data_digest="d" * 64, weights_digest="w" * 64)


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
    monkeypatch.chdir(folder)
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
        patch.chdir(folder)
        return finish("animals", PARAMS, result(artefacts=artefacts))


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


def test_the_run_says_what_it_is_and_knows_its_experiment(run):
    assert (run.info.run_name, run.data.tags["experiment"]) == ("animals: baseline (uncommitted)", "tidy-otter")


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
    run = MlflowClient(tracking_uri()).get_run(finish("commits", {"a": 1}, result()))
    assert run.data.tags["mlflow.source.git.commit"] == commit.stdout.strip()
    assert run.info.run_name == f"commits: baseline ({commit.stdout[:7]})"


def test_outside_git_a_run_is_called_uncommitted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (
        MlflowClient(tracking_uri()).get_run(finish("commits", {}, result())).data.tags["experiment"] == "uncommitted"
    )


def test_more_params_and_metrics_than_mlflow_takes_at_once_are_all_logged():
    params = {f"p{i}": i for i in range(250)}
    history = [{"epoch": epoch, "loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in range(1, 601)]
    client = MlflowClient(tracking_uri())
    run = client.get_run(finish("large", params, result(history=history)))
    assert len(run.data.params) == 250
    assert len(client.get_metric_history(run.info.run_id, "epoch_loss")) == 600


def test_a_run_that_could_not_be_logged_whole_is_marked_as_failed(store):
    with pytest.raises(ArtefactError):
        finish("broken", PARAMS, result(artefacts={"report": store / "missing.json"}))
    [run] = runs("broken")
    assert run.info.status == "FAILED"


# A run's life: train opens it, track finishes it


def status(run_id):
    return MlflowClient(tracking_uri()).get_run(run_id).info.status


def only_run(dataset):
    [run] = runs(dataset)
    return run


def test_epochs_can_be_watched_while_training_goes_on():
    live = LiveRun("watched", PARAMS)
    live.log_epoch(HISTORY[0])
    assert only_run("watched").info.status == "RUNNING"
    assert only_run("watched").data.metrics == {"epoch_loss": 2.0, "epoch_val_loss": 2.5}


def test_the_first_metric_is_the_one_that_the_ui_should_compare_runs_by():
    live = LiveRun("ordered", PARAMS)
    live.log_epoch({"epoch": 1.0, "accuracy": 0.5, "loss": 2.0, "val_accuracy": 0.4, "val_loss": 2.5})
    live.trained("this model")
    finish("ordered", PARAMS, result())
    assert next(iter(only_run("ordered").data.metrics)) == "epoch_val_loss"


def test_the_run_that_training_opened_is_the_one_that_is_finished():
    live = LiveRun("adopted", PARAMS)
    for entry in HISTORY:
        live.log_epoch(entry)
    live.trained("this model")
    finish("adopted", PARAMS, result())
    run = only_run("adopted")
    assert (run.info.status, run.data.tags["restored"]) == ("FINISHED", "false")
    assert run.data.metrics["accuracy"] == 0.9
    history = MlflowClient(tracking_uri()).get_metric_history(run.info.run_id, "epoch_loss")
    assert [point.step for point in history] == [1, 2]  # none twice


def test_a_training_that_was_not_watched_has_a_whole_run_too_from_its_start_on():
    now = int(time.time() * 1000)
    with Unwatched("quick") as watcher:
        watcher.opened()
        watcher.log_epoch(HISTORY[0])
        watcher.trained("this model")
    time.sleep(0.05)
    finish("quick", PARAMS, result())
    run = only_run("quick")
    assert (run.info.status, run.data.tags["restored"]) == ("FINISHED", "false")
    assert now <= run.info.start_time <= run.info.end_time - 50
    assert next(iter(run.data.metrics)) == "epoch_val_loss"
    finish("quick", PARAMS, result())  # restored: nothing has trained it anew
    assert sorted(run.data.tags["restored"] for run in runs("quick")) == ["false", "true"]


def test_a_track_that_was_killed_while_it_logged_goes_on_with_its_run():
    with Unwatched("broken off") as watcher:
        watcher.trained("this model")
    with pytest.raises(KeyboardInterrupt):
        finish("broken off", PARAMS, dataclasses.replace(result(), artefacts=Stopped()))
    finish("broken off", PARAMS, result())
    assert (only_run("broken off").info.status, only_run("broken off").data.tags["restored"]) == ("FINISHED", "false")


class Stopped(dict):
    """Artefacts whose upload is interrupted."""

    def items(self):
        raise KeyboardInterrupt


def test_an_experiment_without_training_gets_a_run_of_its_own_marked_as_restored():
    live = LiveRun("restored", PARAMS)
    live.trained("this model")
    first = finish("restored", PARAMS, result())
    second = finish("restored", PARAMS, result())
    tags = MlflowClient(tracking_uri()).get_run(second).data.tags
    assert (first != second, tags["restored"]) == (True, "true")
    assert len(MlflowClient(tracking_uri()).get_metric_history(second, "epoch_loss")) == 2


def test_a_track_that_was_killed_after_it_had_finished_its_run_does_not_log_a_second_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(tracking_uri())
    first = finish("twice", PARAMS, result())
    client.set_tag(first, STARTED, "1.00")  # its command has ended
    assert finish("twice", PARAMS, result()) == first
    (tmp_path / "dvc.lock").write_text("stages: {train@twice: {outs: [{path: a, md5: b}]}}")
    second = finish("twice", PARAMS, result())
    client.set_tag(second, STARTED, "1.00")
    (tmp_path / "dvc.lock").unlink()  # the settings of the first again: the newest run is another result
    third = finish("twice", PARAMS, result())
    assert len({first, second, third}) == len(runs("twice")) == 3


def test_a_run_of_another_clone_is_not_taken_for_that_of_a_killed_track(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = finish("cloned", PARAMS, result())
    MlflowClient(tracking_uri()).set_tag(first, STARTED, "1.00")
    MlflowClient(tracking_uri()).set_tag(first, FOLDER, "/elsewhere")
    assert finish("cloned", PARAMS, result()) != first


def test_a_run_that_somebody_deleted_after_training_is_replaced_by_a_new_one():
    live = LiveRun("deleted", PARAMS)
    live.trained("this model")
    MlflowClient(tracking_uri()).delete_run(live._run_id)
    finish("deleted", PARAMS, result())
    assert (only_run("deleted").info.status, only_run("deleted").info.run_id != live._run_id) == ("FINISHED", True)


def test_a_run_is_never_adopted_by_another_model():
    live = LiveRun("other", PARAMS)
    live.trained("another model")
    finish("other", PARAMS, result())
    assert sorted(run.info.status for run in runs("other")) == ["FINISHED", "RUNNING"]


@pytest.mark.parametrize("ended", ["FAILED", "KILLED"])
def test_a_training_that_no_model_came_of_has_ended_its_run(ended):
    live = LiveRun(ended.lower(), PARAMS)
    live.trained("this model")
    live.end(ended)
    assert only_run(ended.lower()).info.status == ended
    finish(ended.lower(), PARAMS, result())
    assert sorted(run.info.status for run in runs(ended.lower())) == sorted([ended, "FINISHED"])


@pytest.mark.slow
def test_the_run_of_a_process_that_is_gone_is_ended_by_the_next_command(store):
    code = "from bottletop.tracking.runs import LiveRun; LiveRun('gone', {})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=store, env=environment, check=True)
    assert only_run("gone").info.status == "RUNNING"
    finish("next", PARAMS, result())
    assert only_run("gone").info.status == "KILLED"


def test_a_live_run_of_another_process_is_left_alone():
    client = MlflowClient(tracking_uri())
    LiveRun("alive", PARAMS)
    finish("next", PARAMS, result())
    assert only_run("alive").info.status == "RUNNING"
    elsewhere = client.create_run(only_run("alive").info.experiment_id, tags={**owner_tags(), HOST: "elsewhere"})
    finish("next", PARAMS, result())
    assert status(elsewhere.info.run_id) == "RUNNING"


def test_a_store_that_stops_answering_costs_the_live_curves_and_not_the_training(monkeypatch, capsys):
    live = LiveRun("silent", PARAMS)
    client = MlflowClient(tracking_uri())
    client.delete_run(only_run("silent").info.run_id)
    live.log_epoch(HISTORY[0])
    live.log_epoch(HISTORY[1])
    client.restore_run(live._run_id)
    live.trained("this model")
    assert capsys.readouterr().err.count("live logging stopped") == 1
    finish("silent", PARAMS, result())
    assert len(MlflowClient(tracking_uri()).get_metric_history(only_run("silent").info.run_id, "epoch_loss")) == 2


def test_where_a_result_came_from_is_in_its_tags(run):
    assert run.data.tags["experiment"] == "tidy-otter"
    assert {
        "machine",
        "mlflow.version.python",
        "mlflow.version.keras",
        "data_digest",
        "weights_digest",
        "dvc.fingerprint",
    } <= run.data.tags.keys()


def test_artefacts_on_s3_without_credentials_are_one_line_and_the_run_has_failed(folder, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))  # without anybody's credentials
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    LiveRun("nothing", {})  # makes the store
    client = MlflowClient(tracking_uri())
    place = client.create_experiment("bottletop/far", "s3://bucket-of-nobody/far")
    (folder / "far.json").write_text("{}")
    with pytest.raises(
        ArtefactError, match=r"^files can't be copied .*NoCredentialsError: Unable to locate credentials"
    ):
        finish("far", PARAMS, result(artefacts={"data": folder / "far.json"}))
    assert [run.info.status for run in client.search_runs([place])] == ["FAILED"]


def test_only_tags_that_a_reader_needs_are_in_sight_as_the_ui_hides_those_of_mlflow(run):
    shown = {name for name in run.data.tags if not name.startswith("mlflow.")}
    digests = {"data_digest", "weights_digest", "model_digest", "dvc.fingerprint"}
    assert shown == {"dataset", "experiment", "uncommitted_changes", "machine", "restored", *digests}
