import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from bottletop.core.files import write_json
from bottletop.tracking import logged_data
from bottletop.tracking.runs import Result, finish
from bottletop.tracking.store import tracking_uri

HTTP = json.dumps({"urls": ["https://example.org/cats.zip", "https://mirror.example/cats.zip"]})


@pytest.fixture
def report(tmp_path: Path) -> Path:
    write_json(tmp_path / "data.json", {"images": 5, "images_per_class": {"cat": 3, "dog": 2}})
    write_json(tmp_path / "details.json", {"images": {"test": 1, "train": 3, "validation": 1}})
    return tmp_path


def test_a_dataset_has_its_images_by_class_and_each_run_its_splits(report: Path) -> None:
    used = logged_data.used("pets", "d" * 64, "{}", report)
    assert json.loads(used.dataset.profile) == {"num_rows": 5, "images_per_class": {"cat": 3, "dog": 2}}
    assert [tag.value for tag in used.tags] == ["3 train, 1 validation, 1 test"]
    names = [column["name"] for column in json.loads(used.dataset.schema)["mlflow_colspec"]]
    assert names == ["image", "class"]


@pytest.mark.parametrize(
    ("source", "kind", "place"),
    [
        (HTTP, "http", {"url": "https://example.org/cats.zip"}),
        ('{"folder": "photos"}', "local", {"uri": "data/images/pets"}),
        ('{"urls": ["file:///cats.zip"]}', "local", {"uri": "data/images/pets"}),
        (HTTP[:20], "local", {"uri": "data/images/pets"}),  # as of a source that is longer than a param may be
        ("None", "local", {"uri": "data/images/pets"}),
    ],
)
def test_a_datasets_source_is_one_that_mlflow_can_open(source: str, kind: str, place: dict[str, str]) -> None:
    dataset = logged_data.used("pets", "d" * 64, source, None).dataset
    assert (dataset.source_type, json.loads(dataset.source)) == (kind, place)
    assert mlflow.data.get_source(dataset)._get_source_type() == kind


@pytest.mark.usefixtures("_at_home")
def test_runs_are_found_by_the_name_and_the_digest_of_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    digests = ("a" * 64, "b" * 64)
    runs = [finish("pets", {}, Result({"accuracy": 0.9}, [], {}, "m", digest, "none")) for digest in digests]
    client = MlflowClient(tracking_uri())
    folder = client.get_experiment_by_name("bottletop/pets").experiment_id

    def found(condition: str) -> list[str]:
        return [run.info.run_id for run in client.search_runs([folder], condition)]

    assert sorted(found("dataset.name = 'pets'")) == sorted(runs)
    assert found(f"dataset.digest = '{'b' * 36}'") == runs[1:]
    assert found("dataset.name = 'other'") == []
