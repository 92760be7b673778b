"""The README tells the truth: its commands run, its settings exist."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.catalogue import Dataset
from bottletop.config import parse
from tests.project import run, tracked_runs

README = (samples.ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)


def test_the_example_of_a_folder_is_a_valid_entry() -> None:
    [example] = re.findall(r"```yaml\n(.+?)```", README, re.DOTALL)
    for name, entry in yaml.safe_load(example).items():
        assert parse(Dataset, entry, name, Path("README.md")).source.label("cats/1.jpg") == ("cats", "")


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (samples.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README)) <= targets


def test_every_dataset_is_in_its_table() -> None:
    for name in yaml.safe_load((samples.ROOT / "datasets.yaml").read_text())["datasets"]:
        assert f"| `{name}` |" in README


def test_pictures_are_there_and_small() -> None:
    for name in re.findall(r"\]\((docs/.+?\.png)\)", README):
        assert (samples.ROOT / name).stat().st_size < 100_000


@pytest.mark.slow
def test_its_commands_run_in_the_order_given(tmp_path: Path) -> None:
    """All but ``make test``, which would start itself; `.ci/run` runs that one. The environment is the one at hand."""
    project = samples.copy_project(tmp_path / "project")
    installed = samples.ROOT / ".venv"
    if not (installed / "bin" / ".installed").exists():
        pytest.skip("needs the environment that make install makes")
    (project / ".venv").symlink_to(installed)
    (installed / "bin" / ".installed").touch()
    assert "make run" in COMMANDS
    for command in COMMANDS:
        if command != "make test":
            output = run(project, "bash", "-c", command)
            if command == "make run":
                assert re.search(r"^digits: \d+\.\d% test accuracy", output, re.MULTILINE)
                samples.commit(project, "first results")
    assert {tracked["status"] for tracked in tracked_runs(project)} == {"FINISHED"}
    assert len(tracked_runs(project)) == 2  # make run, dvc exp run
    shutil.rmtree(project)
