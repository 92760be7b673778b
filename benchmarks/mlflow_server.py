"""An MLflow server on 127.0.0.1, as a command of its own, for tests and pictures."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bottletop.tracking.client import answers

START_LIMIT_S = 120  # on a busy machine; it takes five to ten seconds


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextmanager
def serving(folder: Path, store: str, *arguments: str, port: int | None = None) -> Iterator[str]:
    """The address of a server whose log is `folder`/server.log; it is stopped at the end, with all its workers."""
    port = port or free_port()
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store, *arguments]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("a") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(server)


def wait_until_it_answers(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while not answers(address):
        if server.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the command and every process that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
