"""`make run`, where DVC stops before the first stage, and what `make` gives to stages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import samples


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The settings, and an environment whose DVC stops at once."""
    for name in ("Makefile", "params.yaml"):
        (tmp_path / name).write_text((samples.ROOT / name).read_text())
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "dvc").write_text("#!/bin/sh\necho 'ERROR: unexpected error'; exit 255\n")
    (programs / "dvc").chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    return tmp_path


def last_words(project: Path) -> str:
    """What `make run` prints before make's own line."""
    command = ["make", "--no-print-directory", "--old-file=install", "run"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    environment["PYTHONPATH"] = str(samples.ROOT)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode
    return "".join([done.stdout, *(line for line in done.stderr.splitlines(True) if not line.startswith("make: "))])


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "datasets: # the active datasets: names from datasets.yaml\n- digits",
            "datasets: my-photos",
            "datasets must be",
        ),
        ("  backbone: vgg16\n", "", "extract.backbone is missing"),
    ],
    ids=["no list", "no backbone"],
)
def test_a_setting_that_stops_dvc_itself_is_named(project: Path, before: str, after: str, told: str) -> None:
    text = (project / "params.yaml").read_text()
    assert before in text
    (project / "params.yaml").write_text(text.replace(before, after))
    dvc, ours = last_words(project).splitlines()
    assert dvc == "ERROR: unexpected error"
    assert ours.startswith("make run: params.yaml, line ")
    assert told in ours


def test_of_any_other_failure_dvc_has_the_last_word(project: Path) -> None:
    assert last_words(project) == "ERROR: unexpected error\n"


def test_stages_keep_the_packages_that_python_compiles(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (project / ".venv/bin/dvc").write_text('#!/bin/sh\necho "${PYTHONDONTWRITEBYTECODE-not set}"; exit 255\n')
    assert last_words(project) == "not set\n"
