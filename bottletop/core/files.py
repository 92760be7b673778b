"""Files that appear whole or not at all.

With hard links into DVC's cache, writing an output in place would change the cached object of every clone: so every
write goes to a new file beside the target, which then takes the target's place.
"""

import csv
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bottletop.core.errors import ArtefactError

Row = TypeVar("Row", bound=NamedTuple)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write a file or folder to; it takes the place of `path` if the block succeeds.

    One process at a time may write a path: DVC's locks see to that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.unfinished"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".unfinished"))
    try:
        yield staging / path.name
        if path.is_dir():
            shutil.rmtree(path)
        (staging / path.name).replace(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Any) -> None:
    """Indented, keys in the order given, a newline at the end; refuses NaN, which is not JSON."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as new, new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def copy_files(folder: Path, names: Iterable[str], target: Path) -> None:
    """Copies files of `folder` into a new folder, which takes the place of `target`."""
    with replacing(target) as staging:
        staging.mkdir()
        for name in names:
            shutil.copyfile(folder / name, staging / name)


def read_numbers(path: Path) -> list[dict[str, float]]:
    """A CSV file's rows, each column a number."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """A CSV file's rows as named tuples, whose fields, text or whole numbers, are its columns.

    Raises:
        ArtefactError: the columns are others.
    """
    kinds = [kind.__annotations__[name] for name in kind._fields]
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != kind._fields:
            raise ArtefactError(f"{path} has other columns than {', '.join(kind._fields)}", "run dvc repro")
        for row in reader:
            yield kind(*(convert(cell) for convert, cell in zip(kinds, row, strict=True)))


def sha256_text(lines: Iterable[str]) -> str:
    """SHA-256 of the lines, each ended by a newline, as hex."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes as hex, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def files_below(root: Path) -> Iterator[Path]:
    """Files below `root`; linked folders are followed once, hidden ones are left out."""
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = Path(folder, name)
            if file.is_file():
                yield file
