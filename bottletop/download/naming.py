"""Guesses from the names of images what `images` in datasets.yaml has to be: which part of a name is the class."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from posixpath import dirname, splitext  # a path object for each of a million names takes minutes

from bottletop.core.errors import DataError
from bottletop.core.patterns import Pattern
from bottletop.download.layout import Labelled, known_split

MIN_IMAGES = 2  # per class, on average: what each image has for itself is no class
MIN_GROUPS = 3  # per class: fewer cannot be divided into training, validation and test
SEPARATORS = "_.- "  # between class and number in the name of a file

_Levels = list[tuple[str, ...]]  # for each level of folders, the folder of each image


def guess_pattern(images: Sequence[str], others: Sequence[str]) -> str:
    """Returns the pattern by which the names of the images tell the classes.

    Where images lie at several depths, the pattern is about the depth that has most of them, and about deeper folders
    of the same classes.

    Args:
        images: the names of all images.
        others: the names of all other files.

    Raises:
        DataError: the names tell no classes, or several levels of folders may be the classes.
    """
    main = _at_main_depth(images)
    levels = _levels(main)
    kinds = _kinds(levels)
    if kinds.count("{label}") > 1:
        raise DataError(_choices(kinds, levels) + _unknown_splits(kinds, levels))
    if "{label}" not in kinds:
        return "/".join([*kinds, _class_in_file(main)])
    folders, file = "/".join(kinds), _any_file(main, others)
    pattern, deeper = f"{folders}/{file}", f"{folders}/**/{file}"
    return deeper if len(images) > len(main) and _adds_only_images(deeper, pattern, images) else pattern


def split_pattern(images: Sequence[str]) -> str | None:
    """Returns a pattern for images whose folders tell the split, but not the class; None if they tell no split."""
    kinds = ["*" if kind == "{label}" else kind for kind in _kinds(_levels(_at_main_depth(images)))]
    return "/".join([*kinds, "*"]) if "{split}" in kinds else None


def suggested_groups(pattern: str, found: Mapping[str, Labelled]) -> list[str]:
    """Returns a note if the files of each class begin with several texts that repeat, such as camera7_0001.jpg.

    Args:
        pattern: by which folders tell the classes.
        found: the images that it found, by name.
    """
    folders, _, file = pattern.rpartition("/")
    if not file.startswith("*"):
        return []
    for separator in SEPARATORS:
        parts = {name: _stem(name).rpartition(separator) for name in found}
        if not all(group and number.isdecimal() for group, _, number in parts.values()):
            continue
        groups = defaultdict(set)
        for name, (group, _, _) in parts.items():
            groups[found[name].label].add(group)
        repeated = len(set().union(*groups.values())) <= len(found) / MIN_IMAGES
        if repeated and min(map(len, groups.values())) >= MIN_GROUPS:
            name, (group, _, _) = next(iter(parts.items()))
            suggested = f"{folders}/{{group}}{separator}{{number}}{file[1:] or '.*'}"
            return [
                f"is each of {group} and the like, as in {name}, one animal, camera or patient? "
                f'then set images: "{suggested}"'
            ]
    return []


def such_as(names: Sequence[str]) -> str:
    """Returns the first names, as the end of a message; nothing if there are none."""
    return f", such as {', '.join(names[:3])}" if names else ""


def _at_main_depth(images: Sequence[str]) -> list[str]:
    """Returns the images at the depth that has most of them; of several, at the upper one."""
    by_depth = defaultdict(list)
    for name in images:
        by_depth[name.count("/")].append(name)
    depth = max(by_depth, key=lambda each: (len(by_depth[each]), -each))
    return by_depth[depth]


def _levels(images: Sequence[str]) -> _Levels:
    """Returns the folders of images that all have the same depth."""
    return list(zip(*(name.split("/")[:-1] for name in images), strict=True))


def _kinds(levels: _Levels) -> list[str]:
    """Returns what each level of folders is: {split}, {label}, its name where all images share it, or *."""
    kinds: list[str] = []
    seen: _Levels = []  # those that are {split} or {label}
    for level in levels:
        folders = set(level)
        if len(folders) == 1:
            kinds.append("*" if any(sign in level[0] for sign in "*{}") else level[0])
        elif any(same_classes(level, other) for other in seen):
            kinds.append("*")  # it repeats another level, as in train/train/cat or cat/cat_photos
        elif "{split}" not in kinds and all(map(known_split, folders)):
            kinds.append("{split}")
            seen.append(level)
        elif len(folders) > len(level) / MIN_IMAGES:
            kinds.append("*")
        else:
            kinds.append("{label}")
            seen.append(level)
    return kinds


def same_classes(left: Sequence[str], right: Sequence[str]) -> bool:
    """Returns whether two sequences divide their items alike, though they may call the classes by other names."""
    return len(set(zip(left, right, strict=True))) == len(set(left)) == len(set(right))


def _any_file(images: Sequence[str], others: Sequence[str]) -> str:
    """Returns ``*``, or such as ``*.jpg`` where other files lie beside images that all end so."""
    endings = {splitext(name)[1] for name in images}
    beside = set(map(dirname, images)) & set(map(dirname, others))
    return f"*{endings.pop()}" if beside and len(endings) == 1 else "*"


def _adds_only_images(wide: str, narrow: str, images: Sequence[str]) -> bool:
    """Returns whether the wide pattern finds more images than the narrow one, but no other classes or splits."""
    found = []
    for pattern in (Pattern(wide), Pattern(narrow)):
        matches = [match for name in images if (match := pattern.match(name)) is not None]
        found.append((len(matches), {(match.label, match.split) for match in matches}))
    (more, wide_classes), (fewer, narrow_classes) = found
    return more > fewer and wide_classes == narrow_classes


def _class_in_file(images: Sequence[str]) -> str:
    """Returns the pattern of files whose names begin with the class.

    Raises:
        DataError: they do not.
    """
    stems = list(map(_stem, images))
    endings = {splitext(name)[1] for name in images}
    for separator in SEPARATORS:
        parts = [stem.rpartition(separator) for stem in stems]
        labels = {label for label, _, _ in parts}
        if "" not in labels and 2 <= len(labels) <= len(images) / MIN_IMAGES and len(endings) == 1:
            rest = "{number}" if all(rest.isdecimal() for _, _, rest in parts) else "*"
            return f"{{label}}{separator}{rest}{endings.pop()}"
    raise DataError(
        f"images{such_as(images)} lie in no folders of classes with {MIN_IMAGES} images or more, and the names of "
        f"files do not begin with a class{_numbers(images)}"
    )


def _stem(name: str) -> str:
    """Returns a file's name without folders and ending."""
    return splitext(name.rpartition("/")[2])[0]


