"""What happens where DVC's queue has changed; experiments that run side by side are in test_sweep.py."""

import subprocess
import sys

import pytest
from dvc.repo.experiments.queue.tempdir import TempDirQueue
from dvc.repo.experiments.queue.workspace import WorkspaceQueue

from bottletop.core.errors import ArtefactError
from bottletop.experiments import alone

LATER_DVC = """
import runpy, sys
from dvc.repo.experiments.queue.tempdir import TempDirQueue
TempDirQueue.get = lambda self, revision: None
sys.argv = ["alone", "dvc", "exp", "run", "--temp"]
runpy.run_module("bottletop.experiments.alone", run_name="__main__")
"""


def test_a_method_that_takes_something_else_is_named(monkeypatch):
    monkeypatch.setattr(TempDirQueue, "get", lambda self, revision: (self, revision))
    with pytest.raises(ArtefactError, match=r"DVC 3\S+ .*TempDirQueue.get takes self, revision, expected self"):
        alone.run_one_each()


def test_a_method_that_is_gone_is_named(monkeypatch):
    monkeypatch.delattr(TempDirQueue, "_reproduce_entry")
    monkeypatch.delattr(WorkspaceQueue, "_reproduce_entry")
    with pytest.raises(ArtefactError, match="_reproduce_entry"):
        alone.run_one_each()


def test_the_command_then_ends_without_a_traceback_and_starts_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", LATER_DVC], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("sweep: DVC 3")
    assert done.stderr.endswith("make install, for the version in requirements.lock\n")
    assert list(tmp_path.iterdir()) == []
