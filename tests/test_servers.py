"""One MLflow server for a team: every experiment is one run there, whichever way it is run."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks import samples
from benchmarks.mlflow_server import free_port, serving
from bottletop.core.errors import ArtefactError
from bottletop.tracking.runs import LiveRun, Result, finish
from tests import project as small
from tests.project import DATASET, run, set_param, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.server]


def sqlite_server(folder: Path, port: int | None = None) -> AbstractContextManager[str]:
    """A server as a team would run one: it alone has the database and the files."""
    folder.mkdir(exist_ok=True)
    destination = ("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"))
    return serving(folder, f"sqlite:///{folder}/server.db", *destination, port=port)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    with postgres(folder) as store:
        destination = ("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"))
        with serving(folder, store, *destination) as address:
            yield address


@contextmanager
def postgres(folder: Path, port: int | None = None) -> Iterator[str]:
    """A PostgreSQL server with the database in the folder, at first an empty one; MLflow's address of it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL's programs: apt-get install postgresql")
    programs, data, port = found[-1].parent, folder / "data", port or free_port()
    new = not data.exists()
    data.mkdir(parents=True, exist_ok=True)
    user: dict[str, object] = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in folder.parents[: len(folder.parents) - 2]:
            path.chmod(path.stat().st_mode | 0o011)
        shutil.chown(data, "postgres", "postgres")
    if new:
        subprocess.run(
            [programs / "initdb", "--auth", "trust", "--username", "mlflow", "--pgdata", data],
            check=True,
            capture_output=True,
            cwd=data,
            **user,
        )
    command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", data]
    with (folder / "postgres.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=data, **user)
    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        small.wait_for(lambda: server.poll() is not None or subprocess.run(ready, check=False).returncode == 0)
        assert server.poll() is None, (folder / "postgres.log").read_text()
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGQUIT)  # it closes its connections at once
        server.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of one, which commands of the project use."""
    with sqlite_server(tmp_path / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address


def runs(address: str) -> list[Run]:
    """The server's runs of the dataset, the oldest first."""
    client = MlflowClient(address)
    folder = client.get_experiment_by_name(f"bottletop/{DATASET}")
    return [] if folder is None else client.search_runs([folder.experiment_id], order_by=["start_time ASC"])


def epochs(address: str) -> int:
    """How many epochs the newest run has logged so far."""
    found = runs(address)
    history = MlflowClient(address).get_metric_history(found[-1].info.run_id, "epoch_val_loss") if found else []
    return len(history)


