"""The process that `live.Watcher` starts: it opens the MLflow run of a training and logs what the pipe delivers."""

import json
import os
import signal
import sys
from contextlib import suppress

from bottletop.core.errors import BottletopError, exit_on_error
from bottletop.core.imports import quick_imports
from bottletop.tracking.live import OPTIONAL


def _watch(dataset: str) -> None:
    # SIGTERM is ignored because this process must still end the run. Training gets the signal too, and closes the pipe.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # MLflow prints links to runs on stdout: they go to stderr, not into the pipe
    with quick_imports(*OPTIONAL):
        from bottletop.tracking.origin import tracked_params
        from bottletop.tracking.runs import LiveRun  # imports MLflow, in this process only

    try:
        run = LiveRun(dataset, tracked_params(dataset))
    except (BottletopError, OSError) as error:
        print(json.dumps(str(error)), file=answer, flush=True)
        return
    what = None
    try:
        with suppress(BrokenPipeError):  # training was killed in the meantime
            print(json.dumps(None), file=answer, flush=True)
        for line in sys.stdin:
            what, value = json.loads(line)
            if what in ("log_epoch", "trained"):
                getattr(run, what)(value)
    finally:
        if what != "trained":
            run.end("FAILED" if what == "failed" else "KILLED")


if __name__ == "__main__":
    with exit_on_error(f"train@{sys.argv[1]}"):
        _watch(sys.argv[1])
