import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bottletop.tracking.owner import PID, STARTED, is_dvc, is_gone, owner_tags
from tests.project import wait_for

WAIT = "import sys; sys.stdin.read()"


@pytest.fixture
def started(tmp_path):
    """Starts a command that waits until the test ends."""
    processes = []

    def start(*command):
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path))
        process = psutil.Process(processes[-1].pid)
        wait_for(lambda: bool(process.cmdline()))  # for a moment after its start, Linux tells none
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_dvc_s_own_script_is_dvc(started, tmp_path):
    (tmp_path / "dvc").write_text(WAIT)
    assert is_dvc(started(sys.executable, str(tmp_path / "dvc"), "repro"))


def test_dvc_as_a_module_of_python_is_dvc(started, tmp_path):
    (tmp_path / "dvc.py").write_text(WAIT)
    assert is_dvc(started(sys.executable, "-m", "dvc", "repro"))


def test_other_programs_that_name_dvc_are_not(started, tmp_path):
    (tmp_path / "dvc").write_text("a log\n")
    assert not is_dvc(started("tail", "-f", "dvc"))


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the system notes the time at which a process started")
def test_a_live_process_is_not_gone_when_the_clock_is_set_back(tmp_path, monkeypatch):
    """The system computes the time of its boot from the clock, and psutil that of a process's start from the boot's."""
    tags = owner_tags()
    numbers = Path("/proc/stat").read_text()
    (tmp_path / "stat").write_text(re.sub(r"btime (\d+)", lambda found: f"btime {int(found[1]) - 3600}", numbers))
    (tmp_path / tags[PID]).symlink_to(f"/proc/{tags[PID]}")
    assert not is_gone(tags)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert not is_gone(tags)


def test_a_process_that_has_the_number_of_an_ended_one_is_not_taken_for_it():
    assert is_gone({**owner_tags(), STARTED: "1.00"})
