"""Goes through a dataset's files before any image is decoded: which to take, and why not the others.

Every file is in exactly one bin, and wrong entries are found in seconds.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from posixpath import dirname
from typing import Any, NamedTuple

from bottletop.core.catalogue import Source, several
from bottletop.core.errors import DataError
from bottletop.core.patterns import normalised
from bottletop.core.progress import bar
from bottletop.download.archives import TWICE
from bottletop.download.layout import EXCLUDED, NO_MATCH, Labelled, Layout, LeftOut, known_split, members_to_read
from bottletop.download.naming import such_as
from bottletop.download.parts import Parts

MAX_LOST = 0.1  # fraction of a class's images that may be lost
EXAMPLES = 3
EMPTY = "''"  # in YAML
TOO_MANY = "beyond `max_per_class`"
_SCRIPT = re.compile("</?script|<!--", re.IGNORECASE)  # DVC writes names into a script of its page as they are


class LeftOutFiles:
    """Counts the files that are not taken, by reason and by class, with a few examples."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = defaultdict(list)
        self.classes: set[str] = set()  # seen in names of files or folders, whether images of them are taken or not
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)  # reasons by class, of images lost unasked
        self.first_lost: dict[tuple[str, str], str] = {}  # name of the first of them, by class and reason

    def add(self, name: str, left: LeftOut) -> None:
        """Counts a file; `name` may become an example."""
        self._counts[left.reason] += 1
        if len(self._examples[left.reason]) < EXAMPLES:
            self._examples[left.reason].append(name)
        if left.label and not left.deeper:
            self.classes.add(left.label)
        if left.lost:
            self._lose(name, left.label, left.reason)

    def lose(self, images: Iterable[tuple[str, str]], reason: str) -> None:
        """Counts images as lost to their classes: those that cannot be read, or that a table has but the files lack.

        Args:
            images: name and class of each.
            reason: why they are lost.
        """
        for name, label in images:
            self.classes.add(label)
            self._lose(name, label, reason)

    def _lose(self, name: str, label: str, reason: str) -> None:
        self.lost[label][reason] += 1
        self.first_lost.setdefault((label, reason), name)

    def expect(self, reason: str) -> None:
        """Shows the reason in the report even if no file is left out for it."""
        self._counts[reason] += 0

    def report(self) -> dict[str, Any]:
        """Returns the number of files and some examples by reason, ready for JSON."""
        return {reason: {"files": count, "examples": self._examples[reason]} for reason, count in self._counts.items()}


class _File(NamedTuple):
    name: str
    problem: str  # why it can't be read, or empty
    part: int


class Survey(NamedTuple):
    """What was found."""

    files: int  # number of all files
    wanted: dict[str, Labelled]  # the images to take, by name
    left_out: LeftOutFiles
    splits: dict[str, str | None]  # what the dataset calls each official split -> the split
    unused: dict[str, list[str]]  # table or list -> its lines that mean no image
    unused_splits: list[str]  # folders that are called as splits, where nothing in the entry tells the split


def survey(source: Source, parts: Parts) -> Survey:
    """Lists the files of a dataset and finds out what each is.

    Raises:
        DataError: no file fits a pattern, a split has an unknown name, a class would be incomplete, or tables, lists
            and images do not fit together.
    """
    files, texts = _list(source, parts)
    layout = Layout(source, (file.name for file in files if not file.problem), texts)
    wanted: dict[str, Labelled] = {}
    part_of: dict[str, int] = {}
    left_out = LeftOutFiles()
    for pattern in source.excluded:
        left_out.expect(EXCLUDED.format(pattern))
    for file in files:
        placed = layout.place(file.name, file.problem)
        if isinstance(placed, LeftOut):
            left_out.add(file.name, placed)
        elif part_of.setdefault(file.name, file.part) != file.part:
            raise DataError(
                f"two parts have an image called {file.name}",
                "give one of them a folder of its own in datasets.yaml, such as under: part2",
            )
        elif file.name in wanted:
            left_out.add(file.name, LeftOut(TWICE))
        else:
            wanted[file.name] = placed
    left_out.classes |= layout.classes
    left_out.lose(layout.without_image, "in the table without an image")
    _check_patterns(source, layout, left_out)
    _check_splits(source, layout.splits)
    _limit(source, wanted, left_out)
    _check_names({each.label for each in wanted.values()})
    check_classes(source, Counter(each.label for each in wanted.values()), left_out)
    unused_splits = [] if layout.splits or source.tells_splits else _folders_of_splits(wanted)
    return Survey(len(files), wanted, left_out, layout.splits, layout.unused, unused_splits)


