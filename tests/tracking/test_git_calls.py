"""What `track` asks git for: each answer takes a new process."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import samples
from bottletop.core import settings
from bottletop.tracking import description
from bottletop.tracking.runs import Result, finish


def test_a_run_asks_git_for_each_fact_once_and_reads_the_committed_params_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "params.yaml").write_text("datasets: [cats]\ntrain: {epochs: 5}\n")
    samples.git(tmp_path, "init", "--quiet")
    samples.commit(tmp_path, "start")
    asked, parsed = [], []
    run, parse = subprocess.run, settings.parse_yaml
    monkeypatch.setattr(subprocess, "run", lambda command, **how: asked.append(command[1:3]) or run(command, **how))
    monkeypatch.setattr(description, "parse_yaml", lambda text: parsed.append(text) or parse(text))
    finish("cats", {"train": {"epochs": 6}}, Result({}, [], {}, "m", "d", "w"))
    assert len(parsed) == 1
    assert sorted(map(" ".join, asked)) == [
        "rev-parse --short=7",
        "rev-parse HEAD",
        "show HEAD:./params.yaml",
        "status --porcelain",
    ]
