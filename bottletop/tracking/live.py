"""Logs training to MLflow from a second process, so that TensorFlow and MLflow are imported at the same time.

The processes exchange lines of JSON through pipes. Training's pipe closes when training ends for any reason, so the run
of a killed training is closed too.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, cast

from bottletop.core.errors import ArtefactError, exit_on_sigterm
from bottletop.core.terminal import say

ENDED = "the process that watches training for MLflow ended, see above: dvc repro"


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
