"""Reads CIFAR-10 and CIFAR-100 in their binary version."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path, PurePosixPath

import numpy as np

from bottletop.core.errors import DataError
from bottletop.download.records import Record, component, png

CIFAR_10 = re.compile(r"(data_batch_(\d+)|test_batch)\.bin$")
CIFAR_100 = re.compile(r"(train|test)\.bin$")
FINE_NAMES = "fine_label_names.txt"  # in the archive of CIFAR-100
# All files that are needed; their names alone do not tell CIFAR-100.
NAMES = re.compile(rf"{CIFAR_10.pattern}|{CIFAR_100.pattern}|(batches\.meta|(fine|coarse)_label_names)\.txt$")
PICKLES = re.compile(r"(^|/)(cifar-10-batches-py|cifar-100-python)/|(^|/)data_batch_\d+$")
SIDE_PX = 32
IMAGE_BYTES = 3 * SIDE_PX * SIDE_PX


def found(names: Iterable[str]) -> bool:
    """Returns whether there are files of CIFAR among these names."""
    return any(CIFAR_10.search(name) or name.endswith(FINE_NAMES) for name in names)


def refuse_pickles(names: Iterable[str]) -> None:
    """Refuses the Python version of CIFAR.

    Raises:
        DataError: a name is one of that version's.
    """
    if pickle := next(filter(PICKLES.search, names), None):
        raise DataError(
            f"{pickle} is of the Python version of CIFAR, whose files are pickles: to read one runs code from it",
            "take the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, from the same page",
        )


def read(files: Mapping[str, Path]) -> Iterator[tuple[str, Iterator[Record]]]:
    """Yields the split and the images of each file of batches.

    A label of CIFAR-10 is its class, one of CIFAR-100 its superclass and class, such as ``fish/trout``. They are names
    where the text files with the names are among `files`, numbers from 0 otherwise.

    Args:
        files: paths by name, such as ``cifar-10-batches-bin/data_batch_1.bin``.

    Raises:
        DataError: a file is damaged, or a label has no name.
    """
    _check_batches(files)
    texts = {PurePosixPath(name).name: path for name, path in files.items() if name.endswith(".txt")}
    fine = FINE_NAMES in texts
    wanted = ("coarse_label_names.txt", FINE_NAMES) if fine else ("batches.meta.txt",)
    class_names = [_class_names(texts.get(name)) for name in wanted]
    for name, path in files.items():
        if (CIFAR_100 if fine else CIFAR_10).search(name):
            yield "test" if PurePosixPath(name).name.startswith("test") else "train", _batch(path, class_names)


def class_names(files: Mapping[str, Path]) -> list[str]:
    """Returns the names of the classes of CIFAR-10, with images or without, if their file is among `files`."""
    texts = [path for name, path in files.items() if PurePosixPath(name).name == "batches.meta.txt"]
    return [component(name) for path in texts for name in _class_names(path)]


def _check_batches(names: Iterable[str]) -> None:
    """Checks that no file is missing before one that is there."""
    numbers = {int(match[2]) for name in names if (match := CIFAR_10.search(name)) and match[2]}
    if missing := sorted(set(range(1, max(numbers, default=0))) - numbers):
        listed = ", ".join(f"data_batch_{number}.bin" for number in missing)
        raise DataError(f"files of CIFAR-10 are missing: {listed}", "download it again")


def _batch(path: Path, class_names: list[list[str]]) -> Iterator[Record]:
    """Yields the images of a file; a record is a byte for each kind of label, and the red, green and blue pixels."""
    labels = len(class_names)
    size = path.stat().st_size
    if size == 0 or size % (labels + IMAGE_BYTES):
        raise DataError(
            f"{path} is not a whole file of CIFAR: {size:,} bytes are no multiple of {labels + IMAGE_BYTES:,}",
            "delete it, and download it again",
        )
    with path.open("rb") as file:
        for number in count(1):
            data = file.read(labels + IMAGE_BYTES)
            if not data:
                return
            planes = np.frombuffer(data, np.uint8, offset=labels).reshape(3, SIDE_PX, SIDE_PX)
            names = [_name(known, data[i], f"{path}, image {number}") for i, known in enumerate(class_names)]
            yield Record("/".join(names), png(np.ascontiguousarray(planes.transpose(1, 2, 0))))


def _name(class_names: list[str], label: int, where: str) -> str:
    if not class_names:
        return str(label)
    if label >= len(class_names):
        raise DataError(f"{where}: its label is {label}, allowed are 0 to {len(class_names) - 1}", "download it again")
    return component(class_names[label])


def _class_names(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n\n", 1)[0].split() if path else []
