"""Reads tables of labels and lists of splits."""

import codecs
import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from bottletop.core.catalogue import Labels
from bottletop.core.errors import DataError
from bottletop.core.patterns import normalised

TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".mat"}


class Row(NamedTuple):
    """A row of a table: an image and what the table says about it."""

    image: str
    label: str  # empty if the row has none, or several
    split: str
    group: str


class Table(NamedTuple):
    """What a table says."""

    rows: list[Row]
    classes: set[str]  # those that have a column of their own; some may be in no row


def read_table(labels: Labels, file: str, data: bytes) -> Table:
    """Reads one of the tables that `labels` names.

    Raises:
        DataError: the table is not readable, or does not have the columns that `labels` names.
    """
    if file.lower().endswith(".mat"):
        variables = _read_mat(file, data)
        names = [str(each) for each in (labels.image, labels.label, labels.split, labels.group) if each is not None]
        columns = [_variable(file, variables, name) for name in names]
        return _rows(labels, file, names, list(zip(*columns, strict=True)))
    table = read_cells(file, data)
    if isinstance(labels.image or labels.label, int):
        return _rows(labels, file, [str(n) for n in range(1, max(map(len, table), default=0) + 1)], table)
    return _rows(labels, file, table[0] if table else [], table[1:])


def read_cells(file: str, data: bytes) -> list[list[str]]:
    """Reads the lines of a CSV, TSV or text in columns, without empty lines, as cells without spaces around them.

    Raises:
        DataError: the table is not readable.
    """
    text = read_text(file, data)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        if first.count(separator):
            table = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        else:
            table = [line.split() for line in text.splitlines()]
    except csv.Error as error:
        raise DataError(f"{file} is not a readable table ({error})") from error
    return [[cell.strip() for cell in row] for row in table if any(row)]


def read_list(name: str, data: bytes) -> list[str]:
    """Reads the lines of a list, without empty lines and those that begin with #.

    Args:
        name: the list's name; of a MATLAB file, with the variable, such as ``setid.mat:tstid``.
        data: bytes of the file.
    """
    file, is_mat, variable = name.partition(".mat:")
    if is_mat:
        return _variable(f"{file}.mat", _read_mat(name, data), variable)
    lines = (line.strip() for line in read_text(name, data).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def member_of(name: str) -> str:
    """Returns the member's name of a list or table: without a MATLAB file's variable."""
    file, is_mat, _ = name.partition(".mat:")
    return f"{file}.mat" if is_mat else name


def read_text(name: str, data: bytes) -> str:
    """Decodes UTF-8 text, with or without a byte order mark, and UTF-16 with one, as spreadsheets write it.

    Raises:
        DataError: it is neither.
    """
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, a list or table of the dataset, is not UTF-8 text", "save it as UTF-8") from error


def _rows(labels: Labels, file: str, header: Sequence[str], table: Sequence[Sequence[str]]) -> Table:
    def column(name: str | int | None) -> int | None:
        if name is None:
            return None
        if str(name) not in header:
            raise DataError(f"{file} has no column {name!r}, only {', '.join(header)}", "edit labels in datasets.yaml")
        if header.count(str(name)) > 1:
            raise DataError(f"{file} has {header.count(str(name))} columns {name!r}", "rename all but one")
        return header.index(str(name))

    image, label, split, group = map(column, (labels.image, labels.label, labels.split, labels.group))
    if labels.one_hot is True:
        hot = [each for each in range(len(header)) if each not in (image, split, group)]
    else:
        hot = [each for each in map(column, labels.one_hot or ()) if each is not None]
    rows = []
    for number, cells in enumerate(table, start=1):

        def cell(position: int | None, cells: Sequence[str] = cells) -> str:
            return normalised(cells[position]) if position is not None and position < len(cells) else ""

        found = [header[each] for each in hot if _is_one(file, header[each], cell(each))]
        name = cell(image) if image is not None else str(number)
        rows.append(Row(name, cell(label) or (found[0] if len(found) == 1 else ""), cell(split), cell(group)))
    return Table(rows, {normalised(header[each]) for each in hot})


def _is_one(file: str, column: str, value: str) -> bool:
    if value in ("0", "0.0", "1", "1.0"):
        return value.startswith("1")
    raise DataError(
        f"{file}: column {column!r} holds {value!r}, not 0 or 1", "name the columns of the classes: one_hot: [a, b]"
    )


def _read_mat(name: str, data: bytes) -> dict[str, list[str]]:
    """Returns the variables of a MATLAB file that are arrays of numbers, as text."""
    from scipy.io import loadmat  # takes 0.2 s to import; few datasets need it

    try:
        arrays = loadmat(io.BytesIO(data))
    except Exception as error:  # scipy's own, and many others for damaged files
        raise DataError(f"{name} is not a MATLAB file up to version 7.2 ({error})", "write it as CSV") from error
    return {
        key: [f"{value:.15g}" for value in array.ravel()]
        for key, array in arrays.items()
        if getattr(array, "dtype", None) is not None and array.dtype.kind in "iuf"
    }


def _variable(file: str, variables: dict[str, list[str]], name: str) -> list[str]:
    if name not in variables:
        raise DataError(f"{file} has no numbers {name!r}, only {', '.join(variables)}", "edit datasets.yaml")
    return variables[name]
