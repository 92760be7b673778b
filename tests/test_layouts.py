"""Datasets of other layouts than a folder per class, from the entry to the scores."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks import samples
from tests import project as small
from tests.pictures import encode, photo
from tests.project import run

PAGE = (samples.ROOT / "docs/datasets.md").read_text()

pytestmark = pytest.mark.slow


def add_entry(project: Path, entry: dict) -> None:
    catalogue = yaml.safe_load((project / "datasets.yaml").read_text())
    catalogue["datasets"] |= entry
    (project / "datasets.yaml").write_text(yaml.safe_dump(catalogue))


def test_the_commands_of_the_page_on_datasets_run(tmp_path: Path) -> None:
    project = small.make(tmp_path)
    samples.activate(project, ["digits"])
    [(name, entry)] = yaml.safe_load(re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)[0]).items()
    entry["source"]["folder"] = "pictures"
    add_entry(project, {name: entry | {"image_side_px": 32}})
    output = "".join(run(project, "bash", "-c", command) for command in re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE))
    assert (
        "my-photos: 36 images of 3 classes: circles 12, noise 12, stripes 12\n  circles/000.jpg -> circles\n" in output
    )
    assert json.loads((project / "metrics/my-photos/metrics.json").read_text())["accuracy"] >= 0


def test_a_table_with_splits_and_patients_goes_all_the_way_to_the_scores(project: Path) -> None:
    """Of 12 images of a class, 2 of each patient: 3 patients for training, 1 for validation and 1 for the test.

    The sixth has an image in training and one in the test, so the former is dropped.
    """
    sets = ["train"] * 6 + ["Validation"] * 2 + ["Testing"] * 2 + ["train", "Testing"]
    (project / "scans").mkdir()
    rows = [["id", "kind", "set", "patient"]]
    for kind in small.CLASSES:
        for number, split in enumerate(sets):
            (project / f"pictures/{kind}/{number:03}.jpg").rename(project / f"scans/{kind}{number}.jpg")
            rows.append([f"{kind}{number}", kind, split, f"{kind}-{number // 2}"])
    with (project / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    source = {
        "parts": [{"folder": "scans"}, {"urls": ["file:labels.csv"]}],
        "labels": {"file": "labels.csv", "image": "id", "label": "kind", "split": "set", "group": "patient"},
    }
    add_entry(project, {"scans": {"title": "Scans", "image_side_px": 32, "source": source}})
    samples.activate(project, ["scans"])
    output = run(project, "dvc", "repro", "evaluate@scans")
    assert "official splits: test 9, train 21, validation 6 (Testing is test, Validation is validation)" in output
    assert "groups of your own: 18" in output
    details = json.loads((project / "metrics/scans/details.json").read_text())
    assert details["images"] == {"dropped": 3, "test": 9, "train": 18, "validation": 6}
    (project / "labels.csv").write_text((project / "labels.csv").read_text().replace("circles-0", "circles-1"))
    assert "groups of your own: 17" in run(project, "dvc", "repro", "split@scans")


def test_one_fixed_camera_needs_a_setting_which_the_error_names(project: Path) -> None:
    """All photos are the same scene in other light; the classes have nothing to do with it."""
    for number in range(24):
        picture = Image.fromarray(np.asarray(photo(1, (48, 48))) // 2 + np.uint8(4 * number))
        folder = project / "camera" / ("before", "after")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(picture, "PNG"))
    add_entry(project, {"camera": {"title": "Camera", "image_side_px": 32, "source": {"folder": "camera"}}})
    samples.activate(project, ["camera"])
    output = run(project, "dvc", "repro", check=False)
    assert "the largest group has 24 images" in output
    assert "set download.near_duplicates in params.yaml to ignore or drop" in output
    small.set_param(project, "download.near_duplicates", "ignore")
    run(project, "dvc", "repro", "evaluate@camera")
    details = json.loads((project / "metrics/camera/details.json").read_text())
    assert details["images"] == {"test": 4, "train": 16, "validation": 4}
