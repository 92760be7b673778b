"""What a run is called in the MLflow UI, and the text that its page shows."""

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Run

from bottletop.core.paths import PARAMS
from bottletop.core.settings import parse_yaml
from bottletop.core.terminal import visible
from bottletop.tracking.headline import interval
from bottletop.tracking.origin import BASELINE, SHORT, flatten, git

NOTE = "mlflow.note.content"  # tag in which MLflow keeps a run's description, in Markdown
NAME_LENGTH = 120  # characters of a name at most
REPORTS = ("report.html", "classification_report.txt")  # the first of them that there is, is linked
PICTURE = "plots/confusion.png"


def changed(params: Mapping[str, Any]) -> dict[str, str]:
    """The settings that differ from params.yaml in the commit that the run started from, by dotted name.

    Empty where there is no such commit, or its file cannot be read: a run must not fail for its name.
    """
    try:
        committed = dict(parse_yaml(git("show", f"{os.environ.get(BASELINE, 'HEAD')}:./{PARAMS}") or "{}"))
    except (yaml.YAMLError, ValueError, TypeError):
        committed = {}
    before = {name: str(value) for name, value in flatten(committed)}
    sections = {section: values for section, values in params.items() if section in committed}
    return {name: str(value) for name, value in flatten(sections) if str(value) != before.get(name)}


def run_name(dataset: str, differing: Mapping[str, str], commit: str) -> str:
    """A name such as ``digits: train.epochs=20`` or, if no setting differs, ``digits: baseline (2a2e315)``.

    Args:
        dataset: its name.
        differing: as of `changed`.
        commit: as of `origin.baseline`.
    """
    told = ", ".join(f"{name}={value}" for name, value in differing.items())
    told = told or f"baseline ({'uncommitted' if commit == 'none' else commit[:SHORT]})"
    return textwrap.shorten(visible(f"{dataset}: {told}"), NAME_LENGTH, placeholder=" …")


def text(run: Run, differing: Mapping[str, str], metrics: Mapping[str, float], report: Path | None) -> str:
    """The run's description: its accuracy, the settings that differ from the commit's, the report and a picture.

    Args:
        run: the run.
        differing: as of `changed`.
        metrics: as of metrics.json.
        report: the folder that becomes the run's artefacts below ``report``; None if there is none.
    """
    run_id, folder_id = run.info.run_id, run.info.experiment_id
    headline = list(_headline(metrics))
    if report and (found := [name for name in REPORTS if (report / name).exists()]):
        headline.append(f"[Report](#/experiments/{folder_id}/runs/{run_id}/artifacts/report/{found[0]})")
    parts = [" ".join(headline), _settings(differing)]
    if report and (report / PICTURE).exists():
        parts.append(f"![confusion matrix](get-artifact?path=report/{PICTURE}&run_uuid={run_id})")
    return "\n\n".join(part for part in parts if part)


def _headline(metrics: Mapping[str, float]) -> Iterator[str]:
    if "accuracy" in metrics:
        yield f"**{metrics['accuracy']:.1%} test accuracy**"
    if known := interval(metrics):
        yield f"({known})"
    if "val_accuracy" in metrics:
        yield f"and {metrics['val_accuracy']:.1%} on validation."


def _settings(differing: Mapping[str, str]) -> str:
    if not differing:
        return f"All settings are those of {PARAMS} in the commit."
    rows = [f"- {escaped(name)}: {escaped(value)}" for name, value in differing.items()]
    return "\n".join([f"Settings that differ from {PARAMS} in the commit:", "", *rows])


def escaped(words: str) -> str:
    """The text so that Markdown and HTML take no sign of it for their own."""
    return re.sub(r"[^\w\s.,%-]|_", lambda sign: f"&#{ord(sign[0])};", visible(words))
