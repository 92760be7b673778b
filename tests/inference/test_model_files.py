"""The models of versions, experiments, runs and the registry, in a project whose pipeline has run."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from mlflow import MlflowClient

from benchmarks import samples
from benchmarks.mlflow_server import serving
from bottletop.cli import main
from bottletop.core.paths import Paths
from bottletop.images.decoding import decode
from bottletop.images.index import read_index, read_shard
from tests import project as small
from tests.pictures import png
from tests.project import DATASET, run, set_param

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="finished")
def _finished(finished: small.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with results, committed, an experiment of another seed, and all of its test images in a folder."""
    project = small.copy(finished.folder, tmp_path_factory.mktemp("seen"))
    run(project, "dvc", "exp", "run", "--temp", "--name", "other", "-S", "train.seed=7", "-S", "train.epochs=9")
    images = Paths(DATASET).images
    rows = {row.source: row for row in read_index(project / images / "index.csv")}
    for name in predictions(project):
        [data] = read_shard(project / images / rows[name].shard, [rows[name]])
        (project / "seen" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "seen" / name).write_bytes(data)
    (project / "a.png").write_bytes(png(1))
    return project


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def predictions(project: Path) -> dict[str, list[float]]:
    """The pipeline's own probabilities of its test images."""
    with (project / "metrics" / DATASET / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["path"]: [float(value) for name, value in row.items() if name.startswith("p(")] for row in rows}


Predict = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    """What `bottletop predict --json` prints in a project; in this process, as TensorFlow takes seconds to start."""

    def predict(project: Path, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.chdir(project)
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(project / ".dvc/tmp/site"))
        main(["predict", "--json", *arguments])
        printed = capsys.readouterr()
        assert "changed since" not in printed.err
        found: list[dict[str, Any]] = json.loads(printed.out)
        return found

    return predict


def shares(found: list[dict[str, Any]]) -> list[list[float]]:
    return [[entry["probabilities"][name] for name in sorted(entry["probabilities"])] for entry in found]


def test_test_images_get_what_the_pipelines_predictions_say(finished: Path, predict: Predict) -> None:
    found = predict(finished, "seen")
    expected = predictions(finished)
    assert len(found) == len(expected) > 5
    for entry, values in zip(found, shares(found), strict=True):
        assert values == pytest.approx(expected[entry["image"].removeprefix("seen/")], abs=1e-5)


def test_the_exported_file_agrees_with_the_pipelines_predictions(
    finished: Path, tmp_path: Path, predict: Predict
) -> None:
    run(finished, "bottletop", "export", "--only", "keras", "--output", str(tmp_path))
    model = keras.saving.load_model(tmp_path / f"{DATASET}.keras", safe_mode=True)
    for name, expected in predictions(finished).items():
        picture = decode((finished / "seen" / name).read_bytes())
        found = model.predict(np.asarray(picture)[None], verbose=0)["probabilities"][0]
        assert list(found) == pytest.approx(expected, abs=1e-4)


def test_the_model_of_an_experiment_is_used_by_its_name_and_the_workspace_stays_as_it_is(
    finished: Path, predict: Predict
) -> None:
    before = samples.git(finished, "status", "--porcelain")
    other, head, here = (predict(finished, "a.png", *rev) for rev in (["--rev", "other"], ["--rev", "HEAD"], []))
    assert head == here
    assert np.abs(np.array(shares(other)) - shares(here)).max() > 1e-3
    assert samples.git(finished, "status", "--porcelain") == before


def test_a_version_is_used_where_nothing_is_checked_out(finished: Path, project: Path, predict: Predict) -> None:
    shutil.rmtree(project / "data")
    assert predict(project, "a.png", "--rev", "HEAD") == predict(finished, "a.png")


