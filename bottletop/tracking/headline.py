"""The lines that say how a run ended: its score beside the last commit's, and where to look next."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from bottletop.core.files import read_json
from bottletop.core.paths import Paths, repository
from bottletop.tracking.origin import EXPERIMENT, git


def interval(metrics: Mapping[str, float]) -> str:
    """The 95 % interval of the test accuracy; empty for a run of an earlier version, which may have none."""
    if not {"accuracy_low", "accuracy_high"} <= metrics.keys():
        return ""
    return f"95 % interval {metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}"


def headline(dataset: str) -> str:
    """The dataset's test accuracy, its 95 % interval and the number of test images, in one line."""
    folder = Paths(dataset).metrics
    values, images = read_json(folder / "metrics.json"), read_json(folder / "details.json")["images"]
    return f"{dataset}: {values['accuracy']:.1%} test accuracy ({interval(values)}, {images['test']} images)"


def closing(dataset: str) -> str:
    """The lines with which a run ends.

    The commit's score is that of the last commit, or of the one that the experiment began from.
    """
    committed = git("show", f"HEAD:./{Paths(dataset).metrics}/metrics.json")
    before = f"; the last commit has {json.loads(committed)['accuracy']:.1%}" if committed else ""
    lines = [headline(dataset) + before, where(dataset)]
    if EXPERIMENT not in os.environ and not _has_remote():
        lines.append("  results stay on this machine: `dvc push`, which DVC suggests, needs a remote (docs/teams.md)")
    return "\n".join(lines)


def where(dataset: str) -> str:
    """Where the dataset's results are, as a line below its headline."""
    name = os.environ.get(EXPERIMENT)
    if Path.cwd() != repository():  # an experiment's own folder, which DVC removes
        return f"  its report, model and curves: bottletop runs {name} --open; to have them here: dvc exp apply {name}"
    return f"  report {Paths(dataset).report}, pictures {Paths(dataset).metrics / 'plots'}"


def _has_remote() -> bool:
    """Whether DVC's files of settings name a default remote. DVC's own reader takes a second to import."""
    files = (Path(".dvc", name) for name in ("config", "config.local"))
    return any(re.search(r"^\s*remote\s*=", file.read_text(), re.MULTILINE) for file in files if file.exists())
