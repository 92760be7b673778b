"""The process that `live.failing` starts: it ends the run of a training whose result could not be evaluated."""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.core.imports import quick_imports
from bottletop.tracking.live import OPTIONAL

with quick_imports(*OPTIONAL):
    from bottletop.tracking.runs import fail

if __name__ == "__main__":
    with exit_on_error("mlflow"):
        fail(sys.argv[1])
