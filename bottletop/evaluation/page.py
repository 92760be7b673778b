"""report.html: one page, in one file, on how good a model is, what it confuses and which images it gets wrong."""

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.core.catalogue import Dataset, dataset
from bottletop.core.files import read_json, read_numbers, read_rows, write_text
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import read_yaml
from bottletop.core.terminal import visible
from bottletop.evaluation import charts, drawings
from bottletop.evaluation.reports import Predicted, Report
from bottletop.evaluation.scores import (
    calibration,
    calibration_error,
    order_by_confusion,
    per_class,
    wilson,
)
from bottletop.evaluation.thumbnails import Thumbnail, Thumbnails
from bottletop.images.index import ImageRow
from bottletop.split import DROPPED, SPLITS, SplitRow

FOLDER = Path(__file__).parent  # of the template, its style and its script
PAIRS, SIDE_BY_SIDE = 10, 3  # most confused pairs that are shown, and images of each side
MISTAKES, UNSURE = 24, 12  # most confident mistakes and least certain right answers that are shown
SAMPLES, SAMPLES_PER_CLASS = 120, 6  # images that show what the classes look like: of all together, and of one
COPIES, COPIES_PER_GROUP = 4, 3  # groups of copies that are shown, and images of each
UNREADABLE = 20  # unreadable images that are named
FEW = 30  # test images of a class, below which the page says that its scores are uncertain
# Sections of params.yaml that the model's record does not hold: those of every model, and further ones by its kind.
SETTINGS, FURTHER = ("download", "split", "evaluate"), {"cnn": ("cnn", "augment"), "finetune": ("finetune", "augment")}


class Unreadable(NamedTuple):
    """A row of rejected.csv: an image that `download` set aside."""

    source: str
    label: str
    reason: str


@dataclass(frozen=True)
class Data:
    """What the page says about data, settings and training."""

    name: str  # the dataset's
    entry: Dataset  # in datasets.yaml
    found: dict[str, Any]  # data.json, which `download` writes
    unreadable: list[Unreadable]
    images: Sequence[ImageRow]
    rows: Sequence[SplitRow]  # of the images, in the same order
    settings: dict[str, dict[str, Any]]  # sections of params.yaml that concern the model
    history: list[dict[str, float]]  # rows of history.csv, one per epoch


class Photo(NamedTuple):
    """An image as the page shows it, with what the model says."""

    picture: Thumbnail
    file: str
    true: str
    true_share: float  # probability of the true class, in [0, 1]
    predicted: str
    predicted_share: float


class Side(NamedTuple):
    """One direction of a confused pair."""

    true: str
    taken_for: str
    images: int  # test images of the one that were taken for the other
    pictures: list[Thumbnail]  # of those; if there are none, of images of the class that were classified rightly


def read_data(paths: Paths, images: Sequence[ImageRow], rows: Sequence[SplitRow], model: str) -> Data:
    """Reads what the page needs besides the scores.

    Args:
        paths: of the dataset.
        images: the index.
        rows: the images' splits.
        model: the kind of model, ``train.model``.
    """
    params = read_yaml(PARAMS)
    return Data(
        name=paths.dataset,
        entry=dataset(paths.dataset),
        found=read_json(paths.metrics / "data.json"),
        unreadable=list(read_rows(paths.images / "rejected.csv", Unreadable)),
        images=images,
        rows=rows,
        settings={section: params[section] for section in (*SETTINGS, *FURTHER.get(model, ()))},
        history=read_numbers(paths.history),
    )


