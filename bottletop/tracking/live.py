"""Logs the training of a network to MLflow from a second process, which imports MLflow while TensorFlow is imported.

The processes exchange lines of JSON through pipes. Training's pipe closes when training ends for any reason, so the run
of a killed training is closed too.

A regression is fitted before MLflow would be imported. `track` logs all of it; a note says that it was trained here.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from bottletop.core.errors import ArtefactError, exit_on_sigterm
from bottletop.core.files import read_json, write_json
from bottletop.core.terminal import say
from bottletop.tracking.client import refuse_silence

OPTIONAL = ("pandas", "pygments", "scipy")  # MLflow logs runs without them; to import them takes half a second
ENDED = "the process that watches training for MLflow ended, see above: dvc repro"


def note(dataset: str) -> Path:
    """The file that names the model which the last training made, and its run, in the folder where the stages run."""
    return Path(".dvc/tmp/bottletop", f"{dataset}.json")


@contextmanager
def failing(dataset: str) -> Iterator[None]:
    """Ends the run of the network that was trained last as FAILED, if the block raises: a stage between it and `track`.

    Another process does that: what succeeds needs no MLflow. If the stage succeeds later, `track` finishes the run.
    """
    try:
        yield
    except Exception:
        noted = read_json(note(dataset)) if note(dataset).exists() else {}
        if run_id := noted.get("run_id"):  # a regression has none before `track`
            subprocess.run([sys.executable, "-m", "bottletop.tracking.failed_process", run_id], check=False)
        raise


class Unwatched:
    """A training that is logged when it is over; it has the methods of a `Watcher`."""

    def __init__(self, dataset: str) -> None:
        """Checks that the tracking server answers, if there is one.

        Raises:
            ArtefactError: it does not.
        """
        refuse_silence(os.environ.get("MLFLOW_TRACKING_URI", ""))
        self._note, self._started_ms = note(dataset), int(time.time() * 1000)

    def opened(self) -> None:
        """Does nothing: there is no run yet."""

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Does nothing: `track` reads the history."""

    def trained(self, model_digest: str) -> None:
        """Notes the digest of the trained model, for `runs.finish`."""
        write_json(self._note, {"run_id": None, "model_digest": model_digest, "started_ms": self._started_ms})

    def __enter__(self) -> "Unwatched":
        exit_on_sigterm()
        return self

    def __exit__(self, *_: object) -> None: ...


class Watcher:
    """Training's end of the pipe.

    As a context manager, it ends the run if the block raises: as FAILED after an `Exception`, else as KILLED.
    """

    def __init__(self, dataset: str) -> None:
        """Starts the process that opens the run."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bottletop.tracking.live_process", dataset],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches training only, which then closes the pipe
        )
        self._pipe, self._answer = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        self._opened = False

    def opened(self) -> None:
        """Waits until the run is open.

        Raises:
            ArtefactError: the tracking store cannot be reached, or the process has ended.
        """
        problem = json.loads(self._answer.readline() or json.dumps(ENDED))
        if problem:
            raise ArtefactError(problem)
        self._opened = True

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Sends an epoch's entry of the history, which holds the epoch's number under "epoch"."""
        self._send("log_epoch", entry)

    def trained(self, model_digest: str) -> None:
        """Sends the digest of the trained model, by which `runs.finish` recognises the run."""
        self._send("trained", model_digest)

    def __enter__(self) -> "Watcher":
        exit_on_sigterm()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            self._send("failed" if issubclass(kind, Exception) else "stopped", None)
        with suppress(BrokenPipeError):
            self._pipe.close()
        if not self._opened:  # the process may be waiting for a server; it ends by itself
            return
        if self._process.wait() and kind is None:
            say("live logging ended early: track will log a run of its own", file=sys.stderr)

    def _send(self, what: str, value: object) -> None:
        with suppress(BrokenPipeError):  # the watcher was killed; training continues
            print(json.dumps([what, value]), file=self._pipe, flush=True)
