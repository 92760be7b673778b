import subprocess
from pathlib import Path

import pytest
from mlflow.entities import Run, RunData, RunInfo

from bottletop.tracking import description
from bottletop.tracking.origin import baseline

COMMITTED = "datasets: [cats]\ntrain: {epochs: 60, hidden: [], optimiser: auto}\nsplit: {seed: 0}\n"
RUN = Run(RunInfo("2a2e", "7", "me", "FINISHED", 0, 0, "active"), RunData())
METRICS = {"accuracy": 0.98324, "accuracy_low": 0.951891, "accuracy_high": 1.0, "val_accuracy": 0.989}


@pytest.fixture(autouse=True)
def repository(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    return tmp_path


def commit(text: str) -> str:
    Path("params.yaml").write_text(text)
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@localhost")
    for command in (("init", "-q"), ("add", "params.yaml"), ("commit", "-q", "-m", "params")):
        subprocess.run([*git, *command], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def named(**train: object) -> str:
    params = {"train": {"epochs": 60, "hidden": [], "optimiser": "auto", **train}, "split": {"seed": 0}, "source": "{}"}
    return description.run_name("cats", description.changed(params), baseline())


def test_a_run_is_named_by_the_settings_that_differ_from_the_commits() -> None:
    commit(COMMITTED)
    assert named(epochs=20, hidden=[100, 50]) == "cats: train.epochs=20, train.hidden=[100, 50]"


def test_an_experiments_settings_are_compared_with_those_of_the_commit_that_it_started_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = commit(COMMITTED)
    second = commit(COMMITTED.replace("60", "20"))
    assert named(epochs=20) == f"cats: baseline ({second[:7]})"
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", first)
    assert named(epochs=20) == "cats: train.epochs=20"


def test_without_a_change_a_run_is_the_baseline_of_its_commit() -> None:
    commit_id = commit(COMMITTED)
    assert named() == f"cats: baseline ({commit_id[:7]})"


def test_before_the_first_commit_a_run_is_an_uncommitted_baseline() -> None:
    assert named(epochs=20) == "cats: baseline (uncommitted)"


@pytest.mark.parametrize("text", ["", "[", "- 1\n", "train: 5\n", "just text", "\x00", "train: {epochs: {a: b}}"])
def test_no_run_fails_for_what_is_committed_as_params(text: str) -> None:
    commit(text + "\n# so that it is not empty\n")
    assert named(epochs=20).startswith("cats: ")


def test_a_name_of_many_settings_is_cut_between_two_words() -> None:
    commit(COMMITTED)
    name = named(epochs=20, hidden=list(range(60)))
    assert name.startswith("cats: train.epochs=20, train.hidden=[0, 1,")
    assert name.endswith(" …")
    assert len(name) <= 120


def test_the_description_begins_with_the_accuracy_and_lists_what_was_changed(tmp_path: Path) -> None:
    text = description.text(RUN, {"train.epochs": "20"}, METRICS, tmp_path)
    assert text == (
        "**98.3% test accuracy** (95 % interval 95.2% to 100.0%) and 98.9% on validation.\n\n"
        "Settings that differ from params.yaml in the commit:\n\n- train.epochs: 20"
    )


def test_the_description_names_the_report_and_the_picture_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/confusion.png").touch()
    (tmp_path / "classification_report.txt").touch()
    text = description.text(RUN, {}, METRICS, tmp_path)
    assert "[Report](#/experiments/7/runs/2a2e/artifacts/report/classification_report.txt)" in text
    assert "![confusion matrix](get-artifact?path=report/plots/confusion.png&run_uuid=2a2e)" in text
    (tmp_path / "report.html").touch()
    assert "artifacts/report/report.html)" in description.text(RUN, {}, METRICS, tmp_path)


@pytest.mark.parametrize("value", ["<img src=x onerror=alert(1)>", "[a](javascript:b)", "`**_~|", "a\n# b", "\x1b[1m"])
def test_a_value_is_shown_as_it_is_and_never_taken_for_markdown_or_html(value: str) -> None:
    shown = description.text(RUN, {"evaluate.positive_classes": value}, METRICS, None).partition("classes: ")[2]
    assert not set(shown.replace("&#", "").replace(";", "")) & set("<>[]()`*_~|#&:/\\\"'\n\x1b")
