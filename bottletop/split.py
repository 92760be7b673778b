"""Assigns each image to a split: train, validation or test."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from bottletop.core.errors import ArtefactError, DataError
from bottletop.core.files import read_rows, sha256_text, write_csv
from bottletop.core.settings import Params
from bottletop.images.index import ImageRow

SPLITS = ("train", "validation", "test")
FEW = 30  # test images, below which `doubt` speaks
DROPPED = "dropped"  # images in the group of images of another official split, which has precedence

Fraction = Annotated[float, Meta(gt=0, lt=1)]


class SplitParams(Params, frozen=True, kw_only=True):
    """Section ``split`` of params.yaml."""

    validation: Fraction = 0.1  # of each class's images that are in no official set used; not used with an official one
    test: Fraction = 0.1  # of each class's images that are in no official set used; not used with an official one
    official_test: bool = True  # use the official test set and the official validation set, if the dataset has them
    seed: int = 0

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

    A group shares a split. The images of an official test or validation set that is used are that split. If a group is
    in several official splits, test wins over validation and validation over train; its other images are dropped. What
    has no official set is a fraction of the training images. An image's split does not depend on the order of the
    images.

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
    official = _official_splits(images) if params.official_test else {}
    split_of = official | _drawn([row for row in images if row.group not in official], params, set(official.values()))
    rows = []
    for row in images:
        split = split_of[row.group]
        dropped = row.group in official and split != (row.official or "train")
        rows.append(SplitRow(row.id, row.label, row.shard, row.group, DROPPED if dropped else split, row.source))
    _check(rows)
    return rows


def write_split(path: Path, rows: Iterable[SplitRow]) -> None:
    """Writes the split of every image as CSV."""
    write_csv(path, SplitRow._fields, rows)


def read_split(path: Path, images: Iterable[ImageRow]) -> list[SplitRow]:
    """Reads the split of every image, in the order of the index.

    Args:
        path: the file that `write_split` wrote.
        images: the rows of the index, with which the file is compared.

    Raises:
        ArtefactError: the file is damaged, or is of other images than the index.
    """
    rows = list(read_rows(path, SplitRow))
    expected = [(image.id, image.label, image.shard, image.group, image.source) for image in images]
    same = [(row.id, row.label, row.shard, row.group, row.source) for row in rows] == expected
    if not same or not {row.split for row in rows} <= {*SPLITS, DROPPED}:
        raise ArtefactError(
            f"{path} does not fit the index of the images", f"run dvc repro split@{path.stem}, or bottletop doctor"
        )
    return rows


def digest(rows: Iterable[SplitRow]) -> str:
    """Returns the SHA-256, in hex, of the image ids and their splits, in order."""
    return sha256_text(f"{row.id} {row.split}" for row in rows)


def _official_splits(images: Iterable[ImageRow]) -> dict[str, str]:
    """Returns the split of each group that has an official test or validation image, by the group's name."""
    split_of: dict[str, str] = {}
    for row in images:
        if row.official == "test" or (row.official == "validation" and row.group not in split_of):
            split_of[row.group] = row.official
    return split_of


def _drawn(images: Sequence[ImageRow], params: SplitParams, filled: Set[str]) -> dict[str, str]:
    """Draws a split for each group of images that is in no official set.

    Args:
        images: those images.
        params: shares and seed.
        filled: splits that official sets fill.

    Returns:
        The split of each group, by the group's name.

    Raises:
        DataError: a class has too few groups.
    """
    shares = {"test": params.test, "validation": params.validation}
    shares = {split: share for split, share in shares.items() if split not in filled}
    by_group = defaultdict(list)
    for row in images:
        by_group[row.group].append(row)
    by_label = defaultdict(list)
    for name, group in by_group.items():
        by_label[min(row.label for row in group)].append(name)
    split_of: dict[str, str] = {}
    for label, names in sorted(by_label.items()):
        if len(names) <= len(shares):
            needed = [split for split in SPLITS if split == "train" or split in shares]
            problem = f"needs at least {len(needed)} separate images, for {', '.join(needed)}"
            raise _too_few(label, problem, images)
        split_of |= _divide({name: len(by_group[name]) for name in names}, shares, params.seed)
    return split_of


def _divide(sizes: dict[str, int], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Assigns one class's groups to splits: each is filled up to its share, and the rest is for training.

    Args:
        sizes: number of images in each group, by the group's name.
        shares: fraction of the images for each split to fill.
        seed: of the order in which groups are taken.

    Returns:
        The split of each group, by the group's name.
    """
    total = sum(sizes.values())
    room = {split: max(1, round(share * total)) for split, share in shares.items()}
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = {}
    for name in order:
        split = next((split for split, left in room.items() if sizes[name] <= left), "train")
        chosen[name] = split
        if split != "train":
            room[split] -= sizes[name]
    return chosen


def check_classes(images: Iterable[ImageRow]) -> None:
    """Checks that there is something to tell apart, before hours of extraction.

    Raises:
        DataError: there is only one class.
    """
    labels = {row.label for row in images}
    if len(labels) == 1:
        raise DataError(f"there is only one class, {labels.pop()!r}", "give a folder with one subfolder per class")


def doubt(rows: Iterable[SplitRow]) -> str:
    """Says what so few test images cannot measure; empty if there are enough.

    The interval is Wilson's (1927) at 95 %, as in the report.
    """
    tested = sum(row.split == "test" for row in rows)
    if tested >= FEW:
        return ""
    low = tested / (tested + 1.96**2)
    return (
        f"only {tested} test images: even if a model gets all of them right, its accuracy on others may lie "
        f"anywhere between {low:.0%} and 100%"
    )


def _check(rows: Sequence[SplitRow]) -> None:
    counts = Counter((row.label, row.split) for row in rows)
    for label in sorted({row.label for row in rows}):
        for split in SPLITS:
            if not counts[label, split]:
                raise _too_few(label, f"has no images for {split}", rows)


def _too_few(label: str, problem: str, rows: Sequence[ImageRow] | Sequence[SplitRow]) -> DataError:
    """Returns the error of a class that can't be split, with the size of its largest group."""
    sizes = Counter(row.group for row in rows)
    own = Counter(row.group for row in rows if row.label == label)
    what = f"{own.total()} images" if own.total() == len(own) else f"{own.total()} images in {len(own)} groups"
    message = f"class {label!r} {problem}; it has {what}"
    fix = "add images, change split in params.yaml, or leave the class out with classes in datasets.yaml"
    largest = max(sizes[name] for name in own)
    if largest > 1:
        message += f", and the largest group has {largest} images (of all classes), which must be in one split"
        fix += (
            "; if they are no copies but only look alike, as from one fixed camera, set download.near_duplicates in "
            "params.yaml to ignore or drop"
        )
    return DataError(message, fix)
