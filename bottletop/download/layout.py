"""The layout of a dataset: which file is an image of which class, split and group, and why the others are not."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from bottletop.core.catalogue import Labels, Source, several
from bottletop.core.errors import DataError
from bottletop.core.files import HIDDEN
from bottletop.core.patterns import Match, Pattern, normalised
from bottletop.download.archives import TWICE
from bottletop.download.kinds import is_archive, is_companion, is_hidden, is_image, is_junk
from bottletop.download.matching import MIN_MATCHING, Names, match_list, match_table
from bottletop.download.tables import Row, member_of, read_list, read_table

# A split's name may have other words beside these, such as train_set, seg_test, TestImages and val2017.
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}

EXCLUDED = "excluded by {!r}"
BESIDE = "beside the images"
ARCHIVE = "an archive that is not opened"
NO_MATCH = "not of the form of `images`"
NO_LABEL = "without a class in the table"
NO_LIST = "in none of the lists of splits"
NOT_WANTED = "class not in `classes`"
NO_ROW = Row("", "", "", "")


class Labelled(NamedTuple):
    """An image to take."""

    label: str  # display name of the class
    split: str = ""  # official: "train", "validation", "test", or empty if there is none
    group: str = ""  # of the user's own, or empty


class LeftOut(NamedTuple):
    """A file that is not taken."""

    reason: str
    label: str = ""  # class of the folder that the file is in, where that is known
    lost: bool = False  # the class, if there is one, loses an image, and the user has not asked for it
    deeper: bool = False  # the file is in a folder within that folder, which then may be no class at all
    asked: bool = False  # the user has excluded it


class Layout:
    """The layout that a dataset's entry describes.

    Args:
        source: the entry.
        names: of all files of the dataset; only used if there are tables or lists.
        texts: bytes of the tables and lists that `members_to_read` names, by name.

    Raises:
        DataError: a table or list is missing or not readable, or does not fit the images.
    """

    def __init__(self, source: Source, names: Iterable[str] = (), texts: Mapping[str, bytes] | None = None) -> None:
        self._source = source
        self._patterns = [Pattern(text) for text in source.patterns]
        self._excluded = [Pattern(text) for text in source.excluded]
        self._display = {normalised(folder): normalised(label) for folder, label in source.names.items()}
        self._classes = None if source.classes is None else set(map(normalised, source.classes))
        self._split_names = {normalised(name): split for split, each in source.splits.items() for name in several(each)}
        self._images_only = source.labels is not None and not source.images
        tables = () if source.labels is None or source.tells_splits else source.labels.files
        # Whether the names of several tables tell the splits, as those of train.csv and test.csv do.
        self._splits_are_tables = len(tables) > 1 and any(self._meaning(self._table_name(each)) for each in tables)
        self._texts = texts or {}
        self._rows: dict[str, Row] = {}  # from the table, by image
        self._listed: dict[str, str] = {}  # split by image, from the lists
        self._folders: dict[str, str] = {}  # class by folder, of those seen so far
        self.fitting: set[str] = set()  # the patterns that some file fits
        self.splits: dict[str, str | None] = {}  # what the dataset calls each split -> the split, None if unknown
        self.unused: dict[str, list[str]] = {}  # table or list -> its lines that mean no image
        self.without_image: list[tuple[str, str]] = []  # name and class of each row of the table that means no image
        self.classes: set[str] = set()  # those that have a column in the table
        if source.labels is not None or source.lists:
            matches = [(name, self._match(name)) for name in names]
            images = {name: match.number for name, match in matches if isinstance(match, Match)}
            if source.labels is not None:
                excluded = Names((name, None) for name, match in matches if isinstance(match, LeftOut) and match.asked)
                self._rows = self._read_tables(source.labels, images, excluded)
            self._listed = self._read_lists(images)

    def place(self, name: str, problem: str = "") -> Labelled | LeftOut:
        """Returns what a file is.

        Args:
            name: path within the archive or folder, with forward slashes.
            problem: why the file can't be read, if so.

        Raises:
            DataError: the number in the name is outside `numbered`.
        """
        match = self._match(name, problem)
        if isinstance(match, LeftOut):
            return match
        row = self._rows.get(name, None if self._source.labels is None else NO_ROW)
        label = self._label(name, match, row)
        if not label:
            return LeftOut(NO_LABEL)
        if not self._is_wanted(label):
            return LeftOut(NOT_WANTED)
        split = self._split(name, match, row)
        if split is None:
            return LeftOut(NO_LIST)
        return Labelled(label, split, (row.group if row is not None else "") or match.group or "")

    def label_of_folder(self, folder: str) -> str:
        """Returns the class whose images `images` expects in this folder, or an empty string if there is none."""
        if folder not in self._folders:
            matches = [match for pattern in self._patterns if (match := pattern.match_folder(folder)) is not None]
            label = next((match.label for match in matches if match.label), "")
            label = "" if is_hidden(folder) else self._shown(label)
            self._folders[folder] = label if self._is_wanted(label) else ""
        return self._folders[folder]

    def _match(self, name: str, problem: str = "") -> Match | LeftOut:
        for pattern in self._excluded:
            if pattern.match(name) is not None:
                return LeftOut(EXCLUDED.format(pattern.text), asked=True)
        folder = self.label_of_folder(name.rpartition("/")[0])
        if is_hidden(name) or problem == HIDDEN:
            return LeftOut(HIDDEN, folder)
        if problem:
            return self._unreadable(name, problem, folder)
        if (
            is_companion(name)
            or name in self._texts
            or (self._images_only and not is_image(name) and not is_archive(name))
        ):
            return LeftOut(BESIDE, folder if is_junk(name) else "")
        for pattern in self._patterns:
            match = pattern.match(name)
            if match is not None:
                self.fitting.add(pattern.text)
                return match
        if not is_image(name):
            return LeftOut(ARCHIVE if is_archive(name) else BESIDE)
        around = next(filter(None, (self.label_of_folder(str(each)) for each in PurePosixPath(name).parents[:-1])), "")
        return LeftOut(NO_MATCH, around, lost=bool(around), deeper=around != folder)

    def _unreadable(self, name: str, problem: str, folder: str) -> LeftOut:
        """Returns the class of what can't be read, if it is known.

        Args:
            name: of a file, a folder or a link.
            problem: why it can't be read.
            folder: the class of the folder that it is in, or empty.
        """
        if is_companion(name) or problem == BESIDE:
            return LeftOut(problem)
        if not is_image(name) and (label := self.label_of_folder(name)):
            return LeftOut(problem, label)
        matches = [match for pattern in self._patterns if (match := pattern.match(name)) is not None]
        label = folder or next((match.label for match in matches if match.label), "")
        return LeftOut(problem, self._shown(label), lost=bool(label) and problem != TWICE)

    def _label(self, name: str, match: Match, row: Row | None) -> str:
        source = self._source
        if source.numbered:
            position = (match.number or 0) - source.first_number
            count = len(source.numbered) * source.images_per_number
            if not 0 <= position < count:
                raise DataError(
                    f"{name} has the number {match.number}, and `numbered` covers {source.first_number} to "
                    f"{source.first_number + count - 1}",
                    "edit numbered, images_per_number or first_number in datasets.yaml, or exclude the file",
                )
            return normalised(source.numbered[position // source.images_per_number])
        label = (match.label or "") if row is None else row.label
        return self._shown(label)

    def _shown(self, label: str) -> str:
        return self._display.get(label, label)

    def _is_wanted(self, label: str) -> bool:
        return self._classes is None or label in self._classes

    def _split(self, name: str, match: Match, row: Row | None) -> str | None:
        """Returns the official split, an empty string if there is none, or None if the image is in no list.

        For a name that is not known, it returns an empty string; `splits` then has None for it.
        """
        if self._source.lists:
            return self._listed.get(name, None if "train" in self._source.lists else "train")
        in_table = self._splits_are_tables or (
            self._source.labels is not None and self._source.labels.split is not None
        )
        found = row.split if row is not None and in_table else match.split
        if found is None:
            return ""
        if found not in self.splits:
            self.splits[found] = self._meaning(found)
        return self.splits[found] or ""

    def _table_name(self, file: str) -> str:
        """Returns a table's name without ending, with its folders if it alone tells no split, as of test/labels.csv."""
        name = PurePosixPath(file).with_suffix("")
        return name.name if self._meaning(name.name) else str(name)

    def _meaning(self, split: str) -> str | None:
        return self._split_names.get(split) or known_split(split)

    def _read_tables(self, labels: Labels, images: dict[str, int | None], excluded: Names) -> dict[str, Row]:
        """Returns the row of each image that has one."""
        rows: dict[str, Row] = {}
        unused: list[Row] = []
        for file in labels.files:
            table = read_table(labels, file, self._text(file))
            split = self._table_name(file) if self._splits_are_tables else None
            each = [row if split is None else row._replace(split=split) for row in table.rows]
            found = match_table(file, each, Names(images.items()), excluded)
            if twice := rows.keys() & found.rows.keys():
                raise DataError(f"{min(twice)} stands in {file} and in another table", "edit the tables")
            rows |= found.rows
            unused += found.unused
            self.unused[file] = [row.image for row in found.unused]
            self.classes |= set(filter(self._is_wanted, map(self._shown, table.classes)))
        labels_of = ((row.image, self._shown(row.label)) for row in unused)
        self.without_image = [(name, label) for name, label in labels_of if label and self._is_wanted(label)]
        self._check_rows(rows, unused, images)
        return rows

    def _check_rows(self, rows: Mapping[str, Row], unused: Iterable[Row], images: Collection[str]) -> None:
        """Checks that each split of the tables has images, and enough images have a class."""
        with_images = {row.split for row in rows.values()}
        if lost := next((row for row in unused if row.split and row.split not in with_images), None):
            raise DataError(
                f"no image is in the split {lost.split!r} of the table, such as {lost.image!r}",
                "mend the images, or edit labels in datasets.yaml",
            )
        without = [name for name in images if not rows.get(name, NO_ROW).label]
        if len(without) > (1 - MIN_MATCHING) * len(images):
            raise DataError(
                f"{len(without)} of {len(images)} images have no class in {', '.join(self.unused)}, such as "
                f"{without[0]}",
                "narrow `images`, exclude them, or edit labels in datasets.yaml",
            )

    def _read_lists(self, images: dict[str, int | None]) -> dict[str, str]:
        """Returns the split of each image that is in a list."""
        names = Names(images.items())
        listed: dict[str, str] = {}
        for split, file in self._source.lists.items():
            found, unused = match_list(file, read_list(file, self._text(member_of(file))), names)
            self.unused[file] = unused
            for name in found:
                if listed.setdefault(name, split) != split:
                    raise DataError(
                        f"{name} is in the lists of two splits, {listed[name]} and {split}", "edit split_lists"
                    )
        return listed

    def _text(self, name: str) -> bytes:
        if name not in self._texts:
            raise DataError(f"the dataset has no {name}, a list or table in its entry", "edit datasets.yaml")
        return self._texts[name]


def members_to_read(source: Source) -> set[str]:
    """Returns the names of the tables and lists that a `Layout` needs."""
    tables = () if source.labels is None else source.labels.files
    return {*tables, *map(member_of, source.lists.values())}


def known_split(name: str) -> str | None:
    """Returns the split that a name means, such as "test" for ``seg_test``; None if it is unclear."""
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
    found = {WORDS[word] for word in (re.sub("(set|data|images|imgs)$", "", each) for each in words) if word in WORDS}
    return found.pop() if len(found) == 1 else None
