"""Reading files, and writing them so that they appear complete or not at all.

DVC may hard-link outputs to its cache. Writing to such an output in place would change the cached object for every
clone. Every write therefore goes to a new file beside the target, which then replaces the target.
"""

import csv
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bottletop.core.cells import guarded
from bottletop.core.errors import RESTORE, ArtefactError

HIDDEN = "hidden"
EMPTY_FOLDER = "an empty folder"
_FOLDER = "a folder"

Row = TypeVar("Row", bound=NamedTuple)
SUMS = "SHA256SUMS"  # in an output folder: checksums of its files, which `sha256sum -c` reads too


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path for a new file or folder, which replaces `path` if the block succeeds.

    A folder cannot take the place of another in one step, so the old one is moved aside first. If the process is killed
    between these steps, the next call puts the old folder back.

    Only one process at a time may write to a path, because leftovers of killed processes are deleted here. DVC's locks
    ensure this.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(path)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".unfinished"))
    try:
        yield staging / path.name
        if path.is_dir():
            path.rename(_aside(path, staging))
        (staging / path.name).replace(path)
    finally:
        _clear_up(path)


def _clear_up(path: Path) -> None:
    """Puts an old folder back that nothing has replaced, and removes what else an unfinished replacement left."""
    for staging in path.parent.glob(f".{glob.escape(path.name)}.*.unfinished"):
        if not path.exists() and _aside(path, staging).exists():
            _aside(path, staging).rename(path)
        shutil.rmtree(staging, ignore_errors=True)


def _aside(path: Path, staging: Path) -> Path:
    return staging / f"{path.name}.old"


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text; line endings are written as given."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Any) -> None:
    """Writes indented JSON, with keys in the given order and a newline at the end.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not allow.
    """
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a UTF-8 JSON file.

    Raises:
        ArtefactError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not valid JSON ({error})", RESTORE) from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a header and rows as UTF-8 CSV with LF line endings."""
    with replacing(path) as new, new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file for people, in which a spreadsheet finds no formulas; see `cells.guarded`."""
    write_csv(path, header, (list(map(guarded, row)) for row in rows))


def copy_files(folder: Path, names: Iterable[str], target: Path) -> None:
    """Copies the named files of `folder` to a new folder, which replaces `target`."""
    with replacing(target) as staging:
        staging.mkdir()
        for name in names:
            shutil.copyfile(folder / name, staging / name)


def read_numbers(path: Path) -> list[dict[str, float]]:
    """Reads the rows of a CSV file whose columns are all numbers.

    Raises:
        ArtefactError: it is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, csv.Error) as error:  # the second: a line with too few or too many cells
        raise ArtefactError(f"{path} is damaged ({error})", RESTORE) from error


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Yields the rows of a CSV file as named tuples.

    Args:
        path: the CSV file.
        kind: a named tuple whose fields, each ``str`` or ``int``, are the file's columns in order.

    Raises:
        ArtefactError: the file has other columns, or is damaged.
    """
    kinds = [kind.__annotations__[name] for name in kind._fields]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != kind._fields:
                raise ArtefactError(f"{path} has other columns than {', '.join(kind._fields)}", "run dvc repro")
            for row in reader:
                yield kind(*(convert(cell) for convert, cell in zip(kinds, row, strict=True)))
    except (ValueError, csv.Error) as error:  # no UTF-8, no number, or a line with too few or too many cells
        raise ArtefactError(f"{path} is damaged ({error})", RESTORE) from error


def sha256_text(lines: Iterable[str]) -> str:
    """Returns the SHA-256, in hex, of the lines, each followed by a newline."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file's bytes in hex, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Writes the SHA-256 of some files of a folder to `SUMS`, for `verified`."""
    write_text(folder / SUMS, "".join(f"{_sum(folder / name)}\n" for name in names))


def verified(path: Path) -> Path:
    """Checks that a file has the bytes that its stage wrote, and returns its path.

    DVC does not notice every change: an edit through a hard link also changes the cached object, and a bad disk changes
    no time. Folders that an earlier version wrote have no `SUMS`; their files are accepted unverified.

    Raises:
        ArtefactError: the file's SHA-256 is not the one in the `SUMS` beside it.
    """
    sums = path.with_name(SUMS)
    if path.exists() and sums.exists() and _sum(path).encode() not in sums.read_bytes().splitlines():
        raise ArtefactError(f"{path} was changed after it was written: its SHA-256 is not the one in {sums}", RESTORE)
    return path


def _sum(path: Path) -> str:
    """Returns a file's line of `SUMS`."""
    return f"{file_digest(path)}  {path.name}"


def files_below(root: Path) -> Iterator[Path]:
    """Yields the files below `root` that can be read, in the order of `entries_below`."""
    return (path for path, problem in entries_below(root) if not problem)


def entries_below(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields each file below `root`, sorted within each folder, with an empty string.

    Whatever else is there comes with the reason why it is no file to read: it is hidden, a broken link, a pipe, an
    empty folder, or may not be read. Links to folders are followed, but each folder is read only once, and hidden ones
    never.
    """
    read: set[str] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in read:
            yield folder, "a folder that is read already, through a link"
            continue
        read.add(real)
        try:
            entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"a folder that cannot be read ({error.strerror})"
            continue
        if not entries and folder != root:
            yield folder, EMPTY_FOLDER
        problems = {entry: _problem(entry) for entry in entries}
        yield from ((entry, problem) for entry, problem in problems.items() if problem != _FOLDER)
        folders.extend(entry for entry in reversed(entries) if problems[entry] == _FOLDER)


def hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is hidden, or is where macOS keeps such files in archives."""
    return name.startswith(".") or name == "__MACOSX"


def _problem(path: Path) -> str:
    """Returns why `path` is not a file that can be read; empty if it is one."""
    if hidden(path.name):
        return HIDDEN
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "a file that you may not read"
    except OSError:
        return "a broken link"
    if stat.S_ISDIR(mode):
        return _FOLDER
    if not stat.S_ISREG(mode):
        return "a pipe, socket or device"
    return "" if os.access(path, os.R_OK) else "a file that you may not read"
