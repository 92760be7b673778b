"""DVC experiments with their MLflow runs: a table of them, the details of one, and its page in the MLflow UI."""

import difflib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from tabulate import tabulate

from bottletop.core.errors import ArtefactError
from bottletop.core.paths import PARAMS
from bottletop.core.settings import read_yaml
from bottletop.core.terminal import visible
from bottletop.experiments import refs
from bottletop.experiments.refs import Experiment
from bottletop.tracking import browser, records, ui
from bottletop.tracking.client import answers, is_server
from bottletop.tracking.origin import flatten
from bottletop.tracking.records import Record
from bottletop.tracking.store import tracking_uri

HEADINGS = ("experiment", "dataset", "run", "status", "how", "val\naccuracy", "test\naccuracy", "started", "baseline")
ORIGIN = {  # tags that say where a result came from, by the names shown here
    "changed since the commit": "uncommitted_changes",
    "lock fingerprint": "dvc.fingerprint",
    "images": "data_digest",
    "weights": "weights_digest",
    "model": "model_digest",
    "machine": "machine",
}


def table(datasets: Sequence[str] | None, limit: int) -> str:
    """The newest experiments as text, one line per experiment and dataset, including those without an MLflow run.

    Args:
        datasets: only experiments on these; None for all.
        limit: the maximum number of lines.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    found = records.newest(datasets, limit)
    known = {(record.experiment, record.baseline) for record in found}
    oldest = found[-1].started if len(found) == limit else 0.0
    saved = refs.saved()
    others = (one for one in saved if one.saved >= oldest and (one.name, one.baseline) not in known)
    found += islice((record for one in others for record in _without_run(one, datasets)), limit)
    found.sort(key=lambda record: record.started, reverse=True)
    if not found:
        return "no experiments yet: dvc repro, or bottletop runs --all for those of other datasets"
    held = {(one.name, one.baseline) for one in saved}
    lines = tabulate([_line(record, held) for record in found[:limit]], HEADINGS, disable_numparse=True)
    folders = dict.fromkeys(record.folder_id for record in found[:limit] if record.run_id)
    pages = [(kind, page) for folder in folders for kind, page in ui.pages(folder).items()]
    return "\n".join([lines, *(_section(_mlflow(), pages) if pages else [])])


def find(name: str) -> list[Record]:
    """The runs of the experiment of that name or, if there are none, those whose id begins with it.

    Returns:
        Records, newest first, never empty. An experiment that MLflow has no run of gives one record per dataset.

    Raises:
        ArtefactError: neither DVC nor MLflow knows the name, or the tracking store cannot be reached.
    """
    saved = refs.saved()
    found = records.matching(name)
    found = found or [record for one in saved if one.name == name for record in _without_run(one, None)]
    if found:
        return found
    known = {one.name for one in saved} | {record.experiment for record in records.newest(None, records.NAMES)}
    near = difflib.get_close_matches(name, sorted(known))
    hint = f"did you mean {' or '.join(near)}?" if near else "bottletop runs --all lists them"
    raise ArtefactError(f"no experiment is called {name!r} and no run's id begins so", hint)


def describe(record: Record) -> str:
    """Describes where a record came from, its params that differ from params.yaml, its scores, and how to open it."""
    facts = [record.experiment, record.dataset, record.status, record.how, _minute(record.started)]
    current = {name: str(value) for name, value in flatten(read_yaml(PARAMS))}
    names = [name for name in record.params if name in current and record.params[name] != current[name]]
    changed = [(name, record.params[name], f"(params.yaml: {current[name]})") for name in names]
    scores = [(name, f"{value:.3f}") for name, value in record.metrics.items() if not name.startswith("epoch_")]
    origin = [("run", record.run_id or "none in this MLflow store"), ("baseline commit", record.baseline)]
    origin += [(title, record.tags[tag]) for title, tag in ORIGIN.items() if tag in record.tags]
    versions = [
        f"{tag.partition('version.')[2]} {record.tags[tag]}" for tag in sorted(record.tags) if "version." in tag
    ]
    origin += [("versions", ", ".join(versions))] if versions else []
    return "\n".join(
        [
            ", ".join(visible(fact) for fact in facts if fact != "-"),
            *_section("Where it came from", origin),
            *_section("Params that differ from params.yaml", changed or [("none",)]),
            *_section("Scores", scores or [("none yet",)]),
            *_section("With DVC", [(command,) for command in _commands(record)]),
            *_section(_mlflow(), [(page(record),)]),
        ]
    )


def page(record: Record) -> str:
    """The address of the run's page in the MLflow UI, or a sentence that says why there is none."""
    if not record.run_id:
        return "it has no run here: it came from another clone"
    return ui.run_page(record.folder_id, record.run_id)


