"""Stage evaluate@<dataset>: reads the predictions for validation and test images; writes metrics, report, plots."""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.core.files import copy_files
from bottletop.core.paths import CATALOGUE, PARAMS, Paths
from bottletop.core.settings import load, unedited
from bottletop.evaluation import page, reports
from bottletop.evaluation.scores import EvaluateParams
from bottletop.images.index import read_index
from bottletop.models.record import read_record
from bottletop.split import read_split
from bottletop.tracking.live import failing

IN_GIT = ("metrics.json", "details.json", "classification_report.csv")  # copied, as `dvc push` leaves them out


def run(params: EvaluateParams, paths: Paths) -> None:
    """Writes the report on the dataset's model."""
    images, record = read_index(paths.index), read_record(paths.model)
    rows = read_split(paths.split, images)
    predicted = reports.read_predictions(paths.model, record, images, rows)
    report = reports.assess(record, predicted["validation"], predicted["test"], reports.count_splits(rows), params)
    reports.write_tables(paths.metrics, report)
    copy_files(paths.metrics, IN_GIT, paths.pushed)
    reports.write_figures(paths.metrics / "plots", report, paths.history, paths.images)
    page.write(paths.report, report, page.read_data(paths, images, rows, record.params.model), paths.images)


if __name__ == "__main__":
    with (
        exit_on_error(f"evaluate@{sys.argv[1]}"),
        failing(sys.argv[1]),
        unedited("evaluate", "download", "split", "cnn", "finetune", "augment"),
        unedited(f"datasets.{sys.argv[1]}", path=CATALOGUE),
    ):
        run(load(EvaluateParams, "evaluate", PARAMS), Paths(sys.argv[1]))