def write(path: Path, report: Report, data: Data, shards: Path) -> None:
    """Writes the page. Equal inputs give equal bytes, so it names no date, commit, machine or folder.

    Args:
        path: where the page goes.
        report: the scores and predictions.
        data: what else the page says.
        shards: folder of the shards, from which the images are read.

    Raises:
        ArtefactError: an image or its shard is damaged.
    """
    pictures = Thumbnails(shards)
    style, script = ((FOLDER / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    matrix = report.confusion
    values = {
        "report": report,
        "record": report.record,
        "data": data,
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "answer": _answer(report, data.rows),
        "parts": _parts(data),
        "samples": _samples(data, pictures),
        "copies": _copies(data, pictures),
        "matrix": charts.matrix(matrix, report.class_names, order_by_confusion(matrix)),
        "pairs": _pairs(report, matrix, pictures),
        "classes": _classes(report, matrix),
        "mistakes": _mistakes(report, pictures),
        "unsure": _unsure(report, pictures),
        "trust": drawings.trust(report),
        "two_classes": drawings.two_classes(report),
        "learning": drawings.learning(data.history, report),
        "settings": _settings(report, data),
        "few": FEW,
        "unreadable": UNREADABLE,
    }
    write_text(path, _environment().get_template("report.html.jinja").render(values))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["charts"] = charts  # for the margins
    environment.filters["visible"] = visible
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["setting"] = _setting
    return environment


def _setting(value: object) -> str:
    """Returns a setting as params.yaml has it, and long numbers with six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _hash(text: str) -> str:
    """Returns how a content security policy names the one style or script that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _answer(report: Report, rows: Sequence[SplitRow]) -> dict[str, Any]:
    """What the first sentences say."""
    count, validation = len(report.test.labels), report.validation
    largest, _ = Counter(row.label for row in rows if row.split == "train").most_common(1)[0]
    right = int((validation.probabilities.argmax(1) == validation.labels).sum())
    return {
        "count": count,
        "right": int((report.predicted == report.test.labels).sum()),
        "distinct": len({image.group for image in report.test.images}),
        "largest": largest,
        "guess": sum(image.label == largest for image in report.test.images) / count,
        "val_count": len(validation.labels),
        "val_distinct": len({image.group for image in validation.images}),
        "val_interval": wilson(right, len(validation.labels)),
        "val_calibration_error": calibration_error(calibration(validation.probabilities, validation.labels)),
    }


def _parts(data: Data) -> list[dict[str, Any]]:
    """The number of images of each class in each part, in order of the classes' names."""
    counts = Counter((row.label, row.split) for row in data.rows)
    return [
        {"name": label, "left_out": counts[label, DROPPED], **{split: counts[label, split] for split in SPLITS}}
        for label in sorted({row.label for row in data.rows})
    ]


def _samples(data: Data, pictures: Thumbnails) -> dict[str, list[Thumbnail]]:
    """Thumbnails of training images of each class; of copies only one. The images' hashes choose at random."""
    found: dict[str, dict[str, ImageRow]] = defaultdict(dict)
    for image, row in sorted(zip(data.images, data.rows, strict=True), key=lambda both: both[0].id):
        if row.split == "train":
            found[row.label].setdefault(row.group, image)
    each = min(SAMPLES_PER_CLASS, max(1, SAMPLES // len(found)))
    return {label: [pictures(image) for image in list(images.values())[:each]] for label, images in found.items()}


def _copies(data: Data, pictures: Thumbnails) -> dict[str, Any]:
    """How many images have copies or belong together, how many were left out for that, and a few groups as examples."""
    sizes = Counter(row.group for row in data.rows)
    groups: dict[str, list[ImageRow]] = defaultdict(list)
    for image in data.images:
        if sizes[image.group] > 1:
            groups[image.group].append(image)
    shown = [[pictures(image) for image in groups[name][:COPIES_PER_GROUP]] for name in sorted(groups)[:COPIES]]
    return {
        "groups": len(groups),
        "images": sum(map(len, groups.values())),
        "left_out": sum(row.split == DROPPED for row in data.rows),
        "shown": shown,
    }


def _pairs(report: Report, matrix: NDArray[np.int64], pictures: Thumbnails) -> list[tuple[Side, Side]]:
    """The pairs of classes that are confused most often, in either direction."""
    both = np.triu(matrix + matrix.T, 1)
    found = np.argwhere(both)
    order = np.argsort(-both[tuple(found.T)], kind="stable")[:PAIRS]
    return [
        (_side(report, one, other, pictures), _side(report, other, one, pictures))
        for one, other in found[order].tolist()
    ]


def _side(report: Report, true: int, predicted: int, pictures: Thumbnails) -> Side:
    of_class = report.test.labels == true
    wrong = np.flatnonzero(of_class & (report.predicted == predicted))
    shown = wrong if len(wrong) else np.flatnonzero(of_class & (report.predicted == true))
    rows = _once(report.test, report.test.by_confidence(shown), SIDE_BY_SIDE)
    names = report.class_names[true], report.class_names[predicted]
    return Side(*names, len(wrong), [pictures(report.test.images[row]) for row in rows])


def _classes(report: Report, matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The scores of each class, and for which other class it is taken most often."""
    rows = []
    for position, (precision, recall, f1, support) in enumerate(per_class(matrix).tolist()):
        wrong = matrix[position].copy()
        wrong[position] = 0
        low, high = wilson(int(matrix[position, position]), int(support))
        rows.append(
            {
                "name": report.class_names[position],
                "precision": precision,
                "recall": recall,
                "low": low,
                "high": high,
                "f1": f1,
                "support": int(support),
                "taken_for": report.class_names[int(wrong.argmax())],
                "taken": int(wrong.max()),
            }
        )
    return rows


def _mistakes(report: Report, pictures: Thumbnails) -> list[Photo]:
    """The most confident mistakes; of copies only one."""
    return [_photo(report, row, pictures) for row in _once(report.test, report.mistakes, MISTAKES)]


def _unsure(report: Report, pictures: Thumbnails) -> list[Photo]:
    """The least certain right answers; of copies only one."""
    right = np.flatnonzero(report.predicted == report.test.labels)
    order = right[np.argsort(report.test.probabilities[right].max(1), kind="stable")]
    return [_photo(report, row, pictures) for row in _once(report.test, order, UNSURE)]


def _once(predicted: Predicted, rows: Iterable[int], most: int) -> list[int]:
    """Returns the first rows, at most so many, and of each group of copies only one."""
    groups: set[str] = set()
    found: list[int] = []
    for row in rows:
        group = predicted.images[row].group
        if group not in groups and len(found) < most:
            groups.add(group)
            found.append(int(row))
    return found


def _photo(report: Report, row: int, pictures: Thumbnails) -> Photo:
    image, shares = report.test.images[row], report.test.probabilities[row]
    true, predicted = int(report.test.labels[row]), int(report.predicted[row])
    return Photo(
        pictures(image),
        image.source,
        report.class_names[true],
        float(shares[true]),
        report.class_names[predicted],
        float(shares[predicted]),
    )


def _settings(report: Report, data: Data) -> dict[str, dict[str, Any]]:
    """The settings that give the same model again, by section, and what training and extraction recorded."""
    record = msgspec.to_builtins(report.record)
    found = {"epoch": record["best_epoch"], "l2": record["l2"], "temperature": record["temperature"]}
    return {
        "train": record["params"],
        **data.settings,
        "what the model expects of its inputs": record["contract"],
        "what training chose": {name: value for name, value in found.items() if value is not None},
        "versions that trained the model": record["versions"],
        "fingerprints of the data (SHA-256)": {"images": record["data_digest"], "split": record["split"]},
    }
