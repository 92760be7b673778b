"""The ``bottletop`` command."""

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bottletop.core.errors import ArtefactError, ParamsError, exit_on_error
from bottletop.core.lock import TO_RESULTS, changes, shown
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import load
from bottletop.core.terminal import say, visible
from bottletop.tracking import browser


def main(arguments: list[str] | None = None) -> None:
    """Parses the arguments and runs the command.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    # Stages run as `python`: as this one, also if another one is first in PATH because the environment is not active.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with exit_on_error("bottletop"):
        try:
            options = _parser().parse_args(arguments)
            options.run(options)
        finally:
            sys.stdout.flush()  # a pipe that the reader has closed is noticed here, not when Python ends


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="bottletop", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    results = commands.add_parser("results", help="print the test accuracy of each active dataset")
    results.set_defaults(run=print_results)
    report = commands.add_parser("report", help="show report.html of the active datasets in the web browser")
    report.add_argument("dataset", nargs="?", metavar="DATASET", help="of this one alone")
    report.set_defaults(run=show_report)
    add = commands.add_parser("add", help="look at a folder or archive of images, and describe it in datasets.yaml")
    add.add_argument("path", type=Path, metavar="FOLDER-OR-ARCHIVE", help="of images, on this machine")
    add.add_argument("--name", metavar="NAME", help="of the dataset (the folder's or archive's)")
    add.add_argument("--activate", action="store_true", help="also add it to datasets in params.yaml")
    add.set_defaults(run=run_add)
    _add_experiments(commands)
    _add_prediction(commands)
    doctor = commands.add_parser("doctor", help="check this clone, and say what mends what is wrong")
    doctor.add_argument("--quick", action="store_true", help="do not hash the files again")
    doctor.set_defaults(run=run_doctor)
    completion = commands.add_parser(
        "completion",
        help="print what makes the shell complete this command",
        epilog="in bash, for this terminal: source <(bottletop completion bash)",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"))
    completion.set_defaults(run=print_completion)
    return parser


class _Version(argparse.Action):
    """Prints the version and exits."""

    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # takes longer than the rest of the parser

        say(f"bottletop {version('bottletop')}")
        parser.exit()


def _add_experiments(commands: "argparse._SubParsersAction[ArgumentParser]") -> None:
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
    experiments = commands.add_parser(
        "experiments",
        help="list the experiments on this commit, the best first, with the settings in which they differ",
    )
    experiments.set_defaults(run=print_experiments)
    runs = commands.add_parser("runs", help="list experiments with their MLflow runs, or show one")
    runs.add_argument("name", nargs="?", help="an experiment's name, or the start of a run's id")
    runs.add_argument("--all", action="store_true", help="of every dataset, not only the active ones")
    runs.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="how many to list, the newest first (default: 20)"
    )
    runs.add_argument("--open", action="store_true", help="show NAME's page of the MLflow UI in the web browser")
    runs.set_defaults(run=print_runs)
    ui = commands.add_parser("ui", help="open the MLflow UI on the scores of the active datasets")
    ui.add_argument("--port", type=_positive, metavar="N", help="of 127.0.0.1 to serve it at (PORT, else 5000)")
    ui.set_defaults(run=run_ui)


def _add_prediction(commands: "argparse._SubParsersAction[ArgumentParser]") -> None:
    predict = commands.add_parser(
        "predict",
        help="name the classes of images",
        epilog="example: bottletop predict photos/ https://example.org/cat.jpg --top 3",
    )
    predict.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, folders, patterns, http(s) addresses; - is standard input"
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print a table, a column a class")
    predict.add_argument("--top", type=_positive, metavar="K", help="how many classes to print, best first (5)")
    predict.add_argument(
        "--explain", action="store_true", help="also write pictures of where the class is seen (Grad-CAM)"
    )
    predict.add_argument("--output", default="explained", metavar="FOLDER", help="of those pictures (explained)")
    model = _add_model(predict)
    model.add_argument("--registered", metavar="NAME", help="a registered MLflow model: NAME, NAME/2 or NAME@alias")
    predict.set_defaults(run=run_predict, form="text")
    export = commands.add_parser(
        "export", help="write the model as a .keras file that takes images, and as an MLflow model"
    )
    export.add_argument("--output", default="exports", metavar="FOLDER", help="where to (exports)")
    export.add_argument("--only", choices=("keras", "mlflow"), help="one of the two")
    export.add_argument("--register", metavar="NAME", help="register the MLflow model under this name")
    _add_model(export)
    export.set_defaults(run=run_export)


def _add_model(command: ArgumentParser) -> "argparse._MutuallyExclusiveGroup":
    """Adds the options that choose a model; without them, it is the workspace's.

    Returns:
        The group of options that exclude each other.
    """
    command.add_argument("--dataset", metavar="NAME", help="where params.yaml lists several")
    model = command.add_mutually_exclusive_group()
    model.add_argument("--rev", metavar="REV", help="the model of a git revision or DVC experiment")
    model.add_argument("--run", dest="run_name", metavar="RUN", help="of an MLflow run: its id or experiment's name")
    return model


def print_results(_: Namespace) -> None:
    """Prints the test accuracy with its interval, where the reports are, and the command that opens the MLflow UI."""
    from bottletop.tracking.headline import headline, where  # what it imports would delay every command

    for dataset in load(tuple[str, ...], "datasets", PARAMS):
        folder = Paths(dataset).metrics
        _check_results(dataset, folder / "metrics.json")
        say(f"{headline(dataset)}\n{where(dataset)}")
    say("To see a report: bottletop report. To compare runs in MLflow: make ui")


def show_report(options: Namespace) -> None:
    """Prints the path of each report, and opens it in the web browser where there is a screen."""
    for dataset in [options.dataset] if options.dataset else load(tuple[str, ...], "datasets", PARAMS):
        report = Paths(dataset).report
        _check_results(dataset, report)
        say(str(report))
        browser.show(report.absolute().as_uri())


def _check_results(dataset: str, result: Path) -> None:
    """Says if results are older than the settings; raises ArtefactError if there are none."""
    if not result.exists():
        raise ArtefactError(f"{dataset} has no results yet", "run dvc repro")
    if not Paths(dataset).model.exists():
        say(f"{dataset}: the last run did not complete: run dvc repro")
    elif changed := changes(dataset, TO_RESULTS):
        say(f"{dataset}: {shown(changed)} changed since these results: run dvc repro")


def run_add(options: Namespace) -> None:
    """Describes a folder or archive of images in datasets.yaml, by looking at it."""
    from bottletop.download import entry  # Pillow and numpy take a fifth of a second to import

    entry.add(options.path, options.name, activate=options.activate)


def run_sweep(options: Namespace) -> None:
    """Runs an experiment for every combination of the settings, and ranks them."""
    from bottletop.experiments.sweep import sweep  # scipy takes a second to import

    sweep(options.settings, seeds=options.seeds, repeat=options.repeat, jobs=options.jobs)


def run_recipe(options: Namespace) -> None:
    """Runs a recipe as an experiment; without a name, prints the list of recipes."""
    from bottletop.experiments import recipes  # numpy takes a tenth of a second to import

    if options.name is None:
        say(recipes.listing())
    else:
        recipes.run(options.name, options.settings)


def print_experiments(_: Namespace) -> None:
    """Prints the scores of the experiments on this commit, with the settings in which they differ."""
    from bottletop.experiments import scoreboard  # tabulate is needed by few commands

    say(scoreboard.text())


def print_runs(options: Namespace) -> None:
    """Prints the newest experiments with their MLflow runs; with a name, the details of one."""
    from bottletop.experiments import listing  # MLflow takes seconds to import

    if options.name is None:
        if options.open:
            raise ParamsError("--open needs the name of an experiment, or the start of a run's id")
        say(listing.table(None if options.all else load(tuple[str, ...], "datasets", PARAMS), options.limit))
        return
    record, *others = listing.find(options.name)
    say(listing.describe(record))
    if others:
        say(f"\n{len(others)} more of that name: {', '.join(other.run_id[:8] or other.dataset for other in others)}")
    if options.open:
        listing.open_page(record)


def run_ui(options: Namespace) -> None:
    """Serves the MLflow UI until Ctrl-C, and opens it on the scores of the active datasets."""
    from bottletop.tracking import ui  # MLflow takes seconds to import

    if options.port is not None:
        os.environ["PORT"] = str(options.port)
    ui.show(load(tuple[str, ...], "datasets", PARAMS))


def run_predict(options: Namespace) -> None:
    """Prints the predicted classes of each image; exits with 1 if an image could not be read."""
    if options.form == "csv" and options.top is not None:
        raise ParamsError("--csv has a column for every class", "leave out --top, or use --json")
    from bottletop.inference import classifier, inputs, model_files, prediction

    with model_files.chosen(options.dataset, options.rev, options.run_name, options.registered) as files:
        say(visible(files.source), file=sys.stderr)
        model = classifier.load(files)
        names = list(inputs.find(options.images))
        outcomes = prediction.predict(names, model, pictures=options.explain)
        if options.explain:
            from bottletop.inference.explain import explained  # matplotlib takes half a second to import

            outcomes = explained(outcomes, model, Path(options.output))
        failed = prediction.show(outcomes, model.class_names, options.form, options.top)
        if options.explain:
            say(f"pictures of where the classes are seen: {options.output}", file=sys.stderr)
        if failed:
            sys.exit(f"bottletop: {failed} of {len(names)} images could not be read, see above")


def run_export(options: Namespace) -> None:
    """Exports the model to files, checks them, and prints how to use them."""
    register = options.register
    if register is not None and options.only == "keras":
        raise ParamsError("--register needs the MLflow model", "leave out --only keras")
    from bottletop.inference import classifier, export, model_files, registry

    with model_files.chosen(options.dataset, options.rev, options.run_name) as files:
        whole = classifier.load_whole(files)
        model = classifier.wrap(whole)
        if options.only != "mlflow":
            keras_file = Path(options.output, f"{files.dataset}.keras")
            export.write(keras_file, whole, model)
            say(f"{keras_file}: keras.saving.load_model('{keras_file}').predict(images)")
        if options.only != "keras":
            folder = Path(options.output, f"{files.dataset}-mlflow")
            registry.write(folder, files, model)
            say(f"{folder}: mlflow models serve --env-manager local --model-uri {folder}")
        if register is not None:
            version = registry.register(register, folder, files.model)
            say(f"registered as {register}, version {version}: bottletop predict --registered {register} IMAGE")


def run_doctor(options: Namespace) -> None:
    """Checks this clone; exits with 1 if there is a problem."""
    from bottletop.doctor.examine import examine

    sys.exit(examine(quick=options.quick))


def print_completion(options: Namespace) -> None:
    """Prints a script for the shell, which completes commands, options and names of files."""
    import shtab  # takes as long to import as all of the parser

    parser = _parser()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for command in commands.choices.values():
        for argument in command._actions:
            if argument.dest in ("path", "images", "output"):
                argument.complete = shtab.FILE
    say(shtab.complete(parser, options.shell))


def _positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text}")
    return int(text)
