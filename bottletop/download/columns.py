"""Guesses what the columns of a table of labels are, by their names and values."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bottletop.core.catalogue import Column, Labels
from bottletop.core.errors import DataError
from bottletop.download.layout import known_split
from bottletop.download.matching import MIN_MATCHING, SAMPLE, Names
from bottletop.download.naming import MIN_GROUPS, MIN_IMAGES, same_classes
from bottletop.download.tables import read_cells

# Words in the names of columns. A group's name is such a word alone, or with id or the like behind it, as patient_age
# tells no groups; animal needs an id, as it may be the class.
CLASS_WORDS = {"label", "class", "dx", "diagnosis", "category", "species", "breed", "target"}
SPLIT_WORDS = {"split", "set", "subset", "fold", "partition"}
GROUP_WORDS = ("patient", "subject", "person", "lesion", "camera", "group", "animal")  # the widest first
GROUP_NAME = re.compile(rf"(?!animals?$)({'|'.join(GROUP_WORDS)})s?([ _-]?(id|uid|number|no|nr|name|code))?")

Columns = Mapping[Column, Sequence[str]]  # the cells of each column, by its name or number


class TableGuess(NamedTuple):
    """What the columns of a table are."""

    labels: Labels
    is_named: bool  # whether the name of a column tells the class, or else its values alone
    notes: list[str]  # about columns that may tell groups or splits, but are not used


def guess_labels(file: str, data: bytes, images: Names) -> TableGuess:
    """Guesses which columns have the image, the class (or one column for each), the split and the group.

    The group is a column with a name such as ``patient_id``, with at least `MIN_GROUPS` values in each class.

    Raises:
        DataError: no column names the images, or it is not clear which is the class; the message has the columns.
    """
    columns = _read(file, data, images)
    image = _image_column(file, columns, images)
    split = next((name for name in _without(columns, [image]) if _are_splits(columns[name])), None)
    others = _without(columns, [image, split])
    groups = sorted(filter(_is_group_name, others), key=_width)
    values = _without(others, groups)
    if not values:
        raise DataError(f"{file} has no column of classes, only {_listed(columns)}")
    classes = _class_columns(file, image, values)
    label_of_row = list(zip(*(columns[name] for name in classes), strict=True))
    group = next((name for name in groups if _divides_classes(columns[name], label_of_row)), None)
    label = classes[0] if len(classes) == 1 else None
    all_others = len(classes) == len(_without(others, [group]))
    one_hot = label is None and (all_others or tuple(map(str, classes)))
    labels = Labels(file=file, image=image, label=label, one_hot=one_hot, split=split, group=group)
    unused_groups = groups[: groups.index(group)] if group is not None else groups
    unused_splits = [name for name in _without(values, classes) if split is None and _is_split_name(name)]
    notes = [*map(_unused_group, unused_groups), *map(_unused_split, unused_splits)]
    return TableGuess(labels, label is None or _is_class_name(label), notes)


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
    """Returns the column whose cells name most images."""
    may_be = {
        name: cells for name, cells in columns.items() if not _is_class_name(name)
    } or columns  # an image may be 1
    named = {name: [cell for cell in cells[:SAMPLE] if images.named(cell)] for name, cells in may_be.items()}
    best = max(named, key=lambda name: len(set(named[name])))
    if len(named[best]) < MIN_MATCHING * len(columns[best][:SAMPLE]):
        first = ", ".join(cells[0] for cells in columns.values())
        raise DataError(f"{file}: none of its columns names the images: {_listed(columns)}; its first row is {first}")
    return best


def _class_columns(file: str, image: Column, columns: Columns) -> Sequence[Column]:
    """Returns the column of the class, or the columns of 0 and 1 that are a class each.

    A column called label or the like comes before one that has it as a word of its name, and that before all others.

    Raises:
        DataError: there is none, or several columns may be it and divide the images in different ways.
    """
    one_hot = _one_hot(columns)
    exact = [name for name in columns if str(name).lower() in CLASS_WORDS]
    partly = [name for name in _without(columns, [*one_hot, *exact]) if _is_class_name(name)]
    usable = [name for name in partly if _may_be_class(columns[name])]
    if named := exact or usable:
        same = [name for name in (*exact, *usable) if same_classes(columns[name], columns[named[0]])]
        if not set(named) <= set(same):
            raise _unclear(file, image, named)
        if not _may_be_class(columns[named[0]]):
            raise DataError(f"{file}: its column {named[0]} is empty in some rows, or lacks two values that repeat")
        return [min(same, key=lambda name: _are_numbers(columns[name]))]  # a class's name says more than its number
    found: list[Sequence[Column]] = [[name] for name, cells in columns.items() if _are_classes(name, cells)]
    found += [one_hot] if one_hot else []
    if len(found) != 1:
        raise _unclear(file, image, [name for each in found for name in each] or list(columns))
    return found[0]


def _one_hot(columns: Columns) -> list[Column]:
    """Returns the columns of 0 and 1 if there are several and each row has a single 1 in them.

    A column without any 1 is of a class that has no images.
    """
    hot = [
        name for name, cells in columns.items() if set(cells) <= {"0", "1", "0.0", "1.0"} and {"1", "1.0"} & set(cells)
    ]
    rows = zip(*(columns[name] for name in hot), strict=True)
    return hot if len(hot) > 1 and all(sum(cell.startswith("1") for cell in row) == 1 for row in rows) else []


def _may_be_class(cells: Sequence[str]) -> bool:
    """Returns whether almost every cell has a value, and the values repeat."""
    return cells.count("") <= (1 - MIN_MATCHING) * len(cells) and 2 <= len(set(cells)) <= len(cells) / MIN_IMAGES


def _are_classes(name: Column, cells: Sequence[str]) -> bool:
    """Returns whether the values alone show classes. Numbers do only where the column has no name to say otherwise."""
    each_repeats = min(Counter(cells).values()) >= MIN_IMAGES
    return _may_be_class(cells) and each_repeats and (isinstance(name, int) or not _are_numbers(cells))


def _are_splits(cells: Sequence[str]) -> bool:
    splits = {known_split(cell) for cell in set(cells)}
    return len(splits) > 1 and None not in splits


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?[\d.]*", cell) for cell in set(cells))


def _divides_classes(groups: Sequence[str], labels: Sequence[tuple[str, ...]]) -> bool:
    """Returns whether each class has several groups, so that they can be divided among the splits."""
    of_label = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        of_label[label].add(group)
    return all(len(each) >= MIN_GROUPS for label, each in of_label.items() if any(label))


def _is_class_name(name: Column) -> bool:
    return bool(_words(name) & CLASS_WORDS)


def _is_split_name(name: Column) -> bool:
    return bool(_words(name) & SPLIT_WORDS) or known_split(str(name)) is not None


def _is_group_name(name: Column) -> bool:
    return GROUP_NAME.fullmatch(_spaced(name)) is not None


def _width(group: Column) -> int:
    """Returns the position of a group's name in GROUP_WORDS."""
    return next(position for position, word in enumerate(GROUP_WORDS) if _spaced(group).startswith(word))


