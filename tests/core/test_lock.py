from pathlib import Path

import pytest
import yaml

from bottletop.core.lock import TO_MODEL, TO_RESULTS, changes, shown

PARAMS = {"split": {"seed": 0}, "train": {"epochs": 5, "hidden": []}, "cnn": {"filters": [16]}, "evaluate": {"seed": 0}}
SOURCE = {"folder": "cats", "seed": 0}


def output(path: str, md5: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": md5}


def entry(outs: list[dict], deps: list[dict] = (), **params: object) -> dict:
    return {"outs": outs, "deps": list(deps), "params": {"params.yaml": params} if params else {}}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every stage has run with what params.yaml and datasets.yaml say."""
    monkeypatch.chdir(tmp_path)
    model = output("data/models/cats", "m1")
    stages = {
        "split@cats": entry([output("data/splits/cats.csv", "s1")], split=PARAMS["split"]),
        "train@cats": entry([model], train=PARAMS["train"], cnn=PARAMS["cnn"]),
        "evaluate@cats": entry([output("metrics/cats/plots", "p1")], [dict(model)], evaluate=PARAMS["evaluate"]),
        "train@dogs": entry([output("data/models/dogs", "m2")], train={"epochs": 77}),
        "download@cats": {"params": {"datasets.yaml": {"datasets.cats.source": SOURCE}}},
    }
    write("dvc.lock", {"stages": stages})
    write("params.yaml", PARAMS)
    write("datasets.yaml", {"datasets": {"cats": {"source": SOURCE}}})


def write(path: str, values: object) -> None:
    Path(path).write_text(yaml.safe_dump(values))


def test_nothing_has_changed_where_everything_is_as_it_was() -> None:
    assert changes("cats", TO_RESULTS) == []


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("split", {"seed": 1}, ["split.seed"]),
        ("train", {"epochs": 6, "hidden": [10]}, ["train.epochs", "train.hidden"]),
        ("cnn", {"filters": [8]}, ["cnn.filters"]),
        ("cnn", {}, ["cnn.filters"]),
        ("evaluate", {"seed": 9, "bootstrap": 5}, ["evaluate.bootstrap", "evaluate.seed"]),
    ],
)
def test_settings_that_changed_are_named(section: str, values: dict, expected: list[str]) -> None:
    write("params.yaml", {**PARAMS, section: values})
    assert sorted(changes("cats", TO_RESULTS)) == expected


def test_a_changed_source_of_the_images_is_named() -> None:
    write("datasets.yaml", {"datasets": {"cats": {"source": {**SOURCE, "folder": "lions"}}}})
    assert changes("cats", TO_RESULTS) == ["datasets.cats.source.folder"]


def test_a_model_does_not_depend_on_how_it_is_evaluated() -> None:
    write("params.yaml", {**PARAMS, "evaluate": {"seed": 9}})
    assert changes("cats", TO_MODEL) == []


def test_a_model_that_was_trained_after_the_last_evaluation_is_named() -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["train@cats"]["outs"][0]["md5"] = "m9"
    write("dvc.lock", lock)
    assert changes("cats", TO_RESULTS) == ["data/models/cats"]


def test_where_nothing_has_run_nothing_is_known() -> None:
    Path("dvc.lock").unlink()
    assert changes("cats", TO_RESULTS) == []


def test_of_many_the_first_are_shown() -> None:
    assert shown(["a", "b"]) == "a, b"
    assert shown([f"train.{letter}" for letter in "abcdef"]) == "train.a, train.b, train.c, train.d, and 2 more"
