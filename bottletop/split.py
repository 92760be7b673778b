"""Assigns each image to a split: train, validation or test."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from bottletop.core.errors import DataError
from bottletop.core.files import read_rows, sha256_text, write_csv
from bottletop.core.settings import Params
from bottletop.images.index import ImageRow

SPLITS = ("train", "validation", "test")
DROPPED = "dropped"  # training images that duplicate official test images

Fraction = Annotated[float, Meta(gt=0, lt=1)]


class SplitParams(Params, frozen=True, kw_only=True):
    """Section ``split`` of params.yaml."""

    validation: Fraction  # of each class's images; with an official test set, of its training images
    test: Fraction  # of each class's images; not used with an official test set
    official_test: bool  # use the official test set if the dataset has one
    seed: int

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1")


class SplitRow(NamedTuple):
    """One image and its split. The rows are in the order of the index."""

    id: str
    label: str
    shard: str
    group: str
    split: str  # one of SPLITS, or DROPPED
    source: str


def assign_splits(images: Sequence[ImageRow], params: SplitParams) -> list[SplitRow]:
    """Assigns a split to every image, stratified by class.

    Duplicates share a split. If the official test set is used, its images are the test split, and training images that
    duplicate them are dropped. An image's split does not depend on the order of the images.

    Each class's groups are taken in the order of the SHA-256 of seed and group name. So adding images moves few others,
    and the result does not depend on the version of a random generator.

    Args:
        images: the rows of the index.
        params: section ``split`` of params.yaml.

    Returns:
        A row for each image, in the same order.

    Raises:
        DataError: a class would have no images in one of the splits.
    """
    official = params.official_test and any(row.official == "test" for row in images)
    split_of = _official_test(images) if official else {}
    by_group = defaultdict(list)
    for row in images:
        if row.group not in split_of:
            by_group[row.group].append(row)
    by_label = defaultdict(list)
    for name, group in by_group.items():
        by_label[min(row.label for row in group)].append(name)
    for label, names in sorted(by_label.items()):
        sizes = {name: len(by_group[name]) for name in names}
        split_of |= _divide(sizes, params, label, with_test=not official)
    rows = [
        SplitRow(row.id, row.label, row.shard, row.group, _split(row, split_of, official), row.source) for row in images
    ]
    _check(rows)
    return rows


def write_split(path: Path, rows: Iterable[SplitRow]) -> None:
    """Writes the split of every image as CSV."""
    write_csv(path, SplitRow._fields, rows)


def read_split(path: Path) -> list[SplitRow]:
    """Reads the split of every image, in the order of the index."""
    return list(read_rows(path, SplitRow))


def digest(rows: Iterable[SplitRow]) -> str:
    """Returns the SHA-256, in hex, of the image ids and their splits, in order."""
    return sha256_text(f"{row.id} {row.split}" for row in rows)


def _official_test(images: Iterable[ImageRow]) -> dict[str, str]:
    return {row.group: "test" for row in images if row.official == "test"}


def _split(row: ImageRow, split_of: dict[str, str], official: bool) -> str:
    split = split_of[row.group]
    return DROPPED if official and split == "test" and row.official != "test" else split


def _divide(sizes: dict[str, int], params: SplitParams, label: str, *, with_test: bool) -> dict[str, str]:
    """Assigns one class's groups to splits: each is filled up to its share, and the rest is for training.

    Args:
        sizes: number of images in each group, by the group's name.
        params: shares and seed.
        label: the class, for the error message.
        with_test: whether a test split is filled, too.

    Returns:
        The split of each group, by the group's name.

    Raises:
        DataError: there are too few groups for the splits.
    """
    total = sum(sizes.values())
    shares = {"test": params.test} if with_test else {}
    shares["validation"] = params.validation
    room = {split: max(1, round(share * total)) for split, share in shares.items()}
    if len(sizes) <= len(room):
        raise DataError(
            f"class {label!r} has {total} images in {len(sizes)} groups of duplicates, and "
            f"{len(room) + 1} splits to fill",
            "add images, or leave the class out with classes in datasets.yaml",
        )
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{params.seed}:{name}".encode()).digest())
    chosen = {}
    for name in order:
        split = next((split for split, left in room.items() if sizes[name] <= left), "train")
        chosen[name] = split
        if split != "train":
            room[split] -= sizes[name]
    return chosen


def _check(rows: Sequence[SplitRow]) -> None:
    counts = Counter((row.label, row.split) for row in rows)
    for label in sorted({row.label for row in rows}):
        for split in SPLITS:
            if not counts[label, split]:
                raise DataError(
                    f"class {label!r} has no images for {split}",
                    "add images, change split in params.yaml, or leave the class out with classes in datasets.yaml",
                )