def test_a_version_that_is_in_no_cache_says_where_it_could_be(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    output = run(project, "bottletop", "predict", "a.png", "--rev", "other", check=False)
    assert "bottletop: there is no model of 'other' to be had" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("rev", ["nonsense", "HEAD~1"])
def test_a_version_that_there_is_not_or_without_a_model_is_one_line(finished: Path, rev: str) -> None:
    output = run(finished, "bottletop", "predict", "a.png", "--rev", rev, check=False)
    assert output.startswith(f"bottletop: there is no model of '{rev}' to be had")
    assert len(output.splitlines()) == 1


def test_the_model_of_a_run_is_used_by_its_experiments_name_or_the_start_of_its_id(
    finished: Path, predict: Predict
) -> None:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    folders = [one.experiment_id for one in client.search_experiments()]
    [found] = client.search_runs(folders, "tags.experiment = 'other'")
    by_rev = predict(finished, "a.png", "--rev", "other")
    assert predict(finished, "a.png", "--run", "other") == by_rev
    assert predict(finished, "a.png", "--run", found.info.run_id[:8]) == by_rev


def test_an_unknown_run_is_one_line(finished: Path) -> None:
    output = run(finished, "bottletop", "predict", "a.png", "--run", "nonsense", check=False)
    assert output == "bottletop: no finished MLflow run is called 'nonsense' or has such an id: bottletop runs --all\n"


def test_a_model_is_registered_with_the_run_that_trained_it_and_found_by_name_version_and_alias(
    project: Path, predict: Predict
) -> None:
    output = run(project, "bottletop", "export", "--only", "mlflow", "--register", "patterns")
    assert "registered as patterns, version 1" in output
    run(project, "bottletop", "export", "--only", "mlflow", "--rev", "other", "--register", "patterns")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    client.set_registered_model_alias("patterns", "champion", "1")
    versions = [client.get_model_version("patterns", version) for version in ("1", "2")]
    names = [client.get_run(one.run_id).data.tags["experiment"] for one in versions]
    assert names == [samples.git(project, "rev-parse", "--short", "HEAD~1"), "other"]
    here, other = predict(project, "a.png"), predict(project, "a.png", "--rev", "other")
    assert predict(project, "a.png", "--registered", "patterns") == other  # the last
    assert predict(project, "a.png", "--registered", "patterns/1") == here
    assert predict(project, "a.png", "--registered", "patterns@champion") == here


def test_a_registered_model_that_there_is_not_is_named(project: Path) -> None:
    output = run(project, "bottletop", "predict", "a.png", "--registered", "nonsense", check=False)
    last = output.splitlines()[-1]  # a line above says that the store follows the copied project
    assert last == "bottletop: no model is registered as 'nonsense', there are: none: bottletop export --register"


def test_a_model_that_no_run_trained_is_not_registered(project: Path) -> None:
    (project / "mlflow.db").unlink()
    output = run(project, "bottletop", "export", "--only", "mlflow", "--register", "patterns", check=False)
    assert "no run of the MLflow store trained the model in" in output


@pytest.mark.server
def test_a_teams_server_registers_models_and_gives_them_to_whoever_predicts(
    project: Path, tmp_path: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefacts = ("--serve-artifacts", "--artifacts-destination", str(tmp_path / "artifacts"))
    with serving(tmp_path, f"sqlite:///{tmp_path}/team.db", *artefacts) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        set_param(project, "train.seed", 3)
        run(project, "dvc", "repro")
        run(project, "bottletop", "export", "--only", "mlflow", "--register", "patterns")
        here = predict(project, "a.png")
        assert predict(project, "a.png", "--registered", "patterns") == here
        [found] = MlflowClient(address).search_model_versions("name = 'patterns'")
        assert predict(project, "a.png", "--run", str(found.run_id)) == here


def test_the_model_is_named_with_its_accuracy(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(project / ".dvc/tmp/site"))
    metrics = json.loads((project / "metrics" / DATASET / "metrics.json").read_text())
    score = f"{metrics['accuracy']:.1%} test accuracy (95 % interval {metrics['accuracy_low']:.1%} to "
    for options, source in (
        ((), "trained here"),
        (("--rev", "HEAD"), "of HEAD"),
        (("--run", "other"), "of other, run "),
    ):
        main(["predict", "a.png", *options])
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"model: {DATASET}, {source}")
        assert re.search(r"% test accuracy \(95 % interval .*%\)$", line)
        assert options == ("--run", "other") or score in line
