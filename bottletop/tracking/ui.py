"""The MLflow UI: the addresses of its pages, and the server on this machine that `bottletop ui` runs."""

import errno
import os
import shlex
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bottletop.core.addresses import masked
from bottletop.core.errors import ArtefactError, ParamsError, exit_on_sigterm
from bottletop.core.terminal import say, visible
from bottletop.tracking import browser, columns
from bottletop.tracking.client import answers, is_server, without_password
from bottletop.tracking.store import store, tracking_uri

HOST = "127.0.0.1"
TRAINING = "workflowType=machine_learning"  # without it, the UI opens its pages about chat traces
LOG = Path(".dvc/tmp/bottletop/ui.log")
START_S = 120  # on a busy machine; it takes five to ten seconds
END_S = 5  # for the server to end by itself
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def address() -> str:
    """The address of the UI: the server's that the runs are logged to, or this machine's at ``PORT``."""
    uri = tracking_uri()
    return without_password(uri) if is_server(uri) else f"http://{HOST}:{os.environ.get('PORT', '5000')}"


def pages(folder_id: str) -> dict[str, str]:
    """The addresses of an MLflow experiment's pages, by what they show.

    The first has all runs with their scores, also those of sweeps, which the second shows below the sweep. The last
    has training and validation of the ten best in one chart.
    """
    runs = f"{address()}/#/experiments/{folder_id}/runs?{TRAINING}&viewStateShareKey"
    return {
        "best on validation first": f"{runs}={columns.BEST}",
        "newest first": f"{runs}={columns.NEWEST}",
        "curves of the best": f"{runs}={columns.BEST}&compareRunsMode=CHART",
    }


def run_page(folder_id: str, run_id: str) -> str:
    """The address of a run's page."""
    return f"{address()}/#/experiments/{folder_id}/runs/{run_id}?{TRAINING}"


def show(datasets: Sequence[str]) -> None:
    """Prints the addresses of the datasets' runs, and opens the first where there is a screen.

    Unless the runs are on a server, serves them on this machine at ``PORT``, until Ctrl-C or SIGTERM.

    Raises:
        ParamsError: the port is in use.
        ArtefactError: the store cannot be reached, or the server does not start.
    """
    if is_server(tracking_uri()):
        say("the runs are on your server, which MLFLOW_TRACKING_URI names")
        _open(datasets)
        return
    port = _port()
    _refuse_taken(port)
    exit_on_sigterm()
    say("starting the MLflow UI")
    with suppress(KeyboardInterrupt), _server(port) as server:
        _wait(server)
        _open(datasets)
        say("Ctrl-C ends the MLflow UI")
        server.wait()
        raise _ended()


def _open(datasets: Sequence[str]) -> None:
    addresses = []
    with store() as client:
        for name in datasets:
            found = client.get_experiment_by_name(f"bottletop/{name}")
            if found is None:
                say(f"{visible(name)} has no runs yet: dvc repro")
                continue
            for tag, value in columns.tags([], found.tags).items():  # an older version had other views
                client.set_experiment_tag(found.experiment_id, tag, value)
            for order, page in pages(found.experiment_id).items():
                say(f"{visible(name)}, {order}: {page}")
                addresses.append(page)
    addresses = addresses or [f"{address()}/#/experiments?{TRAINING}"]
    browser.show(addresses[0])


def _port() -> int:
    text = os.environ.get("PORT", "5000")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ParamsError(f"PORT must be a whole number from 1 to 65535, got {text!r}", "make ui PORT=5001")
    return int(text)


def _refuse_taken(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        with socket.create_server((HOST, 0)) as free:
            other = free.getsockname()[1]
        raise ParamsError(f"port {port} is in use by {_holder(port)}", f"make ui PORT={other}") from error


def _holder(port: int) -> str:
    """The process that listens at the port, as text."""
    with suppress(psutil.Error):  # macOS tells only the administrator
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                command = masked(shlex.join(psutil.Process(connection.pid).cmdline()))
                return f"process {connection.pid} ({textwrap.shorten(visible(command), 160, placeholder=' …')})"
    return "a program of somebody else"


@contextmanager
def _server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server, which is ended with all its processes."""
    with store():  # makes the database; MLflow's own way of it can leave half of one
        place = {"MLFLOW_BACKEND_STORE_URI": tracking_uri()}  # not an argument, which all users can read
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("wb") as log:
        environment = {**os.environ, **SETTINGS, **place}
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        yield server
    finally:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(server.pid)
            parts = [process, *process.children(recursive=True)]
            for part in parts:
                with suppress(psutil.NoSuchProcess):
                    part.terminate()
            for part in psutil.wait_procs(parts, END_S)[1]:
                part.kill()


def _wait(server: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + START_S
    while not answers(address()):
        if server.poll() is not None or time.monotonic() > limit:
            raise _ended()
        time.sleep(0.2)


def _ended() -> ArtefactError:
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines() or ["it printed nothing"]
    return ArtefactError(f"MLflow's server has ended, or does not answer ({lines[-1].strip()})", f"see {LOG}")
