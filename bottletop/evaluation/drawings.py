"""The report's charts: how far the probabilities can be trusted, and how the model learned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bottletop.evaluation.charts import Bar, Chart, Dot, Line, around
from bottletop.evaluation.reports import Report
from bottletop.evaluation.scores import CALIBRATION_BINS, Curve, calibration, precision_recall_curve, roc_curve, wilson

MOST_POINTS = 300  # of a curve


def trust(report: Report) -> dict[str, Any]:
    """How often the model is right, by how sure it says it is; and in words whether it says too much or too little."""
    bins = [
        {
            "said": said_here,
            "right": right,
            "images": int(images),
            "interval": wilson(round(right * images), int(images)),
        }
        for said_here, right, images in calibration(report.test.probabilities, report.test.labels).tolist()
    ]
    return {
        "bins": bins,
        "reliability": _reliability(bins),
        "histogram": _histogram(report.test.probabilities.max(1)),
    }


def _reliability(bins: Sequence[dict[str, Any]]) -> Chart:
    dots = [
        Dot(
            "first",
            each["said"],
            each["right"],
            f"says {each['said']:.1%} on average, is right in {each['right']:.1%} of {each['images']:,} images",
            *each["interval"],
        )
        for each in bins
    ]
    return Chart(
        title="How often it is right, by how sure it is",
        text="Share of right answers against the probability that the model gives; the table below has the numbers.",
        x_label="probability that it gives",
        y_label="share that is right",
        lines=[Line("guide", [(0, 0), (1, 1)], "as it should be")],
        dots=dots,
    )


def _histogram(confidence: np.ndarray) -> Chart:
    counts, edges = np.histogram(confidence, CALIBRATION_BINS, (0, 1))
    bars = [
        Bar(float(left), float(right), int(count), f"{count:,} images with {left:.0%} to {right:.0%}")
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True)
        if count
    ]
    return Chart(
        title="How sure it is",
        text="Number of test images by the probability of the named class; the table below has the numbers.",
        x_label="probability that it gives",
        y_label="test images",
        y_range=(0, 1.05 * float(counts.max())),
        bars=bars,
        whole_y=True,
    )


def two_classes(report: Report) -> list[Chart]:
    """The ROC and the precision-recall curve; none unless there are two classes."""
    if report.positive is None:
        return []
    probability = report.test.probabilities[:, report.positive.position]
    positive = report.test.labels == report.positive.position
    called = probability >= report.positive.threshold
    sensitivity = report.scores["sensitivity"].value
    specificity = report.scores["specificity"].value
    precision = float(positive[called].mean()) if called.any() else 1.0
    chosen = f"at the threshold {report.positive.threshold:.3f}"
    return [
        Chart(
            title=f"ROC curve, area {report.scores['roc_auc'].value:.3f}",
            text=f"ROC curve; {chosen}, sensitivity is {sensitivity:.1%} and specificity {specificity:.1%}.",
            x_label="1 − specificity (false alarms)",
            y_label="sensitivity (found)",
            lines=[
                Line("guide", [(0, 0), (1, 1)], "guessing"),
                Line("first", _thinned(roc_curve(probability, positive)), "test images"),
            ],
            dots=[Dot("second", 1 - specificity, sensitivity, chosen)],
        ),
        Chart(
            title="Precision-recall curve",
            text=f"Precision-recall curve; {chosen}, precision is {precision:.1%} and recall {sensitivity:.1%}.",
            x_label="recall (found)",
            y_label="precision (right alarms)",
            lines=[
                Line("guide", [(0, positive.mean()), (1, positive.mean())], "guessing"),
                Line("first", _thinned(precision_recall_curve(probability, positive)), "test images"),
            ],
            dots=[Dot("second", sensitivity, precision, chosen)],
        ),
    ]


def _thinned(curve: Curve) -> list[tuple[float, float]]:
    """Returns the points of a curve, at most `MOST_POINTS`."""
    rows = np.unique(np.linspace(0, len(curve) - 1, MOST_POINTS).round().astype(np.int64))
    return [(float(x), float(y)) for x, y in curve[rows]]


def learning(history: Sequence[dict[str, float]], report: Report) -> list[Chart]:
    """Accuracy and loss by epoch, training and validation in one chart each; the epoch of the model is marked."""
    return [_by_epoch(name, history, report.record.best_epoch) for name in ("accuracy", "loss")]


def _by_epoch(name: str, history: Sequence[dict[str, float]], kept: int) -> Chart:
    train, validation = ([(entry["epoch"], entry[key]) for entry in history] for key in (name, f"val_{name}"))
    low, high = around([value for _, value in train + validation], least=0.02)
    return Chart(
        title=name.capitalize(),
        text=f"{name.capitalize()} by epoch. At epoch {kept}: training {train[kept - 1][1]:.3f}, "
        f"validation {validation[kept - 1][1]:.3f}.",
        x_label="epoch",
        y_label=name,
        x_range=around([1, len(history)], least=1.5),
        y_range=(low, high),
        lines=[
            Line("guide", [(kept, low), (kept, high)], f"epoch of the model: {kept}"),
            Line("first", train, "training"),
            Line("second", validation, "validation"),
        ],
        dots=[
            Dot("first", *train[kept - 1], f"training, epoch {kept}"),
            Dot("second", *validation[kept - 1], f"validation, epoch {kept}"),
        ],
        whole_x=True,
    )