def _numbers(images: Sequence[str]) -> str:
    """Returns what to write if the names differ in their numbers alone, which may tell the class."""
    ends = {(stem.rstrip("0123456789"), ending) for stem, ending in map(splitext, images)}
    return (
        f'; if the numbers tell it, set images: "{"{number}".join(ends.pop())}" and numbered' if len(ends) == 1 else ""
    )


def _choices(kinds: Sequence[str], levels: _Levels) -> str:
    """Describes the levels of folders that could be the classes."""
    lines = []
    for position, (kind, level) in enumerate(zip(kinds, levels, strict=True)):
        if kind == "{label}":
            others = ["*" if each == "{label}" else each for each in kinds]
            pattern = "/".join([*others[:position], "{label}", *others[position + 1 :], "*"])
            folders = sorted(set(level))
            lines.append(f'\n    images: "{pattern}" has {len(folders)} classes{such_as(folders)}')
    return f"{len(lines)} levels of folders could be the classes:{''.join(lines)}"


def _unknown_splits(kinds: Sequence[str], levels: _Levels) -> str:
    """Returns what to write if a level of folders has splits, of which some have names that are not known."""
    for position, level in enumerate(levels):
        known = {folder: split for folder in sorted(set(level)) if (split := known_split(folder))}
        unknown = sorted(set(level).difference(known))
        if kinds[position] == "{label}" and known:
            meaning = "validation" if "test" in known.values() else "test"
            pattern = "/".join([*kinds[:position], "{split}", *kinds[position + 1 :], "*"])
            return (
                f"\n    or are {', '.join(unknown)} splits, as {', '.join(known)}? then "
                f'images: "{pattern}" and splits: {{{meaning}: [{", ".join(unknown)}]}}'
            )
    return ""
