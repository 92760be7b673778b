"""Against a real git repository; what DVC itself writes is in test_sweeps.py."""

import pytest

from benchmarks import samples
from bottletop.core.errors import ArtefactError
from bottletop.experiments import refs
from bottletop.experiments.sweep import Sweep
from tests.project import make_shallow

LOCK = """\
schema: '2.0'
stages:
  train@animals:
    deps:
    - {path: bottletop/models/top.py, md5: aaa}
    - {path: data/splits/animals.csv, md5: bbb}
  download@animals:
    deps:
    - {path: fingerprints/animals.json, md5: ccc}
"""


@pytest.fixture
def commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("datasets: [animals]\ntrain: {epochs: 5, learning_rate: 1e-4}\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "metrics/animals").mkdir(parents=True)
    (tmp_path / "metrics/animals/metrics.json").write_text('{"val_accuracy": 0.75}')
    samples.git(tmp_path, "init", "--quiet")
    samples.commit(tmp_path, "start")
    return refs.workspace().baseline


def make(tmp_path, commit, name, text):
    (tmp_path / "params.yaml").write_text(text)
    samples.commit(tmp_path, name)
    samples.git(tmp_path, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}", "HEAD")
    samples.git(tmp_path, "reset", "--quiet", "--hard", commit)


def test_the_workspace_is_read_with_its_params_inputs_and_metrics(commit):
    found = refs.workspace()
    assert found.params == {"datasets": ["animals"], "train": {"epochs": 5, "learning_rate": 0.0001}}
    assert found.inputs == {"bottletop/models/top.py": "aaa", "fingerprints/animals.json": "ccc"}
    assert found.metrics == {"animals": {"val_accuracy": 0.75}}


def test_an_experiment_is_found_by_its_name_and_commit(commit, tmp_path):
    make(tmp_path, commit, "epochs=7,batch_size=8", "datasets: [animals]\ntrain: {epochs: 7}\n")
    found = refs.find(commit, "epochs=7,batch_size=8")
    assert found.params["train"] == {"epochs": 7}
    assert found.inputs == refs.workspace().inputs
    assert found.metrics == {"animals": {"val_accuracy": 0.75}}
    assert refs.find(commit, "epochs=7") is None
    assert refs.find("f" * 40, "epochs=7,batch_size=8") is None


def test_a_forgotten_one_is_gone_and_forgetting_again_does_no_harm(commit, tmp_path):
    make(tmp_path, commit, "epochs=7", "datasets: [animals]\ntrain: {epochs: 7}\n")
    refs.forget(commit, "epochs=7")
    refs.forget(commit, "epochs=7")
    assert refs.find(commit, "epochs=7") is None


def test_the_experiments_that_git_holds_are_listed(commit, tmp_path):
    make(tmp_path, commit, "epochs=7", "datasets: [animals]\ntrain: {epochs: 7}\n")
    [found] = refs.saved()
    assert (found.name, found.baseline) == ("epochs=7", commit)


def test_an_experiment_without_results_has_no_metrics(commit, tmp_path):
    (tmp_path / "metrics/animals/metrics.json").unlink()
    make(tmp_path, commit, "empty", "datasets: [animals]\n")
    assert refs.find(commit, "empty").metrics == {"animals": {}}


def test_settings_are_written_as_they_are():
    settings = {"train.hidden": [100, 50], "evaluate.positive_classes": ["bösartig"], "train.patience": None}
    assert refs.options(settings) == [
        *("-S", "train.hidden=[100, 50]"),
        *("-S", 'evaluate.positive_classes=["bösartig"]'),
        *("-S", "train.patience=null"),
    ]


@pytest.mark.parametrize("repository", [True, False])
def test_without_a_commit_the_message_says_what_to_do(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    if repository:
        samples.git(tmp_path, "init", "--quiet")
    with pytest.raises(ArtefactError, match="there is none: git add --all, then git commit"):
        refs.workspace()
    assert refs.saved() == []


def test_a_sweep_is_refused_in_a_shallow_clone_whose_experiments_dvc_would_lose(commit, tmp_path, tmp_path_factory):
    (tmp_path / "params.yaml").write_text("datasets: []")
    samples.commit(tmp_path, "second")
    refs.refuse_shallow()
    make_shallow(tmp_path, tmp_path_factory.mktemp("origin") / "bare")
    with pytest.raises(ArtefactError, match=r"DVC would lose experiments of .*: git fetch --unshallow"):
        Sweep(jobs=1, keep_open=0)
    samples.git(tmp_path, "fetch", "--quiet", "--unshallow")
    refs.refuse_shallow()
