"""Stage track@<dataset>: reads model, history and report; finishes one MLflow run, and prints the score."""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.core.files import file_digest, read_json, read_numbers
from bottletop.core.imports import quick_imports
from bottletop.core.paths import Paths
from bottletop.core.terminal import say
from bottletop.models.record import read_record
from bottletop.tracking.headline import closing
from bottletop.tracking.live import OPTIONAL
from bottletop.tracking.origin import tracked_params

with quick_imports(*OPTIONAL):
    from bottletop.tracking.runs import Result, finish


def run(paths: Paths) -> None:
    """Logs the dataset's results to its MLflow run."""
    record = read_record(paths.model)
    result = Result(
        metrics=read_json(paths.metrics / "metrics.json"),
        history=read_numbers(paths.history),
        artefacts={"report": paths.metrics, "model": paths.model},
        model_digest=file_digest(paths.model / "top.keras"),
        data_digest=record.data_digest,
        weights_digest=record.contract.get("weights_digest", "none"),
    )
    finish(paths.dataset, tracked_params(paths.dataset), result)
    say(closing(paths.dataset))


if __name__ == "__main__":
    with exit_on_error(f"track@{sys.argv[1]}"):
        run(Paths(sys.argv[1]))
