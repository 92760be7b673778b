"""How many experiments a sweep runs at the same time, and how it ends them."""

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from bottletop.experiments import sweep


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Eight processors, memory for four experiments, and no container."""
    monkeypatch.setenv("BOTTLETOP_THREADS", "8")
    monkeypatch.setattr(sweep, "CONTAINER", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * sweep.JOB_BYTES))


def test_memory_limits_them():
    assert sweep._default_jobs() == 4


def test_processors_limit_them(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", "3")
    assert sweep._default_jobs() == 3


@pytest.mark.parametrize(("limit", "expected"), [("max", 4), (3 * sweep.JOB_BYTES, 2), (90 * sweep.JOB_BYTES, 4)])
def test_a_container_s_memory_limits_them(tmp_path, limit, expected):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{sweep.JOB_BYTES}\n")
    assert sweep._default_jobs() == expected


def test_there_is_always_one(tmp_path):
    (tmp_path / "memory.max").write_text("1000")
    (tmp_path / "memory.current").write_text("900")
    assert sweep._default_jobs() == 1


def test_a_command_that_runs_no_stage_at_the_moment_is_ended_too():
    command = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(200)"])
    sweep._end([command])
    assert command.returncode == -signal.SIGTERM


def test_a_command_that_goes_on_with_another_stage_is_ended_after_it(monkeypatch):
    """As DVC does where a program that it can do without is terminated."""
    monkeypatch.setattr(sweep, "GRACE_S", 0.5)
    stages = "import subprocess; [subprocess.run(['sleep', '200']) for _ in range(3)]"
    command = subprocess.Popen([sys.executable, "-c", stages])
    while not psutil.Process(command.pid).children():
        time.sleep(0.05)
    sweep._end([command])
    assert command.returncode is not None


def test_an_experiment_that_the_system_has_killed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LOGS", tmp_path)
    failed = "ERROR: failed to reproduce 'train@digits': failed to run: python -m stages.train digits, exited with -9\n"
    (tmp_path / "epochs-5.log").write_text(f"Running stage 'train@digits':\n{failed}")
    words = sweep._last_words(sweep.Point("epochs-5", {}))
    assert words.startswith(
        "killed by the system for lack of memory, or by kill -9: try fewer --jobs (ERROR: failed to"
    )


def test_of_an_experiment_that_dvc_itself_refuses_its_error_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LOGS", tmp_path)
    point = sweep.Point("epochs-5", {})
    help_wanted = "Having any troubles? Hit us up at https://dvc.org/support, we are always happy to help!"
    (tmp_path / "epochs-5.log").write_text(f"ERROR: unexpected error - no space left on device\n\n{help_wanted}\n")
    assert sweep._last_words(point) == "ERROR: unexpected error - no space left on device"


def test_while_experiments_run_it_says_which_and_how_far_they_are(tmp_path, monkeypatch, capsys):
    """One is in a stage, the other has not begun with one."""
    monkeypatch.setattr(sweep, "LOGS", tmp_path)
    monkeypatch.setattr(sweep.progress, "LOG_S", 0.5)

    def start(_name, settings, log, *_):
        return subprocess.Popen(["sh", "-c", settings["do"]], stdout=log)

    monkeypatch.setattr(sweep.refs, "start", start)
    stages = "".join(f"echo \"Running stage '{stage}@x':\"; " for stage in ("split", "train"))
    points = [sweep.Point("a", {"do": f"{stages} sleep 2"}), sweep.Point("b", {"do": "sleep 2"})]
    assert {point.name for point, _ in sweep._in_parallel(points, 2, 0)} == {"a", "b"}
    assert "  running: a (train@x), b" in capsys.readouterr().out.splitlines()
