"""What `make install` does, with commands in place of Python and uv that only note how they are called."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.tiny import ROOT

NOTES = """#!/bin/sh
echo "$(basename $0) $*" >> "$NOTES"
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin; for name in python uv dvc; do cp "$0" .venv/bin/$name; done;;
    *"-r $FAILS"*) exit 1;;
esac
"""


class Clone:
    """A clone with make's files alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, folder / "notes"
        for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
            shutil.copy(ROOT / name, folder)
        (folder / "python").write_text(NOTES)
        (folder / "python").chmod(stat.S_IRWXU)

    def make(self, target: str, *, fails: str = "nothing") -> tuple[int, str, list[str]]:
        """Returns the exit status, what is printed, and the calls that install packages, without their options.

        Args:
            target: of the Makefile.
            fails: the lock that cannot be installed.
        """
        self.notes.write_text("")
        environment = {**os.environ, "NOTES": str(self.notes), "FAILS": fails, "HOME": str(self.folder)}
        command = ["make", "--no-print-directory", f"PYTHON={self.folder / 'python'}", target]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        calls = [line.split() for line in self.notes.read_text().splitlines() if " install " in line]
        return done.returncode, done.stdout, [f"{call[0]} {call[-1]}" for call in calls]


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_users_get_what_runs_and_the_tests_add_the_rest(clone):
    assert clone.make("install")[2] == ["python /dev/stdin", "uv requirements.lock", "python ."]
    assert clone.make("install")[2] == []
    assert clone.make("develop")[2] == ["uv requirements-dev.lock"]
    assert clone.make("develop")[2] == []
    assert clone.make("install")[2] == []


def test_it_says_how_much_and_how_long_before_it_begins(clone):
    assert clone.make("install")[1].startswith("Installing into .venv: 0.9 GB to download and 3 GB on the disk")


def test_pip_installs_what_uv_cannot(clone):
    status, printed, calls = clone.make("install", fails="requirements.lock")
    assert calls[1:3] == ["uv requirements.lock", "python requirements.lock"]
    assert "Now pip does, which takes about ten minutes." in printed
    assert status != 0  # the command that stands for pip fails too


@pytest.mark.parametrize(("target", "lock"), [("install", "requirements.lock"), ("develop", "requirements-dev.lock")])
def test_an_interrupted_installation_is_noticed_and_starts_anew(clone, target, lock):
    assert clone.make(target, fails=lock)[0] != 0
    (clone.folder / ".venv/half-written").touch()
    status, printed, calls = clone.make("install")
    assert (status, calls) == (0, ["python /dev/stdin", "uv requirements.lock", "python ."])
    assert "The last installation was interrupted: it starts anew" in printed
    assert not (clone.folder / ".venv/half-written").exists()


def test_an_environment_of_ones_own_is_not_deleted(clone):
    (clone.folder / ".venv").mkdir()
    (clone.folder / ".venv/my-own").touch()
    assert clone.make("install")[0] == 0
    assert (clone.folder / ".venv/my-own").exists()
