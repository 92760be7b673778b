from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.core.errors import ParamsError
from bottletop.core.paths import PARAMS
from bottletop.core.settings import read_yaml
from bottletop.experiments import recipes
from bottletop.experiments.grid import check
from tests.project import DATASET, run, tracked_runs

NAMES = [path.stem for path in sorted((samples.ROOT / "recipes").glob("*.yaml"))]


@pytest.mark.parametrize("name", NAMES)
def test_each_sets_only_what_params_yaml_has_to_values_that_are_allowed(name: str) -> None:
    params = read_yaml(PARAMS)
    overrides = recipes.settings(name)
    for key in overrides:
        section, _, setting = key.partition(".")
        assert section in params
        assert not setting or setting in params[section], key
    check(overrides, name)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_on_a_dataset_of_the_catalogue(name: str) -> None:
    assert set(recipes.settings(name)["datasets"]) <= set(read_yaml(Path("datasets.yaml"))["datasets"])


def test_the_list_has_a_line_for_each() -> None:
    assert [line.split()[0] for line in recipes.listing().splitlines()] == NAMES


def test_an_unknown_one_names_those_that_there_are() -> None:
    with pytest.raises(ParamsError, match=r"no recipe 'skin', only animals-bottleneck.* add recipes/skin\.yaml"):
        recipes.run("skin", [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=5", "no setting 'train.epoch': did you mean train.epochs"),
        ("train.epochs=0", "recipe animals-bottleneck: train.epochs must be a whole number from 1 on; got 0"),
        ("train.epochs=5,10", "'train.epochs=5,10' is not a setting with one value"),
        ("train.epochs", "'train.epochs' is not a setting with one value"),
    ],
)
def test_a_change_that_is_not_allowed_runs_nothing(change: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        recipes.run(NAMES[0], [change])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 5}", "no setting 'train.epoch': did you mean train.epochs"),
        ("trian: {epochs: 5}", "no setting 'trian.epochs': did you mean train.epochs"),
        ("train: {", "own.yaml is not valid YAML"),
    ],
)
def test_one_of_your_own_that_is_wrong_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text, message) -> None:
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        recipes.run("own", [])


@pytest.mark.parametrize("text", ["", "train: {epochs: 5}"])
def test_one_without_a_title_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    (tmp_path / "own.yaml").write_text(text)
    assert recipes.listing().strip() == "own"


@pytest.mark.slow
def test_one_runs_as_an_experiment_of_its_name_and_again_with_a_number(project: Path) -> None:
    recipe = {"title": "own", "datasets": [DATASET], "train": {"model": "cnn"}, "cnn": {"filters": [4], "pooling": 4}}
    recipe["evaluate"] = {"positive_classes": ["gelb und größer"]}
    (project / "recipes" / "own.yaml").write_text(yaml.safe_dump(recipe))
    results = project / "metrics/others/metrics.json"  # of a dataset that the recipe does not list
    results.parent.mkdir(parents=True)
    results.write_text("{}")
    samples.commit(project, "a recipe")
    output = run(project, "bottletop", "recipe", "own", "train.epochs=2")
    assert "dvc exp run --name own " in output
    assert results.exists()
    assert yaml.safe_load((project / "params.yaml").read_text())["evaluate"] == {
        **read_yaml(PARAMS)["evaluate"],
        **recipe["evaluate"],
    }
    run(project, "git", "checkout", ".")
    run(project, "make", "--old-file=install", "recipe", "NAME=own", "SET=train.epochs=3")
    assert sorted(run(project, "dvc", "exp", "list", "--name-only").split()) == ["own", "own-2"]
    assert [(each["name"], each["epochs"]) for each in tracked_runs(project)[1:]] == [("own", 2), ("own-2", 3)]
