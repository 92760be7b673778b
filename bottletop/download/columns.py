"""Guesses what the columns of a table of labels are, by their names and values."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bottletop.core.catalogue import Column, Labels
from bottletop.core.errors import DataError
from bottletop.download.layout import known_split
from bottletop.download.matching import MIN_MATCHING, SAMPLE, Names
from bottletop.download.tables import read_cells, read_table

CLASS_WORDS = ("label", "class", "dx", "diagnosis", "category", "species", "breed", "target")
GROUP_WORDS = ("patient", "lesion", "subject", "group", "camera", "person", "animal")
MIN_IMAGES = 2  # per class, on average: values of which each stands once are no classes
MIN_GROUPS = 3  # per class: fewer cannot be divided into training, validation and test

Columns = Mapping[Column, Sequence[str]]


def guess_labels(file: str, data: bytes, images: Names) -> Labels:
    """Guesses the columns of a CSV or TSV: image, class or one column for each, split and group.

    The group is a column with a name such as ``patient_id``, with at least `MIN_GROUPS` values in each class.

    Raises:
        DataError: no column names the images, or it is not clear which is the class; the message has the columns.
    """
    columns = _read(file, data, images)
    image = _image_column(file, columns, images)
    others = {name: cells for name, cells in columns.items() if name != image}
    split = next((name for name, cells in others.items() if _are_splits(cells)), None)
    others = {name: cells for name, cells in others.items() if name != split}
    group = next((name for name in others if _words(name) & set(GROUP_WORDS)), None)
    values = {name: cells for name, cells in others.items() if name != group}
    hot = _one_hot(values)
    label = _named_class(values)
    if label is None and not hot:
        label = _only_class(file, image, values)
    one_hot: bool | tuple[str, ...] = label is None and (len(hot) == len(values) or tuple(map(str, hot)))
    guess = Labels(file=file, image=image, label=label, one_hot=one_hot, split=split, group=group)
    if group is None or _divides(guess, data):
        return guess
    if one_hot is True:  # the column of the group would be a class
        one_hot = tuple(map(str, hot))
    return Labels(file=file, image=image, label=label, one_hot=one_hot, split=split)


def names_class(labels: Mapping[str, object]) -> bool:
    """Returns whether the table's own names tell the class, rather than its values alone."""
    label = labels.get("label")
    return label is None or bool(_words(str(label)) & set(CLASS_WORDS))


def unused_group(labels: Mapping[str, Any], data: bytes) -> list[str]:
    """Returns a note if the table has a column whose name tells groups, but which `guess_labels` left out.

    Args:
        labels: the columns, as in an entry.
        data: bytes of the table.
    """
    names = [name for name in read_cells(labels["file"], data)[0] if _words(name) & set(GROUP_WORDS)]
    if "group" in labels or isinstance(labels["image"], int) or not names or names[0] == labels["image"]:
        return []
    why = f"a class has fewer than {MIN_GROUPS} of its values"
    return [f"not used: the column {names[0]}, because {why}; if it tells groups, set group: {names[0]} in labels"]


def _read(file: str, data: bytes, images: Names) -> Columns:
    """Returns the cells of each column, by its name, or by its number if the first line names an image."""
    table = read_cells(file, data)
    if len(table) < MIN_IMAGES:
        raise DataError(f"{file} has no rows")
    width = max(map(len, table))
    cells = [[row[column] if column < len(row) else "" for row in table] for column in range(width)]
    if any(images.named(cell) for cell in table[0]):
        return dict(enumerate(cells, start=1))
    columns: dict[Column, Sequence[str]] = {}
    for each in cells:
        columns.setdefault(each[0], each[1:])
    return columns


def _image_column(file: str, columns: Columns, images: Names) -> Column:
    """Returns the column of which almost every cell names another image."""
    counts = {name: len({cell for cell in cells[:SAMPLE] if images.named(cell)}) for name, cells in columns.items()}
    best = max(counts, key=lambda name: counts[name])
    if counts[best] < MIN_MATCHING * len(columns[best][:SAMPLE]):
        raise DataError(f"{file}: none of its columns names the images: {_listed(columns)}")
    return best


def _are_splits(cells: Sequence[str]) -> bool:
    splits = {known_split(cell) for cell in set(cells)}
    return len(splits) > 1 and None not in splits


def _one_hot(columns: Columns) -> list[Column]:
    """Returns the columns of 0 and 1 if there are several and each row has a single 1 in them."""
    hot = [name for name, cells in columns.items() if set(cells) <= {"0", "1", "0.0", "1.0"}]
    rows = zip(*(columns[name] for name in hot), strict=True)
    return hot if len(hot) > 1 and all(sum(cell.startswith("1") for cell in row) == 1 for row in rows) else []


def _named_class(columns: Columns) -> Column | None:
    """Returns the column whose name says that it is the class: exactly, rather than as one word of several."""
    known: list[tuple[bool, bool, int, int, Column]] = []
    for name, cells in columns.items():
        if (words := _words(name) & set(CLASS_WORDS)) and _may_be_class(cells):
            first = min(map(CLASS_WORDS.index, words))
            known.append((str(name).lower() not in CLASS_WORDS, _are_numbers(cells), first, len(known), name))
    return min(known)[-1] if known else None


def _only_class(file: str, image: Column, columns: Columns) -> Column:
    """Returns the column that alone may be the class by its values; with a name, numbers may mean anything."""
    found = [
        name
        for name, cells in columns.items()
        if _may_be_class(cells)
        and min(Counter(cells).values()) >= MIN_IMAGES
        and (isinstance(name, int) or not _are_numbers(cells))
    ]
    if len(found) == 1:
        return found[0]
    example = f"labels: {{file: {file}, image: {image}, label: {next(iter(found or columns), 'NAME')}}}"
    raise DataError(
        f"{file}: its column {image} names the images, but it is not clear which is the class: "
        f"{_listed(found or columns)}; name it, such as {example}"
    )


def _may_be_class(cells: Sequence[str]) -> bool:
    return cells.count("") <= (1 - MIN_MATCHING) * len(cells) and 2 <= len(set(cells)) <= len(cells) / MIN_IMAGES


def _divides(labels: Labels, data: bytes) -> bool:
    """Returns whether each class has several groups, so that they can be divided among the splits."""
    groups = defaultdict(set)
    for row in read_table(labels, data):
        groups[row.label].add(row.group)
    return all(len(each) >= MIN_GROUPS for label, each in groups.items() if label)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?[\d.]*", cell) for cell in set(cells))


def _words(name: Column) -> set[str]:
    """Returns the words of a column's name, such as lesion and id of ``lesionId``, also without an s at their end."""
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", str(name)).lower())
    return {*words, *(word.removesuffix("s") for word in words)}


def _listed(columns: Columns | list[Column]) -> str:
    return ", ".join(map(str, list(columns)[:20])) or "it has no other"
