"""Guesses how a folder or archive of images is laid out, by looking at its names, tables and lists."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import dirname, splitext  # a path object for each of a million names takes minutes
from typing import Any, NamedTuple

from msgspec.structs import asdict
from PIL import Image, ImageDraw, ImageFont

from bottletop.core.catalogue import Source
from bottletop.core.errors import DataError
from bottletop.core.files import replacing
from bottletop.core.paths import CATALOGUE
from bottletop.core.settings import parse
from bottletop.download.archives import MAX_MEMBER_BYTES, Member, members
from bottletop.download.columns import MIN_GROUPS, MIN_IMAGES, guess_labels, names_class, unused_group
from bottletop.download.containers import opened
from bottletop.download.kinds import is_hidden, is_image
from bottletop.download.layout import Labelled, Layout, known_split, members_to_read
from bottletop.download.matching import MIN_MATCHING, Names, match_list, match_table
from bottletop.download.tables import read_list, read_table
from bottletop.images.decoding import decode

TABLES = (".csv", ".tsv")
LISTS = (".txt", ".lst")
MAX_TEXT_BYTES = 64 << 20  # of a table or list; larger ones are not looked into
MAX_TABLES = 10
SHOWN_NOTES = 3  # about what is not used
MAX_FOLDERS = 20  # that may be those whose images a table is about
BY_HAND = "describe it by hand: docs/datasets.md has an example for each layout"
SEPARATORS = "_.- "  # between class and number in the name of a file
THUMBNAIL_PX = 96
SHEET_ROWS, SHEET_COLUMNS = 30, 8


class Guess(NamedTuple):
    """What was understood of a folder or archive."""

    source: dict[str, Any]  # the keys of `source` in datasets.yaml that say what the files are: images, labels, …
    found: dict[str, Labelled]  # class, official split and group of each image, by name
    left_out: list[str]  # the names of all other files
    notes: list[str]  # what is likely, but for the user to decide


def look(path: Path) -> Guess:
    """Guesses the layout from the names of all files, tables of labels and lists of splits.

    Classes may be folders, the beginnings of file names, or a column of a table; splits may be folders, a column or
    lists; all may lie in further folders. Where images lie at several depths, the guess from names is about the depth
    that has most of them. A table is taken unless each class by the names is of one class in the table.

    Raises:
        DataError: there are no images, or it is not clear what their classes are; the message says what is there.
    """
    names, texts = _read(path)
    images = [name for name in names if is_image(name) and not is_hidden(name)]
    if not images:
        raise DataError(f"{path} has no images among its {len(names)} files{_such_as(names)}", BY_HAND)
    source: dict[str, Any] = {}
    by_names: dict[str, Labelled] = {}
    reasons = []
    try:
        pattern = _pattern(images, names)
        by_names = _placed({"images": pattern}, names, texts)
        source = {"images": pattern}
    except DataError as error:
        reasons.append(str(error))
    fitting, failures = _fitting_tables(texts, images, by_names)
    reasons += failures
    notes = [f"not used: {failure}" for failure in failures]
    notes += [f"not used: {each['labels']['file']}, whose classes would be another" for each in fitting[1:]]
    if fitting:
        source = fitting[0]
        notes = [*unused_group(source["labels"], texts[source["labels"]["file"]]), *notes]
    if not source:
        raise _unclear(path, names, images, reasons)
    found = _placed(source, names, texts) if fitting else by_names
    if lists := _lists(source, found, names, texts):
        source |= lists
        found = _placed(source, names, texts)
    notes = [*notes[:SHOWN_NOTES], *_groups_in_names(source, found), *_splits_as_classes(found)]
    return Guess(source, found, [name for name in names if name not in found], notes)


def contact_sheet(path: Path, guess: Guess, file: Path) -> None:
    """Writes a PNG with a row of small images for each class, for the first `SHEET_ROWS` classes.

    Args:
        path: the folder or archive.
        guess: what `look` returned for it.
        file: the PNG.
    """
    by_label = defaultdict(list)
    for name, labelled in guess.found.items():
        by_label[labelled.label].append(name)
    labels = sorted(by_label)[:SHEET_ROWS]
    side = THUMBNAIL_PX + 4
    sheet = Image.new("RGB", ((SHEET_COLUMNS + 2) * side, len(labels) * side), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    places = {}
    for row, label in enumerate(labels):
        names = by_label[label]
        draw.text((4, row * side + side // 3), f"{label[:26]}\n{len(names)} images", "black", font)
        shown = min(SHEET_COLUMNS, len(names))
        for column in range(shown):
            places[names[column * len(names) // shown]] = ((column + 2) * side, row * side)
    wanted = (member for member in _members(path) if member.name in places)
    for member in islice(wanted, len(places)):
        small = _small(member)
        if isinstance(small, str):
            draw.text(places[member.name], small, "red", font)
        else:
            sheet.paste(small, places[member.name])
    with replacing(file) as new:
        sheet.save(new, "PNG")


def _small(member: Member) -> Image.Image | str:
    """Returns the image at the size of the contact sheet, or the reason why there is none."""
    if member.size > MAX_MEMBER_BYTES:
        return "too large"
    try:
        image = decode(member.read(), THUMBNAIL_PX)
    except DataError as error:
        return str(error)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return image


def _members(path: Path) -> Iterator[Member]:
    return opened(path) or members(path)


def _unclear(path: Path, names: Sequence[str], images: Sequence[str], reasons: Sequence[str]) -> DataError:
    """Returns the error that says what is there, and why none of it tells the classes."""
    taken = set(images)
    others = [name for name in names if name not in taken and not is_hidden(name)]
    what = [*reasons, *([f"other files: {len(others)}{_such_as(others)}"] if others else [])]
    listed = "".join(f"\n  {each}" for each in what)
    return DataError(
        f"{path}: it is not clear what the classes of its {len(images)} images are:{listed}",
        BY_HAND,
    )


def _read(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """Returns the names of all files, and the bytes of those that may be tables of labels or lists of splits."""
    names, texts = [], {}
    for member in _members(path):
        names.append(member.name)
        stem, ending = splitext(member.name.rpartition("/")[2])
        wanted = ending.lower() in TABLES or (ending.lower() in LISTS and known_split(stem) is not None)
        if wanted and not member.problem and not is_hidden(member.name) and member.size <= MAX_TEXT_BYTES:
            texts[member.name] = member.read()
    return names, texts


def _fitting_tables(
    texts: Mapping[str, bytes], images: Sequence[str], by_names: Mapping[str, Labelled]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns what an entry says about each table that tells the classes, the best first, and why others do not.

    Only the largest tables are tried: some datasets have a small one for each image.
    """
    folders = [""] if by_names else _folders(images)
    tables = [name for name in texts if name.lower().endswith(TABLES)]
    fitting, failures = [], []
    for file in sorted(tables, key=lambda name: -len(texts[name]))[:MAX_TABLES]:
        try:
            fitting.append(_with_table(file, texts[file], images, folders, by_names))
        except DataError as error:
            failures.append(str(error))
    return sorted(fitting, key=lambda each: not names_class(each["labels"])), failures


