"""The report on a trained model: scores, tables and figures for test images that played no part in training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottletop.core.files import read_numbers, write_json, write_sheet, write_text
from bottletop.core.terminal import visible
from bottletop.evaluation import figures
from bottletop.evaluation.scores import (
    MIN_PROBABILITY,
    EvaluateParams,
    Labels,
    Positive,
    Probabilities,
    Score,
    calibration,
    choose_threshold,
    confusion_matrix,
    evaluate,
    per_class,
)
from bottletop.images.decoding import decode
from bottletop.images.index import ImageRow, read_shard
from bottletop.models.record import TopRecord, read_probabilities
from bottletop.split import SplitRow

COMPARED = ("accuracy", "macro_f1", "log_loss", "top5_accuracy", "roc_auc", "sensitivity", "specificity")
COLUMNS = ("precision", "recall", "f1-score", "support")
GALLERY = 12  # maximum number of mistakes shown


@dataclass(frozen=True)
class Predicted:
    """Images of one split with their labels and predictions, row for row."""

    images: tuple[ImageRow, ...]
    labels: Labels
    probabilities: Probabilities

    def by_confidence(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns these rows, that with the highest probability of its named class first."""
        return np.asarray(rows[np.argsort(-self.probabilities[rows].max(1), kind="stable")])


