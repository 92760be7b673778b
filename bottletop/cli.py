"""The ``bottletop`` command."""

import argparse
import sys

from bottletop.config import load, read_yaml
from bottletop.errors import ArtefactError, ParamsError, exit_on_error
from bottletop.files import read_json
from bottletop.paths import PARAMS, Paths


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bottletop", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    results = commands.add_parser("results", help="print the test accuracy of each active dataset")
    results.set_defaults(run=print_results)
    sweep = commands.add_parser(
        "sweep",
        help="run every combination of some settings, rank them on validation images",
        epilog="example: bottletop sweep train.epochs=5,10,20 train.batch_size=16,32,64 --seeds 5",
    )
    sweep.add_argument(
        "settings", nargs="+", metavar="SETTING=VALUE,VALUE", help="as in params.yaml; lists as [256],[100,50]"
    )
    sweep.add_argument(
        "--seeds", type=_positive, default=1, metavar="N", help="repeat the best and the baseline with N training seeds"
    )
    sweep.add_argument("--repeat", type=_positive, default=3, metavar="N", help="how many of the best are repeated (3)")
    sweep.add_argument(
        "--jobs", type=_positive, metavar="N", help="experiments at the same time (as many as cores and memory allow)"
    )
    sweep.set_defaults(run=run_sweep)
    recipe = commands.add_parser("recipe", help="run a recipe of the articles as an experiment, or list them")
    recipe.add_argument("name", nargs="?", help="of a file in recipes/")
    recipe.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings that differ, as in params.yaml")
    recipe.set_defaults(run=run_recipe)
    runs = commands.add_parser("runs", help="list experiments with their MLflow runs, or show one")
    runs.add_argument("name", nargs="?", help="an experiment's name, or the start of a run's id")
    runs.add_argument("--all", action="store_true", help="of every dataset, not only the active ones")
    runs.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="how many to list, the newest first (default: 20)"
    )
    runs.add_argument("--open", action="store_true", help="show NAME's page of the MLflow UI in the web browser")
    runs.set_defaults(run=print_runs)
    doctor = commands.add_parser("doctor", help="check this clone, and say what mends what is wrong")
    doctor.add_argument("--quick", action="store_true", help="do not hash the files again")
    doctor.set_defaults(run=run_doctor)
    options = vars(parser.parse_args(arguments))
    with exit_on_error("bottletop"):
        options.pop("run")(**options)


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


def run_sweep(settings: list[str], seeds: int, repeat: int, jobs: int | None) -> None:
    from bottletop.sweeps import sweep  # scipy takes a second to import

    sweep(settings, seeds=seeds, repeat=repeat, jobs=jobs)


def run_recipe(name: str | None, settings: list[str]) -> None:
    from bottletop import recipes  # numpy takes a tenth of a second to import

    if name is None:
        print(recipes.listing())
    else:
        recipes.run(name, settings)


def print_runs(*, name: str | None, all: bool, limit: int, open: bool) -> None:  # noqa: A002 (the options' names)
    """The newest experiments beside their MLflow runs, or all about one."""
    from bottletop import runs  # MLflow takes seconds to import

    if name is None:
        if open:
            raise ParamsError("--open needs the name of an experiment, or the start of a run's id")
        print(runs.table(None if all else load(tuple[str, ...], "datasets", PARAMS), limit))
        return
    record, *others = runs.find(name)
    print(runs.describe(record))
    if others:
        print(f"\n{len(others)} more of that name: {', '.join(other.run_id[:8] or other.dataset for other in others)}")
    if open:
        runs.open_page(record)


def run_doctor(*, quick: bool) -> None:
    """Checks this clone; exits with 1 where something is wrong."""
    from bottletop.doctor.examine import examine

    sys.exit(examine(quick=quick))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text}")
    return int(text)


if __name__ == "__main__":
    main(sys.argv[1:])
