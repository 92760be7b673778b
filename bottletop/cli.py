"""The ``bottletop`` command."""

import argparse
import sys

from bottletop.config import load, read_yaml
from bottletop.errors import ArtefactError, exit_on_error
from bottletop.files import read_json
from bottletop.paths import PARAMS, Paths


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bottletop", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    results = commands.add_parser("results", help="print the test accuracy of each active dataset")
    results.set_defaults(run=print_results)
    chosen = parser.parse_args(arguments)
    with exit_on_error("bottletop"):
        chosen.run()


def print_results() -> None:
    """The test accuracy with its interval, where to look, and the command that opens the MLflow UI."""
    for dataset in load(tuple[str, ...], "datasets", PARAMS):
        folder = Paths(dataset).metrics
        if not (folder / "metrics.json").exists():
            raise ArtefactError(f"{dataset} has no results yet: run dvc repro")
        model = Paths(dataset).model / "top.json"
        if not model.exists() or read_json(model)["params"] != read_yaml(PARAMS)["train"]:
            print(f"{dataset}: params.yaml has changed since, or the last run did not complete: run dvc repro")
        values, images = read_json(folder / "metrics.json"), read_json(folder / "details.json")["images"]
        interval = f"95 % interval {values['accuracy_low']:.1%} to {values['accuracy_high']:.1%}"
        print(f"{dataset}: {values['accuracy']:.1%} test accuracy ({interval}, {images['test']} images)")
        print(f"  report {folder / 'classification_report.txt'}, pictures {folder / 'plots'}")
    print("To compare runs in MLflow: make ui")


if __name__ == "__main__":
    main(sys.argv[1:])
