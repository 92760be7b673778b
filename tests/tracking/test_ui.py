import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
import webbrowser
from pathlib import Path

import psutil
import pytest

from benchmarks.mlflow_server import free_port
from bottletop.cli import main
from bottletop.core.errors import ParamsError
from bottletop.tracking import browser, ui
from bottletop.tracking.runs import Result, finish
from tests.tiny import ROOT


@pytest.fixture(autouse=True)
def repository(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "PORT", *browser.SCREENS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("datasets: [cats]\n")
    return tmp_path


def test_a_port_in_use_is_refused_with_who_has_it_and_one_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(ParamsError) as raised:
            ui.show(["cats"])
    assert f"port {port} is in use by process {os.getpid()} ({sys.executable}" in raised.value.problem
    assert raised.value.fix.startswith("make ui PORT=")
    assert not Path("mlflow.db").exists()


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", ""])
def test_a_port_that_is_none_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(ParamsError, match="PORT must be a whole number from 1 to 65535"):
        ui.show(["cats"])


def test_the_command_takes_the_port_and_refuses_one_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")  # put back after the test, as the command changes it
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} is in use"):
            main(["ui", "--port", str(port)])


def test_a_page_of_a_servers_has_its_address_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example:8443/team/")
    runs = "https://mlflow.example:8443/team/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey"
    assert list(ui.pages("7").values()) == [
        f"{runs}=bottletop-best",
        f"{runs}=bottletop",
        f"{runs}=bottletop-best&compareRunsMode=CHART",
    ]


@pytest.mark.parametrize("with_screen", [True, False])
def test_the_scores_are_opened_where_there_is_a_screen(
    with_screen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The browser is a command that writes the address down, as the environment variable BROWSER may name any."""
    finish("cats", {}, Result({"accuracy": 0.9}, [], {}, "m", "d" * 64, "none"))
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(tmp_path / "opened"))}\n')
    script.chmod(0o755)
    if with_screen:
        monkeypatch.setattr(webbrowser, "_tryorder", None)  # read BROWSER anew
        monkeypatch.setenv("BROWSER", f"{script} %s")
    ui._open(["cats", "dogs"])
    printed = capsys.readouterr().out.splitlines()
    page = ui.pages("1")["best on validation first"]
    assert printed[0] == f"cats, best on validation first: {page}"
    assert printed[-1] == "dogs has no runs yet: dvc repro"
    assert (tmp_path / "opened").exists() is with_screen
    if with_screen:
        assert (tmp_path / "opened").read_text() == f"{page}\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_server_answers_until_it_is_ended_and_leaves_nothing_behind(
    number: signal.Signals, code: int, repository: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "bottletop", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines = iter(process.stdout.readline, "")
        assert next(line for line in lines if line.startswith("Ctrl-C"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"MLflow" in page.read()
        parts = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert (process.stdout.read(), process.wait()) == ("", code)
        assert parts
        assert not any(part.is_running() for part in parts)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_does_not_start_is_one_line_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("MLFLOW_STATIC_PREFIX", "without-a-slash")  # which MLflow refuses
    with pytest.raises(SystemExit, match=r"MLflow's server has ended, .*: see \.dvc/tmp/bottletop/ui\.log"):
        main(["ui"])
