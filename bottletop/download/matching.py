"""Which images the rows of a table and the lines of a list mean, and whether enough of them mean one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from bottletop.core.errors import DataError
from bottletop.core.patterns import normalised
from bottletop.download.kinds import is_image
from bottletop.download.tables import Row

MIN_MATCHING = 0.95  # fraction of a table's rows, of a list's lines and of a table's images that must match
SEPARATORS = (",", "\t", ";", None)  # of the columns of a list; None: spaces
SAMPLE = 1000  # lines by which the column of the images is found
EDIT = "edit `images`, or the table or list, in datasets.yaml"


class Names:
    """Finds images by their names with or without ending and folders.

    Args:
        images: the name of each image, and its number if `images` in datasets.yaml has {number}.
    """

    def __init__(self, images: Iterable[tuple[str, int | None]]) -> None:
        self._by_file: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[int, list[str]] = defaultdict(list)
        for name, number in images:
            path = PurePosixPath(normalised(name))
            for key in {path.name, path.stem}:
                self._by_file[key].append(name)
            if number is not None:
                self._by_number[number].append(name)

    def find(self, text: str) -> list[str]:
        """Returns the images whose name or number `text` is: none, one, or several that differ only in their ending.

        Raises:
            DataError: `text` may be one of several images.
        """
        found = self.named(text)
        if not found and text.isdecimal():
            found = self._by_number.get(int(text), [])
        if len({str(PurePosixPath(name).with_suffix("")) for name in found}) > 1:
            raise DataError(
                f"{text!r} may be {found[0]} or {found[1]}",
                "give the folders too, or narrow `images` in datasets.yaml",
            )
        return found

    def named(self, text: str) -> list[str]:
        """Returns all images whose name `text` may be."""
        wanted = PurePosixPath(normalised(text.replace("\\", "/")))
        found = self._by_file.get(wanted.name, [])
        if not found and is_image(wanted.name):
            found = self._by_file.get(wanted.stem, [])
        return [name for name in found if _same_folders(PurePosixPath(normalised(name)), wanted)]


class Matches(NamedTuple):
    """What a table says about images."""

    rows: dict[str, Row]  # by image
    unused: list[Row]  # those that mean no image


def match_table(file: str, rows: Sequence[Row], names: Names, excluded: Names) -> Matches:
    """Finds the image of each row.

    Args:
        file: the table's name, for messages.
        rows: of the table.
        names: of all images.
        excluded: of files that the user leaves out; rows about them do not count.

    Raises:
        DataError: too few rows mean an image, or two rows say different things about one.
    """
    matches = Matches({}, [])
    for row in rows:
        found = names.find(row.image)
        if not found and not excluded.named(row.image):
            matches.unused.append(row)
        for name in found:
            known = matches.rows.setdefault(name, row)
            if known[1:] != row[1:]:
                described = " and ".join(" ".join(filter(None, each[1:])) for each in (known, row))
                raise DataError(f"{name} stands twice in {file}, as {described}", EDIT)
    _check(file, [row.image for row in matches.unused], len(rows))
    return matches


def match_list(file: str, lines: Sequence[str], names: Names) -> tuple[list[str], list[str]]:
    """Finds the image of each line, whose name is the line or, in all lines, one of its columns.

    Args:
        file: the list's name, for messages.
        lines: of the list. The first may be a header.
        names: of all images.

    Returns:
        The images, and the lines that mean none.

    Raises:
        DataError: too few lines mean an image.
    """
    separator, column = _column(lines[:SAMPLE], names)
    images, unused = [], []
    for number, line in enumerate(lines):
        found = names.find(_cell(line, separator, column))
        images += found
        if not found and number > 0:
            unused.append(line)
    if not images:
        raise DataError(f"no line of {file} means an image, such as {lines[0] if lines else ''!r}", EDIT)
    _check(file, unused, len(lines))
    return images, unused


def _column(lines: Sequence[str], names: Names) -> tuple[str | None, int]:
    """Returns the separator and the position of the column that has the images' names; -1 is the whole line.

    It is the one that names the most different images: the number of a class may be the name of an image too.
    """
    ways: list[tuple[str | None, int]] = [(None, -1)]
    for separator in SEPARATORS:
        columns = max((len(line.split(separator)) for line in lines), default=1)
        ways += [(separator, column) for column in range(columns) if columns > 1]
    counts = {way: len({cell for line in lines if names.named(cell := _cell(line, *way))}) for way in ways}
    return max(ways, key=lambda way: counts[way])


def _cell(line: str, separator: str | None, column: int) -> str:
    cells = line.split(separator) if column >= 0 else []
    return (line if column < 0 else cells[column] if column < len(cells) else "").strip()


def _check(file: str, unused: Sequence[str], lines: int) -> None:
    if len(unused) > (1 - MIN_MATCHING) * lines:
        raise DataError(f"{len(unused)} of {lines} lines of {file} mean no image, such as {unused[0]!r}", EDIT)


def _same_folders(path: PurePosixPath, wanted: PurePosixPath) -> bool:
    """Returns whether the folders agree, as far as both names have some."""
    pairs = zip(reversed(path.parts[:-1]), reversed(wanted.parts[:-1]), strict=False)
    return all(left == right for left, right in pairs)
