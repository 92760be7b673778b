"""A second `dvc exp run` in the same folder: DVC has written its settings into params.yaml already."""

import os
from pathlib import Path

import pytest

from bottletop.core.errors import ArtefactError
from bottletop.experiments import workspace

FIRST = "train:\n  seed: 1 # of the first\n  epochs: 5\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a first command works, with seed 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workspace, "lock_holders", set)
    Path("params.yaml").write_text(FIRST)
    workspace.claim()
    monkeypatch.setattr(workspace, "lock_holders", lambda: {os.getpid()})
    monkeypatch.setattr(workspace, "_settings_given", lambda: ("train.seed",))
    monkeypatch.setenv("DVC_EXP_NAME", "second")


def test_the_settings_of_the_first_are_put_back() -> None:
    Path("params.yaml").write_text(FIRST.replace("seed: 1", "seed: 2"))
    with pytest.raises(ArtefactError, match=r"another DVC command works in this folder \(PID \d+\), .* was put back"):
        workspace.claim()
    assert Path("params.yaml").read_text() == FIRST


def test_what_was_edited_since_the_first_began_is_kept() -> None:
    edited = FIRST.replace("seed: 1", "seed: 2").replace("epochs: 5", "epochs: 9")
    Path("params.yaml").write_text(edited)
    with pytest.raises(ArtefactError, match=r"was edited meanwhile, and has train\.seed of this command now"):
        workspace.claim()
    assert Path("params.yaml").read_text() == edited
