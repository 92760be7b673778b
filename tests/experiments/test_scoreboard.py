import json
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.cli import main

PARAMS = {"datasets": ["animals"], "train": {"epochs": 60, "hidden": [], "l2": "auto"}, "split": {"seed": 0}}
WIDE = {f"setting_{number}": 0 for number in range(20)}


@pytest.fixture(autouse=True)
def repository(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose workspace has results, and a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write(PARAMS, {"animals": (0.9, 0.5)})
    samples.git(tmp_path, "init", "--quiet")
    samples.commit(tmp_path, "start")
    return tmp_path


def write(params: dict, scores: dict[str, tuple[float, float]]) -> None:
    """Settings, and the accuracy on validation and on test images by dataset."""
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for dataset, (validation, test) in scores.items():
        Path("metrics", dataset).mkdir(parents=True, exist_ok=True)
        metrics = {"val_accuracy": validation, "val_log_loss": 1 - validation, "accuracy": test}
        Path("metrics", dataset, "metrics.json").write_text(json.dumps(metrics))


def save(name: str, scores: dict[str, tuple[float, float]], **train: object) -> None:
    """An experiment on the current commit, as DVC keeps it."""
    folder = Path.cwd()
    start = samples.git(folder, "rev-parse", "HEAD")
    write({**PARAMS, "datasets": list(scores), "train": {**PARAMS["train"], **train}}, scores)
    samples.commit(folder, name)
    samples.git(folder, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", "HEAD")
    samples.git(folder, "reset", "--quiet", "--hard", start)


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    main(["experiments"])
    return capsys.readouterr().out.splitlines()


def test_scores_and_swept_settings_come_first_and_the_best_on_validation_stands_at_the_top(capsys) -> None:
    save("epochs=5,l2=0.001", {"animals": (0.8, 0.7)}, epochs=5, l2=0.001)
    save("epochs=20,l2=0.001", {"animals": (0.95, 0.6)}, epochs=20, l2=0.001)
    assert printed(capsys) == [
        "val         test        epochs    l2     experiment",
        "accuracy    accuracy",
        "----------  ----------  --------  -----  ------------------",
        "95.0%       60.0%       20        0.001  epochs=20,l2=0.001",
        "90.0%       50.0%       60        auto   workspace",
        "80.0%       70.0%       5         0.001  epochs=5,l2=0.001",
    ]


def test_settings_of_other_sections_have_their_section_above(capsys, repository: Path) -> None:
    save("seed", {"animals": (0.8, 0.7)})
    params = {**PARAMS, "split": {"seed": 3}}
    (repository / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    heading = [line.split() for line in printed(capsys)[:2]]
    assert heading == [["val", "test", "split.", "experiment"], ["accuracy", "accuracy", "seed"]]


def test_settings_that_do_not_fit_are_named_below_and_the_name_is_whole(capsys) -> None:
    save("a-recipe-of-a-very-long-name", {"animals": (0.8, 0.7)}, **WIDE)
    table, told = printed(capsys)[:-1], printed(capsys)[-1]
    assert table[-1].endswith("  a-recipe-of-a-very-long-name")
    assert 60 < table[0].index("experiment") <= 70
    assert told.startswith("these settings differ too: train.setting_")
    assert told.endswith("more; bottletop runs NAME shows all of one")


def test_without_a_terminal_all_settings_are_columns(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    save("recipe", {"animals": (0.8, 0.7)}, **WIDE)
    assert all(name in printed(capsys)[0] for name in WIDE)


def test_each_dataset_has_lines_of_its_own(capsys) -> None:
    save("both", {"animals": (0.8, 0.7), "food": (0.6, 0.5)})
    assert [line.split() for line in printed(capsys)[3:]] == [
        ["animals", "90.0%", "50.0%", "workspace"],
        ["animals", "80.0%", "70.0%", "both"],
        ["food", "60.0%", "50.0%", "both"],
    ]


def test_scores_of_the_workspace_that_are_older_than_its_settings_are_not_shown(capsys, repository: Path) -> None:
    save("recipe", {"animals": (0.8, 0.7)})
    stage = {"cmd": "", "params": {"params.yaml": {"train.epochs": 5}}}
    (repository / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train@animals": stage}}))
    lines = printed(capsys)
    assert [line.split() for line in lines[3:5]] == [["80.0%", "70.0%", "recipe"], ["-", "-", "workspace"]]
    assert lines[5] == "workspace: train.epochs changed since its results: run dvc repro"


def test_experiments_on_other_commits_are_counted(capsys, repository: Path) -> None:
    save("earlier", {"animals": (0.8, 0.7)})
    samples.git(repository, "-c", "user.name=me", "-c", "user.email=me@x", "commit", "-qm", "next", "--allow-empty")
    assert printed(capsys)[-2:] == [
        "no experiments on this commit yet: dvc exp run --temp -S SETTING=VALUE, or bottletop sweep",
        "1 more started from other commits: bottletop runs lists them",
    ]


def test_a_project_without_results_has_an_empty_workspace(capsys, repository: Path) -> None:
    (repository / "metrics/animals/metrics.json").unlink()
    assert printed(capsys)[3].split() == ["-", "-", "workspace"]


def test_outside_a_commit_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    samples.git(Path.cwd(), "init", "--quiet")
    with pytest.raises(SystemExit, match="experiments start from a commit, and there is none: git add --all"):
        main(["experiments"])