def _placed(source: Mapping[str, Any], names: Sequence[str], texts: Mapping[str, bytes]) -> dict[str, Labelled]:
    """Returns the images that an entry takes, as `download` does, by name."""
    read = parse(Source, {"folder": ".", **source}, "source", CATALOGUE)
    layout = Layout(read, names, {file: texts[file] for file in members_to_read(read)})
    placed = ((name, layout.place(name)) for name in names)
    return {name: labelled for name, labelled in placed if isinstance(labelled, Labelled)}


def _with_table(
    file: str, data: bytes, images: Sequence[str], folders: Sequence[str], by_names: Mapping[str, Labelled]
) -> dict[str, Any]:
    """Returns what an entry says about a table and the folder of its images.

    Args:
        file: the table's name.
        data: the table's bytes.
        images: the names of all images.
        folders: those that may have the images; an empty string is all of them.
        by_names: what names alone tell of the images, if they tell a class.

    Raises:
        DataError: it is no table of classes of the images, or their names tell the same or more.
    """
    failure = DataError(f"{file} is about no folder's images")
    for folder in folders:
        within = [name for name in images if name.startswith(folder)]
        found = Names((name, None) for name in within)
        try:
            labels = guess_labels(file, data, found)
            rows = match_table(file, read_table(labels, data), found).rows
        except DataError as error:
            failure = failure if folder else error
            continue
        if len(rows) < MIN_MATCHING * len(within):
            failure = DataError(f"{file} has a class for {len(rows)} of {len(within)} images only")
            continue
        _check_adds(file, by_names, {name: row.label for name, row in rows.items()})
        labels_entry = {key: value for key, value in asdict(labels).items() if value not in (None, False)}
        return {**({"images": f"{folder}**"} if folder else {}), "labels": labels_entry}
    raise failure


