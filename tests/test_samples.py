"""The sample archives, downloaded over HTTP, all the way to a report."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import samples
from tests.project import run, tracked_runs

pytestmark = [pytest.mark.slow, pytest.mark.sample_data, pytest.mark.server]

# Test accuracy of the default params with the default seeds, less two standard deviations of a test set so small.
FLOORS = {"skin-cancer": 0.88, "animals-10": 0.94}


@pytest.fixture(scope="module")
def project(sample_archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    project = samples.copy_project(tmp_path_factory.mktemp("samples") / "project")
    with samples.served(sample_archives) as address:
        samples.use_samples(project, address)
        samples.activate(project, list(FLOORS))
        samples.commit(project, "samples")
        run(project, "dvc", "repro")
        yield project


@pytest.mark.parametrize("dataset", FLOORS)
def test_a_sample_is_classified_as_well_as_it_was_measured(project: Path, dataset: str) -> None:
    metrics = json.loads((project / "metrics" / dataset / "metrics.json").read_text())
    assert metrics["accuracy"] >= FLOORS[dataset]
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]


def test_every_dataset_has_a_finished_run(project: Path) -> None:
    assert [tracked["status"] for tracked in tracked_runs(project)] == ["FINISHED", "FINISHED"]


def test_malignant_is_the_positive_class(project: Path) -> None:
    details = json.loads((project / "metrics" / "skin-cancer" / "details.json").read_text())
    assert details["positive_class"] == "malignant"
    assert details["images"] == {"test": 80, "train": 288, "validation": 32}


def test_animals_have_their_english_names(project: Path) -> None:
    assert set(json.loads((project / "metrics" / "animals-10" / "data.json").read_text())["images_per_class"]) == {
        "cat",
        "dog",
    }