def open_page(record: Record) -> None:
    """Opens the run's page in the web browser.

    Raises:
        ArtefactError: there is no run, no MLflow server answers, or there is no browser.
    """
    if not record.run_id:
        raise ArtefactError(f"{record.experiment} has no MLflow run here, so no page to open", "dvc exp apply shows it")
    if not answers(ui.address()):
        advice = "check MLFLOW_TRACKING_URI" if is_server(tracking_uri()) else "type make ui in another terminal"
        raise ArtefactError(f"no MLflow server answers at {ui.address()}", f"{advice}, then try again")
    if not browser.show(page(record)):
        raise ArtefactError("no web browser was found", f"open {page(record)} in yours")


def _mlflow() -> str:
    return "With MLflow" if is_server(tracking_uri()) else "With MLflow, after make ui"


def _without_run(one: Experiment, datasets: Sequence[str] | None) -> Iterator[Record]:
    """Yields a record per dataset of an experiment without MLflow runs, such as one pulled from a colleague."""
    params = one.params
    active = [name for name in params.get("datasets", []) if datasets is None or name in datasets]
    if not active or any(record.baseline == one.baseline for record in records.matching(one.name)):
        return
    flat = {name: str(value) for name, value in flatten(params)}
    for name in active:
        scores = one.metrics[name]
        yield Record(
            experiment=one.name, dataset=name, baseline=one.baseline,
            started=one.saved, params=flat, metrics=scores, tags={},
        )  # fmt: skip


def _line(record: Record, held: set[tuple[str, str]]) -> list[str]:
    missing = "" if record.is_repro or (record.experiment, record.baseline) in held else record.missing
    cells = [
        f"{record.experiment} ({missing})" if missing else record.experiment,
        record.dataset,
        record.run_id[:8] or "-",
        record.status,
        record.how,
        _score(record.metrics, "val_accuracy"),
        _score(record.metrics, "accuracy") + _interval(record.metrics),
        _minute(record.started),
        record.baseline[:7],
    ]
    return list(map(visible, cells))


def _commands(record: Record) -> list[str]:
    """Commands, ready to paste, that apply the experiment to the workspace or compare it.

    For a plain `dvc repro`, they compare its commit with the workspace. If this repository does not have the
    experiment, a sentence says so instead.
    """
    if record.is_repro:
        return [f"dvc {what} diff {record.baseline[:7]}" for what in ("params", "metrics", "plots")]
    name = shlex.quote(record.experiment)
    if record.experiment not in {one.name for one in refs.saved()}:
        return [
            f"{record.experiment} is not in this repository (dvc exp list --all-commits): dvc exp pull, or run it again"
        ]
    compared = f"{record.baseline[:7]} {name}"
    return [f"dvc exp apply {name}", f"dvc exp diff {compared}", f"dvc plots diff {compared}"]


def _section(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[visible(cell) for cell in row] for row in rows]
    return ["", title, *(f"  {line}" for line in tabulate(cells, tablefmt="plain", disable_numparse=True).splitlines())]


def _score(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else "-"


def _interval(metrics: Mapping[str, float]) -> str:
    """Returns the 95 % interval of the test accuracy, which a run of an earlier version may not have."""
    ends = [metrics[name] for name in ("accuracy_low", "accuracy_high") if name in metrics]
    return f" ({ends[0]:.2f} to {ends[1]:.2f})" if len(ends) == 2 else ""


def _minute(time: float) -> str:
    return f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"