def _check_adds(file: str, by_names: Mapping[str, Labelled], labels: Mapping[str, str]) -> None:
    """Raises a DataError if each class by the names is of one class in the table."""
    in_table = defaultdict(set)
    for name, labelled in by_names.items():
        if name in labels:
            in_table[labelled.label].add(labels[name])
    if in_table and all(len(each) == 1 for each in in_table.values()):
        raise DataError(f"{file} tells no more than the names")


def _folders(images: Sequence[str]) -> list[str]:
    """Returns an empty string and, unless they are many, all folders of images, with a slash; training comes first.

    In the folder of the test there may be images of the same names, about which the table says nothing.
    """
    around = {f"{parent}/" for name in set(map(dirname, images)) for parent in PurePosixPath(name, "x").parents}
    around.discard("./")
    if len(around) > MAX_FOLDERS:
        return [""]
    return ["", *sorted(around, key=lambda folder: (known_split(folder) != "train", folder))]


def _lists(
    source: Mapping[str, Any], placed: Mapping[str, Labelled], names: Sequence[str], texts: Mapping[str, bytes]
) -> dict[str, Any]:
    """Returns `split_lists` with a list for each split, if there are any and nothing else tells the split.

    Of several lists for a split, such as train1.txt to train10.txt, the first is taken.
    """
    if any(labelled.split for labelled in placed.values()):
        return {}
    found = [file for file in texts if file.lower().endswith(LISTS)]
    images = Names((name, None) for name in (placed if found else ()))
    lists: dict[str, str] = {}
    for file in sorted(found, key=lambda name: (len(name), name)):
        split = known_split(PurePosixPath(file).stem)
        if split is None or split in lists:
            continue
        try:
            match_list(file, read_list(file, texts[file]), images)
        except DataError:
            continue
        lists[split] = file
    if lists.keys() <= {"train"}:
        return {}
    try:
        _placed({**source, "split_lists": lists}, names, texts)
    except DataError:  # an image is in two of them
        return {}
    return {"split_lists": {split: lists[split] for split in ("train", "validation", "test") if split in lists}}


def _groups_in_names(source: Mapping[str, Any], found: Mapping[str, Labelled]) -> list[str]:
    """Returns a note if the names in each folder of a class begin with several texts that repeat, as camera7_0001."""
    folders, _, file = source.get("images", "").rpartition("/")
    if "labels" in source or not file.startswith("*"):
        return []
    for separator in SEPARATORS:
        groups = defaultdict(set)
        parts = {name: PurePosixPath(name).stem.rpartition(separator) for name in found}
        for name, (group, _, _) in parts.items():
            groups[found[name].label].add(group)
        repeated = len(set().union(*groups.values())) <= len(found) / MIN_IMAGES
        numbered = all(group and number.isdecimal() for group, _, number in parts.values())
        if repeated and numbered and min(map(len, groups.values())) >= MIN_GROUPS:
            name, (group, _, _) = next(iter(parts.items()))
            pattern = f"{folders}/{{group}}{separator}{{number}}{file[1:] or '.*'}"
            return [
                f"is each of {group} and the like, as in {name}, one animal, camera or patient? "
                f'then set images: "{pattern}"'
            ]
    return []


def _splits_as_classes(found: Mapping[str, Labelled]) -> list[str]:
    labels = sorted({labelled.label for labelled in found.values() if known_split(labelled.label)})
    return [f"taken as a class, although it may be a split: {', '.join(labels)}"] if labels else []