@pytest.mark.parametrize("kind", [sqlite_server, postgres_server])
def test_every_way_to_run_an_experiment_gives_one_finished_run_of_its_name(
    kind: object, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind(tmp_path / "server") as address:  # type: ignore[operator]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        commit = samples.git(project, "rev-parse", "--short", "HEAD")
        set_param(project, "train.seed", 1)
        run(project, "dvc", "repro")
        run(project, "dvc", "exp", "run", "--name", "here", "-S", "train.seed=2")
        run(project, "dvc", "exp", "run", "--temp", "--name", "aside", "-S", "train.seed=3")
        for seed in (4, 5):
            run(project, "dvc", "exp", "run", "--queue", "--name", f"queued-{seed}", "-S", f"train.seed={seed}")
        run(project, "dvc", "queue", "start", "--jobs", "2")
        small.wait_for(lambda: run(project, "dvc", "queue", "status").count("Success") == 2)
        found = {tracked.data.tags["experiment"]: tracked.info.status for tracked in runs(address)}
        assert found == dict.fromkeys([commit, "here", "aside", "queued-4", "queued-5"], "FINISHED")
        assert len(runs(address)) == 5
    assert len(small.tracked_runs(project)) == 1  # nothing more in the project's own database


def test_the_report_and_the_model_can_be_downloaded_from_the_server(project: Path, server: str, tmp_path: Path) -> None:
    run(project, "dvc", "exp", "run", "--temp", "--name", "aside", "-S", "train.seed=1")
    [tracked] = runs(server)
    assert tracked.info.artifact_uri.startswith("mlflow-artifacts:")
    fetched = Path(MlflowClient(server).download_artifacts(tracked.info.run_id, "", str(tmp_path)))
    scores = json.loads((fetched / "report/metrics.json").read_text())
    assert scores["accuracy"] == tracked.data.metrics["accuracy"]
    assert (fetched / "report/plots/confusion.png").read_bytes().startswith(b"\x89PNG")
    run(project, "dvc", "exp", "apply", "aside")
    assert (fetched / "model/top.keras").read_bytes() == (project / "data/models" / DATASET / "top.keras").read_bytes()


def test_epochs_are_seen_on_the_server_while_training_goes_on(project: Path, server: str) -> None:
    small.train_long(project)
    started = small.start(project, "dvc", "repro")
    try:
        small.wait_for(lambda: epochs(server) > 3)
        assert runs(server)[-1].info.status == "RUNNING"
    finally:
        small.kill_stage(started)
        started.wait()


def test_a_run_that_a_kill_left_on_the_server_is_closed_by_the_next_training(project: Path, server: str) -> None:
    small.train_long(project)
    started = small.start(project, "dvc", "repro")
    small.wait_for(lambda: epochs(server) > 1)
    small.kill_stage(started)
    started.wait()
    set_param(project, "train.epochs", 3)
    run(project, "dvc", "repro")
    assert sorted(tracked.info.status for tracked in runs(server)) == ["FINISHED", "KILLED"]


def test_a_pipeline_without_changes_needs_no_server(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    output = run(project, "dvc", "repro")
    assert stages_run(output) == []
    assert f"no MLflow server answers at {address}" in output


def test_a_server_that_is_down_is_mentioned_first_and_stops_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    set_param(project, "split.seed", 1)
    output = run(project, "dvc", "repro", check=False)
    assert output.index("no MLflow server answers") < output.index("Running stage 'split@patterns'")
    assert f"train@patterns: no MLflow server answers at {address}: check MLFLOW_TRACKING_URI" in output
    assert not (project / "data/models" / DATASET / "top.keras").exists()


def test_a_server_that_answers_is_not_warned_of(project: Path, server: str) -> None:
    assert "no MLflow server" not in run(project, "dvc", "repro")


def test_training_outlives_a_server_that_dies_and_only_track_is_left_for_when_it_is_back(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    small.train_long(project, epochs=1500)
    with sqlite_server(tmp_path / "server", port) as address:
        training = small.start(project, "dvc", "repro")
        small.wait_for(lambda: epochs(address) > 3)
    assert training.wait() != 0
    metrics = json.loads((project / "metrics" / DATASET / "metrics.json").read_text())
    with sqlite_server(tmp_path / "server", port) as address:
        assert [tracked.info.status for tracked in runs(address)] == ["RUNNING"]
        assert stages_run(run(project, "dvc", "repro")) == ["track"]
        [tracked] = runs(address)
        assert (tracked.info.status, tracked.data.metrics["accuracy"]) == ("FINISHED", metrics["accuracy"])
        assert epochs(address) == 1500
        assert stages_run(run(project, "dvc", "repro")) == []


def test_training_outlives_the_database_of_its_server_and_only_track_is_left_for_when_it_is_back(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.train_long(project, epochs=300)
    port, folder = free_port(), tmp_path / "server"
    with ExitStack() as database:
        store = database.enter_context(postgres(folder, port))
        destination = ("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"))
        with serving(folder, store, *destination) as address:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            training = small.start(project, "dvc", "repro")
            small.wait_for(lambda: epochs(address) > 3)
            database.close()
            assert training.wait() != 0
            with postgres(folder, port):
                assert stages_run(run(project, "dvc", "repro")) == ["track"]
                [tracked] = runs(address)
                assert (tracked.info.status, epochs(address)) == ("FINISHED", 300)


def test_a_server_that_falls_silent_is_given_up_within_20_seconds_by_training_and_by_track(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    epoch = {"epoch": 1.0, "loss": 2.0, "val_loss": 2.5}
    live = LiveRun(DATASET, {})
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        process.suspend()
    try:
        started = time.monotonic()
        live.log_epoch(epoch)
        assert time.monotonic() - started < 20
        assert "live logging stopped, track will catch up" in capsys.readouterr().err
        live.trained("this model")
        started = time.monotonic()
        with pytest.raises(ArtefactError, match="Read timed out"):
            finish(DATASET, {}, Result({}, [epoch], {}, "this model", "d" * 64, "none"))
        assert time.monotonic() - started < 20
    finally:
        for process in processes:
            process.resume()
