"""Finds the files of a trained model: in the workspace, in a version of the repository, or in MLflow."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bottletop.core.errors import ArtefactError, BottletopError, ParamsError
from bottletop.core.files import SUMS, read_json
from bottletop.core.lock import TO_MODEL, changes, shown
from bottletop.core.paths import PARAMS, Paths, repository, weights_file
from bottletop.core.settings import load, parse, parse_yaml
from bottletop.core.terminal import say
from bottletop.inference.classifier import Files
from bottletop.models.record import TUNED, read_record
from bottletop.tracking.headline import interval

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # not needed for three small files
MODEL_FILES = ("top.keras", "top.json")


@contextmanager
def workspace(dataset: str | None) -> Iterator[Files]:
    """Yields the model that `dvc repro` made in this workspace; warns on stderr if settings have changed since.

    Raises:
        ArtefactError: there is no trained model.
        ParamsError: `dataset` is not an active dataset, or is None while several are active.
    """
    name = _one(load(tuple[str, ...], "datasets", PARAMS), dataset)
    folder = Paths(name).model
    if not folder.exists():
        raise ArtefactError(f"{name} has no trained model in {folder}", "run dvc repro, or dvc pull")
    if changed := changes(name, TO_MODEL):
        say(f"{name}: {shown(changed)} changed since this model was trained: dvc repro trains anew", file=sys.stderr)
    metrics = Paths(name).metrics / "metrics.json"
    yield Files(name, folder, _weights(folder), _source(name, "trained here", metrics))


@contextmanager
def version(rev: str, dataset: str | None) -> Iterator[Files]:
    """Yields the model of a git revision or DVC experiment, from DVC's cache or remote.

    The backbone's weights are the workspace's if it has them. They equal those of the version, or
    `classifier.load_whole` refuses them.

    Raises:
        ArtefactError: the version has no model, or it cannot be fetched.
        ParamsError: `dataset` is not an active dataset of that version, or is None while several are active.
    """
    from dvc.api import DVCFileSystem  # takes a second to import

    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        try:
            stored = DVCFileSystem(str(repository()), rev=rev)
            params = parse_yaml(stored.read_text(str(PARAMS)))
            active = parse(tuple[str, ...], params.get("datasets"), "datasets", PARAMS)
            name = _one(active, dataset)
            weights = _fetch(stored, name, scratch)
        except BottletopError:
            raise
        except Exception as error:  # each kind of remote raises its own exceptions
            raise ArtefactError(
                f"there is no model of {rev!r} to be had ({error})",
                "bottletop runs lists experiments, dvc pull fetches what colleagues have pushed",
            ) from error
        where = _source(name, f"of {rev}", scratch / Paths(name).metrics / "metrics.json")
        yield Files(name, scratch / Paths(name).model, weights, where)


def _fetch(stored: "DVCFileSystem", dataset: str, target: Path) -> Path | None:
    """Copies the files of a version's model, its metrics and, if the workspace lacks them, the backbone's weights.

    Args:
        stored: the files of the version.
        dataset: the model's.
        target: the folder to copy to; the paths below it are those of the repository.

    Returns:
        The path of the weights, or None if the model has no backbone.
    """

    def fetch(path: Path) -> Path:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        stored.get_file(str(path), str(target / path))
        return target / path

    folder, metrics = Paths(dataset).model, Paths(dataset).metrics / "metrics.json"
    optional = [folder / SUMS, metrics]  # earlier versions of bottletop wrote no SUMS
    for path in (*(folder / name for name in MODEL_FILES), *filter(lambda path: stored.exists(str(path)), optional)):
        fetch(path)
    weights = _weights(target / folder)
    if weights is None or weights.exists():
        return weights
    tuned = weights.is_relative_to(target)  # a fine-tuned backbone is stored beside its top
    return fetch(weights.relative_to(target) if tuned else weights)


@contextmanager
def logged(name: str, dataset: str | None) -> Iterator[Files]:
    """Yields the model of the newest finished MLflow run of that name.

    Args:
        name: an experiment's name, a run's id, or the start of the id.
        dataset: only runs on this dataset; needed if the name fits runs on several.

    Raises:
        ArtefactError: there is no finished run of that name.
        ParamsError: there are finished runs on several datasets, and `dataset` is None.
    """
    from bottletop.tracking import records  # MLflow takes seconds to import
    from bottletop.tracking.store import store, transfer

    found = [record for record in records.matching(name) if dataset in (None, record.dataset)]
    finished = [record for record in found if record.status == "finished"]
    if not finished:
        reason = f", only one that is {found[0].status}" if found else ""
        raise ArtefactError(
            f"no finished MLflow run is called {name!r} or has such an id{reason}", "bottletop runs --all"
        )
    if dataset is None and len({record.dataset for record in finished}) > 1:
        _one(sorted({record.dataset for record in finished}), None)
    with tempfile.TemporaryDirectory() as scratch, store() as client:
        [run, *_] = finished
        with transfer(f"the artefacts of run {run.run_id}"):
            client.download_artifacts(run.run_id, "model", scratch)
        folder = Path(scratch, "model")
        where = f"of {run.experiment}, run {run.run_id[:8]}"
        yield Files(run.dataset, folder, _weights(folder), _source(run.dataset, where, run.metrics))


@contextmanager
def registered(name: str) -> Iterator[Files]:
    """Yields a registered model: ``NAME`` for its last version, ``NAME/2``, or ``NAME@alias``."""
    from bottletop.inference import registry

    with tempfile.TemporaryDirectory() as scratch:
        yield registry.fetch(name, Path(scratch))._replace(source=f"model: registered as {name}")


def chosen(
    dataset: str | None, rev: str | None = None, run: str | None = None, name: str | None = None
) -> AbstractContextManager[Files]:
    """Selects the model that the command's options name; without any of them, the workspace's."""
    if rev is not None:
        return version(rev, dataset)
    if run is not None:
        return logged(run, dataset)
    return workspace(dataset) if name is None else registered(name)


def _source(dataset: str, where: str, metrics: Path | Mapping[str, float]) -> str:
    """A line on where the model is from, with its accuracy if that is known."""
    if isinstance(metrics, Path):
        metrics = read_json(metrics) if metrics.exists() else {}
    told = f"model: {dataset}, {where}"
    if "accuracy" in metrics:
        told += f", {metrics['accuracy']:.1%} test accuracy"
    if known := interval(metrics):
        told += f" ({known})"
    return told


def _weights(folder: Path) -> Path | None:
    """The path of the backbone's weights for the model in this folder; None if it has no backbone."""
    record = read_record(folder)
    if record.params.model == "finetune":
        return folder / TUNED
    return weights_file(str(record.contract["backbone"])) if "backbone" in record.contract else None


def _one(active: Sequence[str], wanted: str | None) -> str:
    """The wanted dataset; for None, the only active one.

    Raises:
        ParamsError: the wanted dataset is not active, or None is wanted and there are several.
    """
    if wanted is None and len(active) == 1:
        return active[0]
    if wanted not in active:
        got = "" if wanted is None else f", got {wanted!r}"
        raise ParamsError(f"--dataset must name one of {', '.join(active)}{got}")
    return str(wanted)
