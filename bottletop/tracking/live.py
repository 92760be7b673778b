"""Watches a training for MLflow from a process of its own, so that both import their libraries at the same time.

The two share a pipe of lines of JSON. It ends when training does, however that ends: a killed one's run is closed too.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, cast

from bottletop.core.errors import ArtefactError

ENDED = "the process that watches training for MLflow ended, see above: dvc repro"


class Watcher:
    """The training's end of the pipe; as a context it ends the run FAILED or KILLED if the block does."""

    def __init__(self, dataset: str) -> None:
        """Starts to open the run."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bottletop.tracking.live_process", dataset],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for training, which then closes the pipe
        )
        self._pipe, self._answer = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        self._opened = False

    def opened(self) -> None:
        """Waits until the run is there.

        Raises:
            ArtefactError: the tracking store can't be reached.
        """
        problem = json.loads(self._answer.readline() or json.dumps(ENDED))
        if problem:
            raise ArtefactError(problem)
        self._opened = True

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Passes on an epoch's entry of the history, its number under "epoch"."""
        self._send("log_epoch", entry)

    def trained(self, model_digest: str) -> None:
        """Tells which model came of this run, for `runs.finish` to recognise."""
        self._send("trained", model_digest)

    def __enter__(self) -> "Watcher":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was begun is removed
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            self._send("failed" if issubclass(kind, Exception) else "stopped", None)
        with suppress(BrokenPipeError):
            self._pipe.close()
        if not self._opened:  # it may wait for a server, and ends by itself
            return
        if self._process.wait() and kind is None:
            print("live logging ended early: track will log a run of its own", file=sys.stderr)

    def _send(self, what: str, value: object) -> None:
        with suppress(BrokenPipeError):  # the watcher was killed, which is no reason for training to end
            print(json.dumps([what, value]), file=self._pipe, flush=True)
