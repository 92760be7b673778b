"""Guesses how a folder or archive of images is laid out, by looking at the names in it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import dirname, splitext  # a path object for each of a million names takes minutes
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bottletop.core.errors import DataError
from bottletop.core.files import replacing
from bottletop.download.archives import MAX_MEMBER_BYTES, Member, members
from bottletop.download.containers import opened
from bottletop.download.kinds import is_hidden, is_image
from bottletop.download.records import split_of
from bottletop.images.decoding import decode

TABLES = (".csv", ".tsv", ".mat", ".parquet", ".json")
BY_HAND = "describe it by hand: the top of datasets.yaml says how"
SEPARATORS = "_.- "  # between class and number in the name of a file
MIN_IMAGES = 2  # per class, on average: if file names give fewer, they do not begin with a class
THUMBNAIL_PX = 96
SHEET_ROWS, SHEET_COLUMNS = 30, 8


class Guess(NamedTuple):
    """What was understood of a folder or archive."""

    images: str  # the pattern for `images` in datasets.yaml
    found: dict[str, tuple[str, str]]  # split, or an empty string, and class of each image, by name
    left_out: list[str]  # the names of all other files


def look(path: Path) -> Guess:
    """Guesses the layout from the names of all files.

    Classes may be folders or the beginnings of file names; splits may be folders; all may lie in further folders. Where
    images lie at several depths, the guess is about the depth that has most of them.

    Raises:
        DataError: there are no images, or the names do not tell the classes; the message says what is there.
    """
    names = [member.name for member in _members(path)]
    by_depth = defaultdict(list)
    for name in names:
        if is_image(name) and not is_hidden(name):
            by_depth[name.count("/")].append(name)
    if not by_depth:
        raise DataError(f"{path} has no images among its {len(names)} files{_such_as(names)}", BY_HAND)
    images = max(by_depth.values(), key=lambda each: (len(each), -each[0].count("/")))
    folders = list(zip(*(name.split("/")[:-1] for name in images), strict=True))
    kinds = _kinds(folders)
    splits = _splits(folders[kinds.index("{split}")]) if "{split}" in kinds else [""] * len(images)
    levels = [position for position, kind in enumerate(kinds) if kind == "{label}"]
    if len(levels) > 1:
        raise DataError(f"{path}: {_choices(kinds, levels, folders)}", BY_HAND)
    taken = set(images)
    others = [name for name in names if name not in taken]
    if levels:
        labels: Sequence[str] = folders[levels[0]]
        file = _file_pattern(images, others)
    else:
        labels, file = _labels_of_files(path, images, names)
    found = dict(zip(images, zip(splits, labels, strict=True), strict=True))
    return Guess("/".join([*kinds, file]), found, others)


def contact_sheet(path: Path, guess: Guess, file: Path) -> None:
    """Writes a PNG with a row of small images for each class, for the first `SHEET_ROWS` classes.

    Args:
        path: the folder or archive.
        guess: what `look` returned for it.
        file: the PNG.
    """
    by_label = defaultdict(list)
    for name, (_, label) in guess.found.items():
        by_label[label].append(name)
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


def _splits(folders: Sequence[str]) -> list[str]:
    known = {folder: split_of(folder) for folder in set(folders)}
    return [known[folder] for folder in folders]


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
            is_split = all(map(split_of, values)) and "{split}" not in kinds
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
    return f"{len(levels)} levels of folders could be the classes:{''.join(lines)}\n"


def _file_pattern(images: list[str], others: list[str]) -> str:
    """Returns ``*``, or such as ``*.jpg`` where other files lie beside images that all end so."""
    endings = {splitext(name)[1] for name in images}
    beside = {dirname(name) for name in images} & {dirname(name) for name in others}
    return f"*{endings.pop()}" if beside and len(endings) == 1 else "*"


def _labels_of_files(path: Path, images: list[str], names: list[str]) -> tuple[list[str], str]:
    """Returns the class of each image from the beginning of its name, and the pattern of the names.

    Raises:
        DataError: the names do not begin with a class.
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
            return [label for label, _, _ in parts], f"{{label}}{separator}{rest}{files[0].suffix}"
    tables = [name for name in names if name.lower().endswith(TABLES)]
    hint = f"; a table may tell the classes{_such_as(tables)}" if tables else ""
    raise DataError(
        f"{path}: {len(images)} images{_such_as(images)} lie in no folders of classes, "
        f"and their names do not begin with one{hint}",
        BY_HAND,
    )


def _such_as(names: Sequence[str]) -> str:
    return f", such as {', '.join(names[:3])}" if names else ""
