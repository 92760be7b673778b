"""The process that `live.failing` starts: it ends the run of a training whose result could not be evaluated."""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.tracking.runs import fail

if __name__ == "__main__":
    with exit_on_error("mlflow"):
        fail(sys.argv[1])