def _pattern(images: Sequence[str], names: Sequence[str]) -> str:
    """Returns the pattern by which the names of the images tell the classes.

    Raises:
        DataError: they tell none, or several folders may be the classes.
    """
    by_depth = defaultdict(list)
    for name in images:
        by_depth[name.count("/")].append(name)
    images = max(by_depth.values(), key=lambda each: (len(each), -each[0].count("/")))
    folders = list(zip(*(name.split("/")[:-1] for name in images), strict=True))
    kinds = _kinds(folders)
    levels = [position for position, kind in enumerate(kinds) if kind == "{label}"]
    if len(levels) > 1:
        raise DataError(_choices(kinds, levels, folders) + _unknown_splits(kinds, levels, folders))
    return "/".join([*kinds, _file_pattern(images, names) if levels else _pattern_of_files(images)])


def _kinds(folders: list[tuple[str, ...]]) -> list[str]:
    """Returns what each level of folders is: {split}, {label}, its name where all images share it, or *.

    Args:
        folders: for each level, the folder of each image.
    """
    kinds: list[str] = []
    seen: list[tuple[str, ...]] = []  # the levels that are {split} or {label}
    for level in folders:
        values = set(level)
        if len(values) == 1:
            kinds.append("*" if any(sign in level[0] for sign in "*{}") else level[0])
        elif any(len(set(zip(level, other, strict=True))) == len(values) == len(set(other)) for other in seen):
            kinds.append("*")  # it repeats another level, as in train/train/cat or cat/cat_photos
        else:
            is_split = all(map(known_split, values)) and "{split}" not in kinds
            kinds.append("{split}" if is_split else "{label}")
            seen.append(level)
    return kinds


def _choices(kinds: list[str], levels: list[int], folders: list[tuple[str, ...]]) -> str:
    """Describes the levels of folders that could be the classes."""
    lines = []
    for level in levels:
        pattern = [*("*" if kind == "{label}" and i != level else kind for i, kind in enumerate(kinds)), "*"]
        values = sorted(set(folders[level]))
        lines.append(f'\n  images: "{"/".join(pattern)}" has {len(values)} classes{_such_as(values)}')
    return f"{len(levels)} levels of folders could be the classes:{''.join(lines)}"


def _unknown_splits(kinds: list[str], levels: list[int], folders: list[tuple[str, ...]]) -> str:
    """Returns what to write if a level of folders has splits, of which some have names that are not known."""
    for level in levels:
        known = {split: name for name in set(folders[level]) if (split := known_split(name))}
        unknown = sorted(name for name in set(folders[level]) if known_split(name) is None)
        if known:
            meaning = "validation" if "test" in known else "test"
            pattern = "/".join([*kinds[:level], "{split}", *kinds[level + 1 :], "*"])
            return (
                f"\n  or are {', '.join(unknown)} splits, as {', '.join(sorted(known.values()))}? then "
                f'images: "{pattern}" and splits: {{{meaning}: [{", ".join(unknown)}]}}'
            )
    return ""


def _file_pattern(images: Sequence[str], names: Sequence[str]) -> str:
    """Returns ``*``, or such as ``*.jpg`` where other files lie beside images that all end so."""
    endings = {splitext(name)[1] for name in images}
    beside = set(map(dirname, images)) & set(map(dirname, set(names).difference(images)))
    return f"*{endings.pop()}" if beside and len(endings) == 1 else "*"


def _pattern_of_files(images: Sequence[str]) -> str:
    """Returns the pattern of file names that begin with the class.

    Raises:
        DataError: they do not.
    """
    files = [PurePosixPath(name) for name in images]
    for separator in SEPARATORS:
        parts = [file.stem.rpartition(separator) for file in files]
        counts = Counter(label for label, _, _ in parts)
        if (
            "" not in counts
            and 2 <= len(counts) <= len(images) / MIN_IMAGES
            and len({file.suffix for file in files}) == 1
        ):
            rest = "{number}" if all(rest.isdecimal() for _, _, rest in parts) else "*"
            return f"{{label}}{separator}{rest}{files[0].suffix}"
    hint = ""
    ends = {
        (name.removesuffix(file.suffix).rstrip("0123456789"), file.suffix)
        for name, file in zip(images, files, strict=True)
    }
    if len(ends) == 1:
        hint = f'; if the numbers tell it, set images: "{"{number}".join(ends.pop())}" and numbered'
    raise DataError(
        f"images{_such_as(images)} lie in no folders of classes, and their names do not begin with one{hint}"
    )


def _such_as(names: Sequence[str]) -> str:
    return f", such as {', '.join(names[:3])}" if names else ""
