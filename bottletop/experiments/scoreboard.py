"""The experiments on the current commit as a table: scores first, then the settings in which they differ."""

import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tabulate import tabulate

from bottletop.core.lock import TO_RESULTS, changes, shown
from bottletop.core.terminal import visible
from bottletop.experiments import refs
from bottletop.tracking.origin import flatten

SCORES = {"val_accuracy": "val\naccuracy", "accuracy": "test\naccuracy"}


class Row(NamedTuple):
    """An experiment, or the workspace, on one dataset."""

    name: str
    dataset: str
    scores: dict[str, float]
    settings: dict[str, str]  # every setting of params.yaml, by its dotted name

    @property
    def rank(self) -> tuple[str, float, float]:
        """A key that sorts by dataset, then the best on validation first, then by the lower log loss."""
        return self.dataset, -self.scores.get("val_accuracy", -1), self.scores.get("val_log_loss", 0)


def text() -> str:
    """The table, and below it what it leaves out.

    There are as many columns of settings as fit into the terminal. A name may be longer than the line: it is what other
    commands need whole. The scores of the workspace are left out if they are older than its settings.

    Raises:
        ArtefactError: there is no commit for experiments to start from.
    """
    here, saved = refs.workspace(), refs.saved()
    own = [one for one in saved if one.baseline == here.baseline]
    outdated = {dataset: changes(dataset, TO_RESULTS) for dataset in here.metrics}
    rows = [row._replace(scores={}) if outdated[row.dataset] else row for row in _rows(here)]
    rows = sorted([*rows, *(row for one in own for row in _rows(one))], key=lambda row: row.rank)
    settings, left_out = _differing(rows)
    lines = [_table(rows, settings)]
    if left_out:
        lines.append(f"these settings differ too: {shown(left_out)}; bottletop runs NAME shows all of one")
    told = dict.fromkeys(shown(changed) for changed in outdated.values() if changed)  # once for all datasets
    lines += [f"{here.name}: {changed} changed since its results: run dvc repro" for changed in told]
    if not own:
        lines.append("no experiments on this commit yet: dvc exp run --temp -S SETTING=VALUE, or bottletop sweep")
    if others := len(saved) - len(own):
        lines.append(f"{others} more started from other commits: bottletop runs lists them")
    return "\n".join(lines)


def _rows(one: refs.Experiment) -> Iterator[Row]:
    settings = {name: str(value) for name, value in flatten(one.params) if name != "datasets"}
    for dataset, scores in one.metrics.items():
        yield Row(one.name, dataset, scores, settings)


def _differing(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The settings in which the rows differ: those for which the terminal is wide enough, and the others."""
    names = dict.fromkeys(name for row in rows for name in row.settings)
    differing = [name for name in names if len({row.settings.get(name) for row in rows}) > 1]
    columns = shutil.get_terminal_size((1_000_000, 0)).columns
    unnamed = [row._replace(name="") for row in rows]
    count = len(differing)
    while count and max(map(len, _table(unnamed, differing[:count]).splitlines())) > columns:
        count -= 1
    return differing[:count], differing[count:]


def _table(rows: Sequence[Row], settings: Sequence[str]) -> str:
    several = len({row.dataset for row in rows}) > 1
    headings = [*(["dataset"] if several else []), *SCORES.values()]
    headings += [name.removeprefix("train.").replace(".", ".\n") for name in settings]
    cells = [
        [
            *([row.dataset] if several else []),
            *(f"{row.scores[name]:.1%}" if name in row.scores else "-" for name in SCORES),
            *(row.settings.get(name, "-") for name in settings),
            row.name,
        ]
        for row in rows
    ]
    shown_cells = [[visible(cell) for cell in line] for line in cells]
    return str(tabulate(shown_cells, [*headings, "experiment"], disable_numparse=True))
