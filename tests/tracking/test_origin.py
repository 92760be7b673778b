import subprocess
from pathlib import Path

import pytest

from bottletop.tracking.origin import experiment_name, lock_tags, origin_tags, tracked_params

LOCK = """
schema: '2.0'
stages:
  weights: {cmd: w, outs: [{path: a, md5: 1}]}
  train@cats: {cmd: t, outs: [{path: b, md5: 2}]}
  evaluate@cats: {cmd: e, outs: [{path: c, md5: 3}]}
  train@dogs: {cmd: t, outs: [{path: d, md5: 4}]}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for arguments in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", "-c", "user.name=me", "-c", "user.email=me@localhost", *arguments], check=True)
    return tmp_path


def test_a_plain_run_is_named_after_its_commit_and_an_experiment_after_itself(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert origin_tags("cats")["mlflow.source.git.commit"].startswith(experiment_name())
    monkeypatch.setenv("DVC_EXP_NAME", "tidy-otter")
    assert experiment_name() == "tidy-otter"


def test_an_experiments_commit_is_its_baseline(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "b" * 40)
    assert origin_tags("cats")["mlflow.source.git.commit"] == "b" * 40


def test_changes_that_are_not_committed_are_admitted(repository: Path) -> None:
    assert origin_tags("cats")["uncommitted_changes"] == "no"
    (repository / "params.yaml").touch()
    subprocess.run(["git", "add", "params.yaml"], check=True)
    assert origin_tags("cats")["uncommitted_changes"] == "yes"


def test_the_fingerprint_is_of_the_datasets_own_stages_alone(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(LOCK)
    (tmp_path / "two").write_text(LOCK.replace("md5: 4", "md5: 5"))
    (tmp_path / "three").write_text(LOCK.replace("md5: 3", "md5: 5"))
    one, two, three = (lock_tags("cats", tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert {name for name in one if one[name] != three[name]} == {"mlflow.dvc.evaluate", "dvc.fingerprint"}


def test_params_and_source_are_tracked_and_the_list_of_datasets_is_not(repository: Path) -> None:
    (repository / "params.yaml").write_text("datasets: [cats]\ntrain: {epochs: 5}\n")
    (repository / "datasets.yaml").write_text("datasets: {cats: {title: Cats, source: {folder: here}}}\n")
    assert tracked_params("cats") == {"train": {"epochs": 5}, "source": '{"folder": "here"}'}


def test_before_the_first_commit_the_commit_is_called_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (origin_tags("cats")["mlflow.source.git.commit"], experiment_name()) == ("none", "uncommitted")
