import subprocess
import sys

import psutil
import pytest

from bottletop.tracking.owner import is_dvc

WAIT = "import sys; sys.stdin.read()"


@pytest.fixture
def started(tmp_path):
    """Starts a command that waits until the test ends."""
    processes = []

    def start(*command):
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path))
        return psutil.Process(processes[-1].pid)

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
