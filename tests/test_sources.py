"""What `sources` writes where folders and archives are on this machine, and where they are a colleague's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.core.errors import DataError
from bottletop.core.paths import Paths
from stages import sources


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose pets come from a folder, and whose cars from either of two archives."""
    places = {"pets": {"folder": "pets"}, "cars": {"urls": ["file:first.zip", "file:second.zip"]}}
    entries = {name: {"title": name, "image_side_px": 32, "source": source} for name, source in places.items()}
    (tmp_path / "datasets.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    (tmp_path / "params.yaml").write_text("datasets: [pets, cars]")
    (tmp_path / "pets").mkdir()
    for name in ("pets/cat.jpg", "first.zip", "second.zip"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(name: str) -> dict[str, str]:
    return json.loads(Paths(name).fingerprint.read_text())


def test_each_folder_and_archive_on_this_machine_has_a_fingerprint() -> None:
    sources.run(("pets", "cars"), "top")
    assert [*recorded("pets"), *recorded("cars")] == ["pets", "file:first.zip", "file:second.zip"]


def test_the_stage_that_always_runs_starts_without_the_heavy_libraries() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import stages.sources"]
    done = subprocess.run(command, cwd=samples.ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    heavy = {"tensorflow", "keras", "mlflow", "pandas", "matplotlib", "sklearn", "scipy", "pyarrow", "imagehash", "dvc"}
    assert imported & heavy == set()


def test_each_part_of_a_dataset_has_a_fingerprint(folder: Path) -> None:
    catalogue = yaml.safe_load((folder / "datasets.yaml").read_text())
    catalogue["datasets"]["pets"]["source"] = {"parts": [{"folder": "pets"}, {"urls": ["file:first.zip"]}]}
    (folder / "datasets.yaml").write_text(yaml.safe_dump(catalogue))
    sources.run(("pets",), "top")
    assert [*recorded("pets")] == ["pets", "file:first.zip"]


def test_the_record_stays_where_the_folder_is_not_on_this_machine(folder: Path) -> None:
    sources.run(("pets",), "top")
    before = Paths("pets").fingerprint.read_bytes()
    (folder / "pets").rename(folder / "moved")
    sources.run(("pets",), "top")
    assert Paths("pets").fingerprint.read_bytes() == before


def test_an_archive_that_is_here_is_looked_at_though_another_is_missing(folder: Path) -> None:
    sources.run(("cars",), "top")
    before = recorded("cars")
    (folder / "first.zip").unlink()
    (folder / "second.zip").write_text("changed")
    sources.run(("cars",), "top")
    assert recorded("cars")["file:first.zip"] == before["file:first.zip"]
    assert recorded("cars")["file:second.zip"] != before["file:second.zip"]


def test_nothing_is_recorded_of_what_nobody_has_seen(folder: Path) -> None:
    (folder / "pets").rename(folder / "moved")
    sources.run(("pets",), "top")
    assert recorded("pets") == {}


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]", '{"pets": 1}', "null"])
def test_a_record_that_git_could_not_merge_is_named(folder: Path, text: str) -> None:
    (folder / "pets").rename(folder / "moved")
    Paths("pets").fingerprint.parent.mkdir()
    Paths("pets").fingerprint.write_text(text)
    with pytest.raises(DataError, match=r"fingerprints/pets.json .*: git checkout HEAD -- fingerprints/pets.json"):
        sources.run(("pets",), "top")
