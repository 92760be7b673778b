"""track@<dataset>: everything above in; one finished MLflow run out, and no files."""

import sys

from bottletop.config import read_yaml
from bottletop.errors import exit_on_error
from bottletop.files import read_json, read_numbers
from bottletop.paths import PARAMS, Paths
from bottletop.tracking import log_run


def run(paths: Paths) -> None:
    params = {section: values for section, values in read_yaml(PARAMS).items() if section != "datasets"}
    metrics = read_json(paths.metrics / "metrics.json")
    artefacts = {"report": paths.metrics, "model": paths.model, "data": paths.features / "manifest.json"}
    log_run(paths.dataset, params, metrics, read_numbers(paths.history), artefacts)


if __name__ == "__main__":
    with exit_on_error(f"track@{sys.argv[1]}"):
        run(Paths(sys.argv[1]))
