"""Reads images and labels from Parquet files, as Hugging Face writes image datasets."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from bottletop.core.errors import DataError
from bottletop.download.archives import MAX_MEMBER_BYTES
from bottletop.download.records import Record, component, split_of

IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label")
BATCH_BYTES = 8 << 20  # of images held at once
BUFFER_BYTES = 1 << 20  # of a file read at once
MAX_ROWS = 1024  # in a batch
SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)\.parquet")


class _Columns(NamedTuple):
    """The columns that matter."""

    image: str
    label: str
    class_names: list[str] | None  # by label number; None if the labels are names, or numbers without names


def read(files: Mapping[str, Path], paths: set[Path]) -> Iterator[tuple[str, Iterator[Record]]]:
    """Yields the split, as the file's name tells it, and the images of each file that has a column of images.

    Labels are numbers with the names that Hugging Face keeps in the file, or text. Images are bytes, or paths relative
    to the file's folder.

    Args:
        files: paths by name, such as ``data/train-00000-of-00002.parquet``.
        paths: gets the path of each image that is read from beside its file.

    Raises:
        DataError: a file is damaged or has no labels, the files lie in several folders, one of a numbered row is not
            there, or a path leaves the folder.
    """
    with_images = {name: path for name, path in files.items() if has_images(path)}
    folders = {_dataset_folder(name) for name in with_images}
    if len(folders) > 1:
        raise DataError(
            f"Parquet files of several datasets: they lie in the folders {', '.join(sorted(folders))}",
            "let source.folder in datasets.yaml name one of them",
        )
    _check_shards(with_images)
    for name, path in with_images.items():
        yield split_of(name), _records(path, paths)


def class_names(files: Mapping[str, Path]) -> set[str]:
    """Returns the names of classes that Hugging Face keeps in the files, with images or without."""
    names: set[str] = set()
    for path in filter(has_images, files.values()):
        with _opened(path) as file:
            names.update(map(component, _columns(file.schema_arrow, path).class_names or ()))
    return names


def has_images(path: Path) -> bool:
    """Returns whether a Parquet file has a column of images.

    Raises:
        DataError: the file is damaged.
    """
    with _opened(path) as file:
        return _image_column(file.schema_arrow) is not None


def _check_shards(names: Iterable[str]) -> None:
    """Checks that there is each file of a numbered row, as their names tell how many there are."""
    found = defaultdict(set)
    for name in names:
        if match := SHARD.fullmatch(name):
            found[match[1], match[3]].add(int(match[2]))
    for (start, count), numbers in found.items():
        if missing := sorted(set(range(int(count))) - numbers):
            listed = ", ".join(f"{number:0{len(count)}}" for number in missing[:10])
            raise DataError(
                f"{start}-…-of-{count}.parquet: {len(missing)} of these files are missing: {listed}",
                "get them too, or take away -of- from the names of the others, to do without",
            )


def _dataset_folder(name: str) -> str:
    """Returns the file's folder, without those that are called as a split."""
    folder = PurePosixPath(name).parent
    while folder.name and split_of(folder.name):
        folder = folder.parent
    return str(folder)


@contextmanager
def _opened(path: Path) -> Iterator[parquet.ParquetFile]:
    """Opens a file, and turns the errors of damaged files into DataError."""
    try:
        # With `pre_buffer`, the default, it would hold the whole file.
        with parquet.ParquetFile(
            path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as file:
            yield file
    except (pa.ArrowException, OSError) as error:  # OSError: a page cannot be unpacked
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a whole Parquet file ({reason})", "delete it, and download it again") from error


def _records(path: Path, paths: set[Path]) -> Iterator[Record]:
    with _opened(path) as file:
        columns = _columns(file.schema_arrow, path)
        row_bytes = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        row_bytes //= max(1, file.metadata.num_rows)
        size = max(1, min(MAX_ROWS, BATCH_BYTES // max(1, row_bytes)))
        row = 0
        for batch in file.iter_batches(batch_size=size, columns=[columns.image, columns.label]):
            for image, label in zip(batch[columns.image], batch[columns.label], strict=True):
                row += 1
                record = _record(image.as_py(), label.as_py(), columns, path, row)
                paths |= {record.beside} if record.beside else set()
                yield record


def _record(image: Any, label: Any, columns: _Columns, path: Path, row: int) -> Record:
    """Returns the image of a row, with what is wrong with it."""
    where = f"{path.name}, row {row}"
    name, problem = _class_name(label, columns.class_names, where)
    if not isinstance(image, dict):
        image = {"path" if isinstance(image, str) else "bytes": image}
    data, place, beside = image.get("bytes"), image.get("path"), None
    if data is None and place:
        beside = _beside(path, place)
        data = _read(beside)
        problem = problem or (f"{place} is missing: {where}" if data is None else "")
    elif not data:
        problem = problem or f"no image: {where}"
    return Record(name, data or b"", problem, PurePosixPath(place or "").suffix, beside)


def _class_name(label: Any, class_names: list[str] | None, where: str) -> tuple[str, str]:
    """Returns the class, or an empty string and the reason."""
    if label is None or label == "":
        return "", f"no label: {where}"
    if isinstance(label, int) and not 0 <= label < (len(class_names) if class_names else math.inf):
        return "", f"label {label}: {where}"  # test sets whose labels are kept secret have -1
    return component(class_names[label] if class_names else str(label)), ""


def _beside(file: Path, place: str) -> Path:
    """Returns the path of an image that should lie beside the Parquet file.

    Raises:
        DataError: the path leads out of the file's folder.
    """
    folder = file.parent.resolve()
    image = (folder / place).resolve() if "\0" not in place else folder.parent
    if not image.is_relative_to(folder):
        raise DataError(f"{file}: the path {place!r} leaves the file's folder: refused")
    return image


def _read(image: Path) -> bytes | None:
    """Returns the bytes of an image, or None if it is missing or too large."""
    if not image.is_file() or image.stat().st_size > MAX_MEMBER_BYTES:
        return None
    return image.read_bytes()


def _columns(schema: pa.Schema, path: Path) -> _Columns:
    """Finds the columns of images and labels.

    Raises:
        DataError: no column holds labels, or one of another type.
    """
    features = _features(schema)
    named = [name for name in LABEL_COLUMNS if name in schema.names]
    label = next(iter(named or [name for name, each in features.items() if each.get("_type") == "ClassLabel"]), None)
    if label is None:
        raise DataError(
            f"{path} has no column of labels, only {', '.join(schema.names)}",
            f"rename the column with the class to {LABEL_COLUMNS[0]}",
        )
    kind = schema.field(label).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {label} holds {kind}, allowed are whole numbers and text")
    class_names = features.get(label, {}).get("names") if pa.types.is_integer(kind) else None
    return _Columns(_image_column(schema) or "", label, class_names)


def _image_column(schema: pa.Schema) -> str | None:
    features = _features(schema)
    marked = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    named = [name for name in IMAGE_COLUMNS if name in schema.names]
    return next((name for name in marked + named if _may_be_image(schema.field(name).type)), None)


def _may_be_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_string(kind))


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Returns what Hugging Face has noted about each column: its type, and the names of the classes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: each for name, each in features.items() if isinstance(each, dict)}
