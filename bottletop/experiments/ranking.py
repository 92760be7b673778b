"""Ranks configurations on the validation images, and compares the best with the baseline on the test images."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from bottletop.core.errors import ArtefactError
from bottletop.experiments.comparison import Difference, Outcome, average, compare, read_outcome
from bottletop.experiments.refs import Experiment

SHOWN = {"val_accuracy": "val accuracy", "val_log_loss": "val log loss"}


@dataclass(frozen=True)
class Candidate:
    """One configuration, with one experiment per training seed."""

    name: str
    runs: Sequence[Experiment]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the datasets that the configuration was trained on."""
        return tuple(self.runs[0].metrics)

    @property
    def rank(self) -> tuple[float, float]:
        """A key that sorts the best first: by mean validation accuracy over all datasets, then by mean log loss."""
        accuracy, loss = (
            statistics.fmean(value for dataset in self.datasets for value in self.values(dataset, metric))
            for metric in SHOWN
        )
        return -round(accuracy, 6), loss

    def values(self, dataset: str, metric: str) -> list[float]:
        """One metric on one dataset: a value per seed."""
        return [run.metrics[dataset][metric] for run in self.runs]


def table(ranked: Sequence[Candidate]) -> str:
    """A table as text: a line of headings, then per candidate its means and standard deviations over seeds."""
    datasets = ranked[0].datasets
    several = len(datasets) > 1
    head = [f"{dataset} {title}" if several else title for dataset in datasets for title in SHOWN.values()]
    rows = [[candidate.name, *_cells(candidate)] for candidate in ranked]
    right = ["right"] * len(head)
    return str(tabulate(rows, ["experiment", *head], "plain", colalign=["left", *right], disable_numparse=True))


def _cells(candidate: Candidate) -> Iterator[str]:
    for dataset in candidate.datasets:
        yield percent(candidate.values(dataset, "val_accuracy"))
        yield _spread(candidate.values(dataset, "val_log_loss"), 3)


def scores(run: Experiment) -> Iterator[str]:
    """Yields the validation accuracy on each dataset, such as ``digits 98.3 %``."""
    for dataset, metrics in run.metrics.items():
        yield f"{dataset} {percent([metrics['val_accuracy']])}"


def percent(values: Sequence[float]) -> str:
    """Formats a fraction as ``98.1 %``; several as mean and standard deviation, ``98.1 ± 0.3 %``."""
    return f"{_spread([100 * value for value in values], 1)} %"


def verdicts(best: Candidate, other: Candidate) -> Iterator[str]:
    """Yields a line per dataset that says whether `best` beats `other` on the test images."""
    for dataset in best.datasets:
        accuracies = (percent(candidate.values(dataset, "accuracy")) for candidate in (best, other))
        try:
            found = compare(_outcomes(best, dataset), _outcomes(other, dataset))
        except ArtefactError as error:
            yield f"{dataset}: {error}"
        else:
            yield f"{dataset}: {' against '.join(accuracies)} on {found.images} test images: {_describe(found)}"


def without_effect(results: Sequence[tuple[Mapping[str, Any], Experiment]]) -> Iterator[str]:
    """Yields the swept settings whose values gave the same metrics wherever nothing else differed.

    Args:
        results: the values of the swept settings, and the experiment with these values.
    """
    for name in results[0][0] if results else ():
        metrics: dict[str, Any] = {}  # of the first experiment, by the values of the other settings
        others = [json.dumps({key: value for key, value in settings.items() if key != name}) for settings, _ in results]
        same = [
            metrics.setdefault(key, run.metrics) == run.metrics for key, (_, run) in zip(others, results, strict=True)
        ]
        if all(same) and len(metrics) < len(results):
            yield name


def _outcomes(candidate: Candidate, dataset: str) -> Outcome:
    outcomes = []
    for run in candidate.runs:
        with run.predictions(dataset) as file:
            outcomes.append(read_outcome(file))
    return average(outcomes)


def _describe(found: Difference) -> str:
    low, high = (f"{100 * end:+.1f}" for end in (found.low, found.high))
    return f"{100 * found.value:+.1f} points (95 % interval {low} to {high}), p = {found.p_value:.2g}: {found.verdict}"


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"