@dataclass(frozen=True)
class Report:
    """All results of one model on one test set."""

    class_names: tuple[str, ...]
    validation: Predicted
    test: Predicted
    scores: dict[str, Score]
    positive: Positive | None  # with the threshold chosen on validation; None unless there are two classes
    record: TopRecord
    val_accuracy: float
    val_log_loss: float  # of the calibrated model, like the test images' `log_loss`
    splits: dict[str, int]  # number of images per split

    @property
    def predicted(self) -> Labels:
        """The position of each test image's most probable class: int64, (n,)."""
        return np.asarray(self.test.probabilities.argmax(1))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix of the test images; see `confusion_matrix`."""
        return confusion_matrix(self.predicted, self.test.labels, len(self.class_names))

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """Rows of the test images that were classified wrongly, the most confident first."""
        return self.test.by_confidence(np.flatnonzero(self.predicted != self.test.labels))

    @property
    def said(self) -> float:
        """Mean probability of the named classes of the test images, which fits if it equals the accuracy."""
        return float(self.test.probabilities.max(1).mean())

    @property
    def fit(self) -> str:
        """In words, how what the model says fits to the accuracy, whose interval tells chance from misfit."""
        if self.said > self.scores["accuracy"].high:
            return "over-confident"
        return "under-confident" if self.said < self.scores["accuracy"].low else "fits"


def read_predictions(
    folder: Path, record: TopRecord, images: Sequence[ImageRow], rows: Sequence[SplitRow]
) -> dict[str, Predicted]:
    """Reads what the model in the folder predicted for the validation and test images, by split.

    Args:
        folder: of the model.
        record: the model's record.
        images: the index.
        rows: the images' splits, in the same order.

    Raises:
        ArtefactError: a file is missing or damaged, or the model was trained on another split.
    """
    predicted = {}
    for split, probabilities in read_probabilities(folder, rows).items():
        here = [i for i, row in enumerate(rows) if row.split == split]
        labels = np.array([record.class_names.index(rows[i].label) for i in here], np.int64)
        predicted[split] = Predicted(select(images, here), labels, probabilities.astype(np.float64))
    return predicted


def assess(
    record: TopRecord, validation: Predicted, test: Predicted, splits: dict[str, int], params: EvaluateParams
) -> Report:
    """Scores the test predictions.

    Validation images give the threshold for two classes and their own accuracy and log loss. Nothing else comes from
    them.

    Args:
        record: the model's record.
        validation: labels and predictions of the validation images.
        test: labels and predictions of the test images.
        splits: number of images per split; see `count_splits`.
        params: section ``evaluate`` of params.yaml.
    """
    positive = None
    if len(record.class_names) == 2:
        named = [i for i, name in enumerate(record.class_names) if name in params.positive_classes]
        position = named[0] if named else 1
        threshold = choose_threshold(validation.probabilities[:, position], validation.labels == position)
        positive = Positive(position, threshold)
    _, groups = np.unique([row.group for row in test.images], return_inverse=True)
    scores = evaluate(test.probabilities, test.labels, groups, params, positive)
    own = validation.probabilities[np.arange(len(validation.labels)), validation.labels]
    val_log_loss = float(-np.log(own.clip(MIN_PROBABILITY)).mean())
    val_accuracy = float((validation.probabilities.argmax(1) == validation.labels).mean())
    return Report(record.class_names, validation, test, scores, positive, record, val_accuracy, val_log_loss, splits)


def write_tables(folder: Path, report: Report) -> None:
    """Writes the report's JSON, CSV and text files.

    These are the metrics, the details, the classification report and the predictions.
    """
    write_json(folder / "metrics.json", _metrics(report))
    write_json(folder / "details.json", _details(report))
    names = list(report.class_names)
    table = per_class(report.confusion)
    write_text(folder / "classification_report.txt", _per_class_text(report, table) + _binary_text(report))
    per_class_rows = ([name, *map(_round, row)] for name, row in zip(names, table, strict=True))
    write_sheet(folder / "classification_report.csv", ("class", *COLUMNS), per_class_rows)
    predicted = [names[i] for i in report.predicted]
    true = [names[i] for i in report.test.labels]
    probabilities = ([f"{value:.6f}" for value in row] for row in report.test.probabilities)
    write_sheet(
        folder / "predictions.csv",
        ("id", "path", "group", "label", "predicted", *(f"p({name})" for name in names)),
        (
            (image.id, image.source, image.group, label, guess, *values)
            for image, label, guess, values in zip(report.test.images, true, predicted, probabilities, strict=True)
        ),
    )


def write_figures(folder: Path, report: Report, history: Path, shards: Path) -> None:
    """Writes the figures as PNG files.

    Args:
        folder: where the files go.
        report: what to show.
        history: CSV file with the training history.
        shards: folder of the shards, from which the gallery reads its images; it is named after the dataset.
    """
    bins = calibration(report.test.probabilities, report.test.labels)
    accuracy, regression = report.scores["accuracy"].value, report.record.params.is_regression
    title = f"{shards.name}: {accuracy:.1%} of {len(report.test.labels):,} test images right"
    pictures = {
        "confusion": figures.confusion(report.confusion, report.class_names, title),
        "curves": figures.curves(read_numbers(history), report.record.best_epoch, best=not regression),
        "reliability": figures.reliability(
            bins, f"says {report.said:.1%} on average, right in {accuracy:.1%}: {report.fit}"
        ),
        "mistakes": figures.mistakes(list(_worst(report, shards)), len(report.mistakes)),
    }
    for name, figure in pictures.items():
        figures.write(folder / f"{name}.png", figure)


def select(images: Sequence[ImageRow], rows: Iterable[int]) -> tuple[ImageRow, ...]:
    """Returns the images at these positions."""
    return tuple(images[row] for row in rows)


def count_splits(rows: Iterable[SplitRow]) -> dict[str, int]:
    """Counts the images per split; the splits are in alphabetical order."""
    splits, counts = np.unique([row.split for row in rows], return_counts=True)
    return {str(split): int(count) for split, count in zip(splits, counts, strict=True)}


def _metrics(report: Report) -> dict[str, float]:
    """The main scores, for comparison between experiments."""
    accuracy = report.scores["accuracy"]
    chosen = {name: _round(report.scores[name].value) for name in COMPARED if name in report.scores}
    return {
        "accuracy": chosen.pop("accuracy"),
        "accuracy_low": _round(accuracy.low),
        "accuracy_high": _round(accuracy.high),
        **chosen,
        "val_accuracy": _round(report.val_accuracy),
        "val_log_loss": _round(report.val_log_loss),
    }


def _details(report: Report) -> dict[str, Any]:
    """Every score with its interval, and what is needed to interpret them."""
    scores = [
        {"score": name, "value": _round(score.value), "low": _round(score.low), "high": _round(score.high)}
        for name, score in report.scores.items()
    ]
    binary = {}
    if report.positive is not None:
        name = report.class_names[report.positive.position]
        binary = {"positive_class": name, "threshold": _round(report.positive.threshold)}
    return {"scores": scores, **binary, "best_epoch": report.record.best_epoch, "images": report.splits}


def _per_class_text(report: Report, table: NDArray[np.float64]) -> str:
    """Formats the table as scikit-learn's `classification_report` does.

    With `sklearn.metrics`, importing this module takes 4.6 s of CPU time instead of 1.3 s (medians of 7).
    """
    names = list(map(visible, report.class_names))
    width, images = max(map(len, [*names, "weighted avg"])), int(table[:, 3].sum())
    accuracy = ["", "", f"{report.scores['accuracy'].value:.3f}", images]

    def line(name: str, cells: Iterable[object]) -> str:
        return f"{name:>{width}}  " + " ".join(f"{cell:>9}" for cell in cells) + "\n"

    def numbers(row: NDArray[np.float64], images: float) -> list[object]:
        return [*(f"{value:.3f}" for value in row[:3]), int(images)]

    lines = [line(name, numbers(row, row[3])) for name, row in zip(names, table, strict=True)]
    macro = line("macro avg", numbers(table.mean(0), images))
    weighted = line("weighted avg", numbers(np.average(table, axis=0, weights=table[:, 3]), images))
    return "\n".join([line("", COLUMNS), "".join(lines), line("accuracy", accuracy) + macro + weighted])


def _binary_text(report: Report) -> str:
    """States sensitivity and specificity at the threshold chosen on validation; empty unless there are two classes.

    The table above it uses the more probable class instead.
    """
    if report.positive is None:
        return ""
    sensitivity, specificity = report.scores["sensitivity"].value, report.scores["specificity"].value
    return (
        f"\n{report.class_names[report.positive.position]!r} called from a probability of "
        f"{report.positive.threshold:.3f}, chosen on validation images: sensitivity {sensitivity:.3f}, specificity "
        f"{specificity:.3f}\n"
    )


def _worst(report: Report, shards: Path) -> Iterable[figures.Mistake]:
    """Yields the most confident mistakes, at most GALLERY, with the images read from their shards."""
    for row in report.mistakes[:GALLERY]:
        image = report.test.images[row]
        [data] = read_shard(shards / image.shard, [image])
        guess, confidence = report.class_names[report.predicted[row]], report.test.probabilities[row].max()
        yield figures.Mistake(decode(data), image.label, guess, float(confidence))


def _round(value: float) -> float:
    return round(float(value), 6)
