"""evaluate@<dataset>: model, features and split in; metrics, report, plots and predictions out."""

import sys

from bottletop import reports, top
from bottletop.config import load, unedited
from bottletop.errors import exit_on_error
from bottletop.features import open_features
from bottletop.files import copy_files
from bottletop.images import read_index
from bottletop.paths import PARAMS, Paths
from bottletop.scores import EvaluateParams
from bottletop.split import read_split

IN_GIT = ("metrics.json", "details.json", "classification_report.csv")


def run(params: EvaluateParams, paths: Paths) -> None:
    model, record = top.load(paths.model)
    features = open_features(paths.features, read_split(paths.split), record.features, record.pooling)
    top.require_match(record, features)
    images = read_index(paths.index)
    predicted = {}
    for side in ("validation", "test"):
        rows = features.side(side)
        probabilities = top.predict(model, features, rows)
        predicted[side] = reports.Predicted(reports.select(images, rows), features.labels[rows], probabilities)
    sides = reports.count_sides(features.rows)
    report = reports.assess(record, predicted["validation"], predicted["test"], sides, params)
    reports.write_tables(paths.metrics, report)
    copy_files(paths.metrics, IN_GIT, paths.pushed)
    reports.write_figures(paths.metrics / "plots", report, paths.history, paths.images)


if __name__ == "__main__":
    with exit_on_error(f"evaluate@{sys.argv[1]}"), unedited("evaluate"):
        run(load(EvaluateParams, "evaluate", PARAMS), Paths(sys.argv[1]))
