"""Guesses how a folder or archive of images is laid out, by looking at its names, tables and lists."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from posixpath import dirname, splitext  # a path object for each of a million names takes minutes
from typing import Any, NamedTuple
from urllib.parse import quote

import yaml
from msgspec.structs import asdict

from bottletop.core.catalogue import Part, Source
from bottletop.core.errors import DataError
from bottletop.core.files import HIDDEN, files_below
from bottletop.core.paths import CATALOGUE
from bottletop.core.settings import parse
from bottletop.download.archives import Member, members
from bottletop.download.columns import guess_labels
from bottletop.download.containers import is_container, opened
from bottletop.download.kinds import ARCHIVE_SUFFIXES, is_hidden, is_image
from bottletop.download.layout import BESIDE, Labelled, Layout, known_split, members_to_read
from bottletop.download.matching import MIN_MATCHING, Names, match_list, match_table
from bottletop.download.naming import MIN_IMAGES, guess_pattern, same_classes, split_pattern, such_as, suggested_groups
from bottletop.download.parts import Parts
from bottletop.download.tables import TABLE_SUFFIXES, read_cells, read_list, read_table

TABLES = (".csv", ".tsv")
# Of what is read as an archive; Parquet holds images too.
ARCHIVE_ENDINGS = re.compile(
    rf"(\.tar)?({'|'.join(map(re.escape, sorted(ARCHIVE_SUFFIXES | {'.parquet'})))})$", re.IGNORECASE
)
TEXTS = (".txt", ".lst")  # may be a table, a list of a split, or neither
MAX_TEXT_BYTES = 64 << 20  # of a table or list; larger ones are not looked into
MAX_TEXTS = 100  # in a folder; more of them are about one image each
MAX_TABLES = 10
MAX_FOLDERS = 20  # that may be those whose images a table is about
SHOWN_NOTES, SHOWN_REASONS = 3, 5  # of files that are not used, and why
BY_HAND = "describe it by hand, as docs/datasets.md shows for each layout"


class Guess(NamedTuple):
    """What was understood of a folder or archive."""

    source: dict[str, Any]  # the keys of `source` in datasets.yaml that say what the files are: images, labels, …
    found: dict[str, Labelled]  # class, official split and group of each image, by name
    left_out: list[str]  # the names of all other files
    notes: list[str]  # what is likely, but for the user to decide
    is_named: bool = False  # whether a table calls one of its columns the class
    parts: tuple[tuple[Path, str], ...] = ()  # from `parts_of`


class _Files(NamedTuple):
    """What a folder or archive has."""

    images: list[str]
    others: list[str]
    texts: dict[str, bytes]  # those of the others that may be tables of classes or lists of splits
    problems: dict[str, str]  # why some of the others cannot be taken, such as empty folders of classes


def look(path: Path) -> Guess:
    """Guesses the layout from the names of all files, tables of classes and lists of splits.

    Classes may be folders, the beginnings of file names, or a column of a table; splits may be folders, a column or
    lists; all may lie in further folders. Where both names and a table tell classes, the table is taken if it tells
    more.

    Raises:
        DataError: there are no images, or it is not clear what their classes are; the message says what is there.
    """
    parts = parts_of(path)
    files = _read(files_of(path, parts))
    if not files.images:
        raise DataError(
            f"{path} has no images among its {len(files.others)} files{such_as(files.others)}",
            "give the folder that the images are in",
        )
    by_names, why_not = _by_names(files)
    by_tables, failures = _by_tables(files, by_names)
    if not by_names and not by_tables:
        raise _unclear(path, files, [*why_not, *failures.values()])
    guesses = [*by_tables, *([by_names] if by_names else [])]
    guess, unused = _with_lists(guesses[0], files)
    lists = guess.source.get("split_lists", {}).values()
    failures = {file: why for file, why in failures.items() if file not in lists}
    reasons = [*_instead(guess, guesses[1:]), *[*failures.values(), *unused][:SHOWN_NOTES]]
    left_out = [name for name in (*files.images, *files.others) if name not in guess.found]
    notes = [*guess.notes, *(f"not used: {reason}" for reason in reasons)]
    problems = [f"{name} ({why})" for name, why in files.problems.items() if why not in (HIDDEN, BESIDE)]
    if problems:
        notes.append(f"cannot be taken: {len(problems):,}{such_as(problems)}")
    if parts:
        rest = sorted(set(files_below(path)).difference(part for part, _ in parts))
        notes += [f"neither a table nor an archive that is read: {file}" for file in rest[:SHOWN_NOTES]]
    return guess._replace(left_out=left_out, notes=notes, parts=parts)


def files_of(path: Path, parts: Sequence[tuple[Path, str]] = ()) -> Iterator[Member]:
    """Yields the files of a folder or archive, or of its parts, and the images of files that hold many."""
    if parts:
        each = (Part(urls=(f"file:{quote(str(part.absolute()))}",), under=under) for part, under in parts)
        return (member for _, member in Parts(Source(parts=tuple(each))).members())
    return opened(path) or members(path)


def parts_of(path: Path) -> tuple[tuple[Path, str], ...]:
    """Returns the archives and tables of a folder that has no other images, and a folder to put each archive under.

    That is empty unless two archives have images of the same names. For any other place, there are no parts.
    """
    files = sorted(files_below(path)) if path.is_dir() else []
    archives = [file for file in files if ARCHIVE_ENDINGS.search(file.name)]
    if not archives or any(is_image(file.name) or is_container(file.name) for file in files):
        return ()
    images = [{member.name for member in members(archive) if is_image(member.name)} for archive in archives]
    clash = len(set().union(*images)) < sum(map(len, images))
    tables = [(file, "") for file in files if file.suffix.lower() in TABLE_SUFFIXES]
    return (*((file, ARCHIVE_ENDINGS.sub("", file.name) if clash else "") for file in archives), *tables)


def _read(found: Iterable[Member]) -> _Files:
    files = _Files([], [], {}, {})
    counts: Counter[str] = Counter()
    for member in found:
        hidden, ending = is_hidden(member.name), splitext(member.name)[1].lower()
        usable = is_image(member.name) and not hidden and not member.problem
        (files.images if usable else files.others).append(member.name)
        if member.problem:
            files.problems[member.name] = member.problem
        if ending in TEXTS:
            counts[dirname(member.name)] += 1
        wanted = ending in TABLES or (ending in TEXTS and counts[dirname(member.name)] <= MAX_TEXTS)
        if wanted and not member.problem and not hidden and member.size <= MAX_TEXT_BYTES:
            files.texts[member.name] = member.read()
    return files


def _by_names(files: _Files) -> tuple[Guess | None, list[str]]:
    """Returns what names alone tell, or else the reasons why they tell no classes."""
    try:
        source = {"images": guess_pattern(files.images, [name for name in files.others if not is_hidden(name)])}
        found = _placed(source, files)
    except DataError as error:
        return None, [error.problem]
    notes = suggested_groups(source["images"], found)
    if splits := sorted({each.label for each in found.values() if known_split(each.label)}):
        notes.append(f"taken as a class, although it may be a split: {', '.join(splits)}")
    if "/**/" in source["images"]:
        deeper = [name for name in found if name.count("/") >= source["images"].count("/")]
        notes.append(f"{len(deeper)} of these images lie in folders within those of classes{such_as(deeper)}")
    return Guess(source, found, [], notes), []


def _placed(source: Mapping[str, Any], files: _Files) -> dict[str, Labelled]:
    """Returns the images that an entry takes, as `download` does, by name."""
    read = parse(Source, {"folder": ".", **source}, "source", CATALOGUE)
    names = [*files.images, *(name for name in files.others if name not in files.problems)]
    layout = Layout(read, names, {file: files.texts[file] for file in members_to_read(read)})
    placed = ((name, layout.place(name)) for name in names)
    return {name: labelled for name, labelled in placed if isinstance(labelled, Labelled)}


def _by_tables(files: _Files, by_names: Guess | None) -> tuple[list[Guess], dict[str, str]]:
    """Returns what tables of classes tell, the best first, and why others do not, by file.

    Only the largest are tried: some datasets have a small one for each image.
    """
    if not files.texts:
        return [], {}
    images = Names((name, None) for name in files.images)
    candidates = [
        file
        for file, data in files.texts.items()
        if file.lower().endswith(TABLES) or _lists_columns(file, data, images)
    ]
    guesses, failures = [], {}
    for file in sorted(candidates, key=lambda file: -len(files.texts[file]))[:MAX_TABLES]:
        try:
            guess = _by_table(file, files, [""] if by_names else _folders(files.images))
            if by_names:
                _check_adds(file, guess, by_names)
            guesses.append(guess)
        except DataError as error:
            failures[file] = error.problem if file in error.problem else f"{file}: {error.problem}"
    for guess in _by_several(candidates, files):
        agrees = by_names is None or _agree(guess, by_names)
        if agrees and all(len(guess.found) > len(other.found) for other in (*guesses, by_names) if other):
            used = guess.source["labels"]["file"]
            rest = [other for other in guesses if other.source["labels"]["file"] not in used]
            return [guess, *rest], {file: why for file, why in failures.items() if file not in used}
    return sorted(guesses, key=lambda guess: not guess.is_named), failures


def _by_several(tables: Sequence[str], files: _Files) -> Iterator[Guess]:
    """Yields what several tables of the same columns tell as one, such as train.csv and test.csv."""
    by_header = defaultdict(list)
    for file in tables:
        by_header[files.texts[file].partition(b"\n")[0]].append(file)
    for header, group in by_header.items():
        if not 2 <= len(group) <= MAX_TABLES or len({_tells_split(file) for file in group}) > 1:
            continue
        rows = b"\n".join(files.texts[file].partition(b"\n")[2] for file in group)
        together = " and ".join(group)
        try:
            texts = {**files.texts, together: header + b"\n" + rows}
            guess = _by_table_of_folder("", together, files._replace(texts=texts))
            source = {**guess.source, "labels": {**guess.source["labels"], "file": group}}
            yield guess._replace(source=source, found=_placed(source, files))
        except DataError:
            continue


def _tells_split(table: str) -> bool:
    name = splitext(table)[0]
    return (known_split(PurePosixPath(name).name) or known_split(name)) is not None


def _agree(one: Guess, other: Guess) -> bool:
    """Returns whether the images that are in both are divided into the same classes."""
    in_both = [name for name in one.found if name in other.found]
    return same_classes([one.found[name].label for name in in_both], [other.found[name].label for name in in_both])


def _lists_columns(file: str, data: bytes, images: Names) -> bool:
    """Returns whether the first or second line of a text has several columns, of which one names an image."""
    try:
        rows = read_cells(file, data)
    except DataError:
        return False
    return len(rows) >= MIN_IMAGES and any(len(row) > 1 and any(map(images.named, row)) for row in rows[:2])


def _by_table(file: str, files: _Files, folders: Sequence[str]) -> Guess:
    """Returns what a table tells about the images of the first folder that it fits.

    Args:
        file: the table's name.
        files: all files.
        folders: those that may have the images; an empty string is all of them.

    Raises:
        DataError: it tells no classes of the images in any of the folders.
    """
    failures = []
    for folder in folders:
        try:
            return _by_table_of_folder(folder, file, files)
        except DataError as error:
            failures.append(error)
    raise failures[0]


def _by_table_of_folder(folder: str, file: str, files: _Files) -> Guess:
    """Does for the images of one folder what `_by_table` does for the first that fits."""
    images = [name for name in files.images if name.startswith(folder)]
    names = Names((name, None) for name in images)
    guess = guess_labels(file, files.texts[file], names)
    rows = match_table(file, read_table(guess.labels, file, files.texts[file]).rows, names, Names(())).rows
    with_class = {name for name, row in rows.items() if row.label}
    if len(with_class) < MIN_MATCHING * len(images):
        without = next(name for name in images if name not in with_class)
        raise DataError(
            f"{file} has a class for {len(with_class)} of {len(images)} images, but not for {without} and the like; if "
            "other tables have those, write file: [one.csv, other.csv] in labels"
        )
    pattern = (split_pattern(images) if guess.labels.split is None else None) or (f"{folder}**" if folder else None)
    columns = {key: value for key, value in asdict(guess.labels).items() if value not in (None, False)}
    source = {**({"images": pattern} if pattern else {}), "labels": columns}
    return Guess(source, _placed(source, files), [], guess.notes, guess.is_named)


def _check_adds(file: str, by_table: Guess, by_names: Guess) -> None:
    """Checks that a table tells more than the names of images do, and does not contradict them.

    Raises:
        DataError: each class by the names is of one class in the table, which adds no groups or splits either; or a
            class has the same name in both, but other images.
    """
    in_both = [name for name in by_names.found if name in by_table.found]
    pairs = {(by_names.found[name].label, by_table.found[name].label): name for name in in_both}
    of_names, of_table = {label for label, _ in pairs}, {label for _, label in pairs}
    labels = by_table.source["labels"]
    splits_in_names = any(each.split for each in by_names.found.values())
    adds = [labels[key] for key in ("split", "group") if key in labels and not (key == "split" and splits_in_names)]
    if len(pairs) == len(of_names) and len(of_table) < len(of_names):
        fix = f"; to use its {' and '.join(map(str, adds))}, write the classes of the names into it" if adds else ""
        raise DataError(f"{file} has fewer classes than the names{fix}")
    if len(pairs) == len(of_names) and not adds:
        raise DataError("; ".join([f"{file} tells no more than the names", *by_table.notes]))
    if len(pairs) > len(of_names) and of_names & of_table:
        other = next(each for each in pairs if each[0] != each[1])
        raise DataError(
            f"{file} contradicts the names: it says {other[1]} of {pairs[other]}; to believe it, set "
            f"labels: {_in_one_line(labels)} instead of images"
        )


def _instead(guess: Guess, others: Sequence[Guess]) -> list[str]:
    """Returns what else could tell the classes."""
    notes = []
    for other in others:
        labels = sorted({each.label for each in other.found.values()})
        if "labels" not in other.source:
            if not set(labels) <= {each.label for each in guess.found.values()}:
                pattern = _in_one_line(other.source["images"])
                notes.append(f"names, by which the classes would be {', '.join(labels[:3])}: images: {pattern}")
        elif other.found.keys() & guess.found.keys():
            notes.append(f"{other.source['labels']['file']}, by which the classes would be {', '.join(labels[:3])}")
        else:
            notes.append(f"{other.source['labels']['file']}, which is about other images")
    return notes


def _folders(images: Sequence[str]) -> list[str]:
    """Returns an empty string and, unless they are many, all folders of images, with a slash; training comes first.

    In the folder of the test there may be images of the same names, about which the table says nothing.
    """
    around = {f"{parent}/" for name in set(map(dirname, images)) for parent in PurePosixPath(name, "x").parents}
    around = {folder for folder in around if folder != "./" and not any(sign in folder for sign in "*{}")}
    if len(around) > MAX_FOLDERS:
        return [""]
    return ["", *sorted(around, key=lambda folder: (known_split(folder) != "train", folder))]


def _with_lists(guess: Guess, files: _Files) -> tuple[Guess, list[str]]:
    """Adds `split_lists` to a guess if there are lists of splits, and nothing else tells the split.

    Returns:
        The guess, and why lists are not used.
    """
    if any(each.split for each in guess.found.values()):
        return guess, []
    lists, unused = _lists(guess, files)
    if not lists:
        return guess, unused
    if not lists.keys() - {"train"}:
        return guess, [*unused, f"{lists['train']}, as there is no list for the test or validation"]
    source = {**guess.source, "split_lists": lists}
    try:
        found = _placed(source, files)
    except DataError as error:  # an image is in two of them
        return guess, [*unused, error.problem]
    if not any(each.split == "train" for each in found.values()):
        return guess, [*unused, f"{', '.join(lists.values())}, which would leave no images for training"]
    return guess._replace(source=source, found=found), unused


def _lists(guess: Guess, files: _Files) -> tuple[dict[str, str], list[str]]:
    """Returns the list of each split that has one, and why other texts with the name of a split are no lists.

    Of several lists for a split, such as train1.txt to train10.txt, the first is taken.
    """
    table = guess.source.get("labels", {}).get("file")
    texts = [file for file in files.texts if file.lower().endswith(TEXTS) and file != table]
    named = [(split, file) for file in texts if (split := known_split(PurePosixPath(file).stem))]
    images = Names((name, None) for name in (guess.found if named else []))
    lists: dict[str, str] = {}
    unused = []
    for split, file in sorted(named, key=lambda each: (len(each[1]), each[1])):
        if split not in lists:
            try:
                match_list(file, read_list(file, files.texts[file]), images)
                lists[split] = file
            except DataError as error:
                unused.append(error.problem)
    return {split: lists[split] for split in ("train", "validation", "test") if split in lists}, unused


def _unclear(path: Path, files: _Files, reasons: Sequence[str]) -> DataError:
    """Returns the error that says what is there, and why none of it tells the classes."""
    others = [name for name in files.others if not is_hidden(name)]
    what = [*reasons[:SHOWN_REASONS], *([f"other files: {len(others)}{such_as(others)}"] if others else [])]
    listed = "".join(f"\n  {each}" for each in what)
    return DataError(
        f"{path}: it is not clear what the classes of its {len(files.images)} images are", f"{BY_HAND}{listed}"
    )


def _in_one_line(value: object) -> str:
    """Returns a value as YAML for an entry, in one line."""
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    ).splitlines()[0]