def _unused_group(name: Column) -> str:
    why = f"a class has fewer than {MIN_GROUPS} of its values"
    return f"not used: the column {name}, because {why}; if it tells groups, set group: {name} in labels"


def _unused_split(name: Column) -> str:
    return f"not used: the column {name}; if it tells the split, write train, validation or test into it"


def _words(name: Column) -> set[str]:
    """Returns the words of a column's name, such as lesion and id of ``lesionId``, also without an s at their end."""
    words = re.findall("[a-z]+", _spaced(name))
    return {*words, *(word.removesuffix("s") for word in words)}


def _spaced(name: Column) -> str:
    """Returns a column's name in small letters, with a space between words such as those of ``lesionId``."""
    return re.sub("([a-z])([A-Z])", r"\1 \2", str(name)).lower()


def _without(columns: Columns, names: Iterable[Column | None]) -> Columns:
    left_out = set(names)
    return {name: cells for name, cells in columns.items() if name not in left_out}


def _unclear(file: str, image: Column, columns: Sequence[Column]) -> DataError:
    example = f"labels: {{file: {file}, image: {image}, label: {columns[0]}}}"
    return DataError(
        f"{file}: its column {image} names the images, but it is not clear which is the class: {_listed(columns)}; "
        f"name it, such as {example}"
    )


def _listed(columns: Iterable[Column]) -> str:
    return ", ".join(str(name) or "a column without a name" for name in list(columns)[:20])
