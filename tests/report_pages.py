"""A report.html on made-up predictions for made-up pictures, and what it was made from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bottletop.core.catalogue import Dataset, Source
from bottletop.core.files import write_csv
from bottletop.evaluation import page, reports
from bottletop.evaluation.page import Data, Unreadable
from bottletop.evaluation.reports import Predicted, Report
from bottletop.evaluation.scores import EvaluateParams
from bottletop.images.index import ImageRow
from bottletop.models.record import TopRecord
from bottletop.split import SplitRow
from tests.tiny import image_shards, pictures, top_params

SPLITS = ("train", "train", "validation", "test", "test", "test")  # of a class's images in turn
FOUND = {"official_split": {}, "rejected": {}, "left_out": {}, "without_contrast": {"images": 0, "examples": []}}
PARAMS = EvaluateParams(bootstrap=100, seed=0, positive_classes=("malignant",))
HISTORY = [(1, 1.5, 0.5, 1.6, 0.4), (2, 0.9, 0.8, 1.1, 0.6), (3, 0.5, 0.9, 0.9, 0.7)]
COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "=cmd()",
    "🦔 & 花",
    "\u202eevil \u05d0\u05d1\u05d2",
    "{{ 7 * 7 }}",
    "W" * 200,
)


class Made(NamedTuple):
    """A page, and what it was made from."""

    path: Path
    report: Report
    data: Data
    images: Path  # the folder of shards

    @property
    def html(self) -> str:
        return self.path.read_text(encoding="utf-8")


def make(
    folder: Path,
    class_names: Sequence[str],
    photos: Sequence[tuple[str, bytes]] | None = None,
    *,
    skill: float = 0.7,
    train: dict[str, Any] | None = None,
    **changes: Any,
) -> Made:
    """Writes a page.

    Args:
        folder: where to.
        class_names: sorted.
        photos: label and bytes of each picture; of a class in turn for training, validation and test.
        skill: share of right answers.
        train: params of the training that differ from params.yaml.
        changes: of what the page says about the data.
    """
    if photos is None:
        photos = [photo for i, label in enumerate(class_names) for photo in pictures(label, 2 * len(SPLITS), seed=i)]
    images = image_shards(folder / "images/made-up", photos)
    number = dict.fromkeys(class_names, 0)
    rows = []
    for image in images:
        split = SPLITS[number[image.label] % len(SPLITS)]
        number[image.label] += 1
        rows.append(SplitRow(image.id, image.label, image.shard, image.group, split, image.source))
    validation, test = (guessed(images, rows, class_names, split, skill) for split in ("validation", "test"))
    report = reports.assess(record(class_names, **(train or {})), validation, test, reports.count_splits(rows), PARAMS)
    data = described({"images": images, "rows": rows, **changes})
    path = folder / "metrics/report.html"
    page.write(path, report, data, folder / "images/made-up")
    return Made(path, report, data, folder / "images/made-up")


def guessed(
    images: Sequence[ImageRow], rows: Sequence[SplitRow], names: Sequence[str], split: str, skill: float
) -> Predicted:
    """Predictions for the images of a split, of which about a share of `skill` is right."""
    here = [i for i, row in enumerate(rows) if row.split == split]
    random = np.random.default_rng(len(here))
    labels = np.array([names.index(rows[i].label) for i in here])
    probabilities = random.dirichlet(np.full(len(names), 0.5), len(here))
    right = random.uniform(size=len(here)) < skill
    probabilities[right, labels[right]] += 1
    return Predicted(reports.select(images, here), labels, probabilities / probabilities.sum(1, keepdims=True))


def record(class_names: Sequence[str], **train: Any) -> TopRecord:
    return TopRecord(
        class_names=tuple(class_names),
        contract={"backbone": "vgg16", "image_side_px": 96},
        data_digest="d" * 64,
        split="5" * 64,
        best_epoch=3,
        params=top_params(**train),
        versions={"python": "3.11", "scipy": "1.2.3"},
    )


def described(changes: dict[str, Any]) -> Data:
    entry = Dataset(title="Made-up things", licence="CC0", image_side_px=96, source=Source(folder="pictures"))
    values: dict[str, Any] = {
        "name": "made-up",
        "entry": entry,
        "found": FOUND,
        "unreadable": [],
        "settings": {"split": {"seed": 7, "test": 0.1}},
        "history": [dict(zip(COLUMNS, row, strict=True)) for row in HISTORY],
    }
    return Data(**{**values, **changes})


def write_history(path: Path) -> Path:
    write_csv(path, COLUMNS, HISTORY)
    return path


UNREADABLE = [Unreadable("photos/<b>broken</b>.jpg", "cat", "truncated or corrupt")]