def _folders_of_splits(names: Iterable[str]) -> list[str]:
    """Returns the folders that are called as splits, if they are called as several."""
    folders = {folder for path in set(map(dirname, names)) for folder in path.split("/")}
    found = {folder: split for folder in folders if (split := known_split(folder))}
    return sorted(found) if len(set(found.values())) > 1 else []


def check_classes(source: Source, taken: Mapping[str, int], left_out: LeftOutFiles) -> None:
    """Checks that no class has lost everything, or more than `MAX_LOST` of its images.

    Raises:
        DataError: one has, and it is not in `incomplete`.
    """
    listed = {normalised(label) for label in (source.classes or source.numbered)}
    allowed = {normalised(label) for label in source.incomplete}
    failures = {}
    for label in sorted((taken.keys() | left_out.classes | listed) - allowed):
        reasons = left_out.lost.get(label, Counter())
        lost, total = reasons.total(), taken.get(label, 0) + reasons.total()
        if not taken.get(label):
            failures[label] = "has no images"
        elif lost > MAX_LOST * total:
            failures[label] = f"loses {lost} of {total} images"
        if label in failures and reasons:
            each = (f"{count} {why}, such as {left_out.first_lost[label, why]}" for why, count in reasons.items())
            failures[label] += f" ({'; '.join(each)})"
    if failures:
        raise DataError(
            "\n  ".join(("classes are incomplete:", *(f"{label} {why}" for label, why in failures.items()))),
            "mend the images or their pattern, exclude the files, or allow it in datasets.yaml: "
            f"incomplete: [{', '.join(failures)}]",
        )


def _list(source: Source, parts: Parts) -> tuple[list[_File], dict[str, bytes]]:
    """Returns all files, and the bytes of the tables and lists."""
    files = []
    texts = {}
    to_read = members_to_read(source)
    with bar("list", " files") as shown:
        for part, member in parts.members():
            shown.update()
            files.append(_File(member.name, member.problem, part))
            if member.name in to_read:
                texts[member.name] = member.read()
    return files, texts


def _check_patterns(source: Source, layout: Layout, left_out: LeftOutFiles) -> None:
    unused = next((pattern for pattern in source.patterns if pattern not in layout.fitting), None)
    if unused is None:
        return
    meaning = ", which means a folder with one subfolder per class" if unused == "{label}/*" else ""
    report = left_out.report()
    images = report.pop(NO_MATCH, {"files": 0, "examples": []})
    others = [name for each in report.values() for name in each["examples"]]
    found = f"{images['files']} images{such_as(images['examples'])}"
    if not images["files"]:
        found = f"no images, only other files{such_as(others)}" if others else "no files"
    raise DataError(
        f"no file matches images: {unused!r}{meaning}; there are {found}",
        "make such folders, or edit the entry in datasets.yaml; bottletop add FOLDER finds out what it should be"
        if meaning
        else "edit datasets.yaml",
    )


def _check_names(labels: Set[str]) -> None:
    for label in sorted(labels):
        if _SCRIPT.search(label):
            raise DataError(
                f"the class name {label!r} would end or begin a script in web pages, such as that of dvc plots",
                "give the class another name in datasets.yaml, under names or numbered",
            )


def _check_splits(source: Source, splits: Mapping[str, str | None]) -> None:
    found = ", ".join(map(repr, sorted(splits))) or "none"
    unknown = sorted(name for name, split in splits.items() if split is None)
    if unknown:
        raise DataError(
            f"it is not clear whether {', '.join(map(repr, unknown))} is for train, validation or test; the splits "
            f"found are {found}",
            f"say it in datasets.yaml, such as splits: {{test: [{unknown[0] or EMPTY}]}}, or exclude the files",
        )
    named = {normalised(name) for each in source.splits.values() for name in several(each)}
    if named - splits.keys():
        raise DataError(
            f"no image is in the split {', '.join(map(repr, sorted(named - splits.keys())))}; the splits found are "
            f"{found}",
            "edit splits in datasets.yaml",
        )


def _limit(source: Source, wanted: dict[str, Labelled], left_out: LeftOutFiles) -> None:
    """Leaves at most `max_per_class` images of each class: those with the smallest SHA-256 of seed and name."""
    if source.max_per_class is None:
        return
    by_label = defaultdict(list)
    for name, labelled in wanted.items():
        order = hashlib.sha256(f"{source.seed}:{name}".encode()).digest()
        by_label[labelled.label].append((order, name))
    for label, names in by_label.items():
        for _, name in sorted(names)[source.max_per_class :]:
            del wanted[name]
            left_out.add(name, LeftOut(TOO_MANY))
        if len(names) >= source.max_per_class:
            left_out.lost.pop(label, None)  # it has as many as were asked for
