"""Writes shards: uncompressed tars of one class each, in which every image's offset is known."""

import re
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

SHARD_BYTES = 512 << 20
BLOCK_BYTES = 512
MAX_OPEN = 128  # maximum number of open files


class ShardWriter:
    """Appends images to ``<class>-000.tar``, ``<class>-001.tar`` …; the bytes depend on nothing but the images.

    Args:
        folder: existing folder for the shards.
        shard_bytes: an image that would make its shard larger than this begins a new one.
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._stems: dict[str, str] = {}  # stem of the file names, by label
        self._sizes: dict[str, tuple[int, int]] = {}  # number of the current shard and its bytes so far, by label
        self._files: dict[str, BinaryIO] = {}  # open files, by label

    def add(self, label: str, name: str, data: bytes) -> tuple[str, int]:
        """Appends one file.

        Args:
            label: the class.
            name: name of the file in the tar.
            data: bytes of the file.

        Returns:
            The shard's file name and the offset of the data in the shard, in bytes.
        """
        number, size = self._sizes.get(label, (0, 0))
        header = self._header(name, len(data))
        if size and size + len(header) + len(data) > self._shard_bytes:
            self._end(label)
            number, size = number + 1, 0
        padding = -len(data) % BLOCK_BYTES
        self._file(label, number).write(header + data + bytes(padding))
        self._sizes[label] = number, size + len(header) + len(data) + padding
        return self._name(label, number), size + len(header)

    def finish(self) -> None:
        """Ends each tar with two empty blocks, as the format requires, and closes it."""
        for label in self._sizes:
            self._end(label)

    def _end(self, label: str) -> None:
        self._file(label, self._sizes[label][0]).write(bytes(2 * BLOCK_BYTES))
        self._files.pop(label).close()

    def _file(self, label: str, number: int) -> BinaryIO:
        """Returns the shard, open for appending.

        Files are kept open, because opening one takes as long as writing a photo. At most `MAX_OPEN` are, because there
        may be more classes than file handles.
        """
        if label not in self._files:
            if len(self._files) == MAX_OPEN:
                self._files.pop(next(iter(self._files))).close()
            self._files[label] = (self._folder / self._name(label, number)).open("ab")
        return self._files[label]

    def _name(self, label: str, number: int) -> str:
        return sys.intern(f"{self._stem(label)}-{number:03}.tar")

    def _stem(self, label: str) -> str:
        """Returns a file name stem for a class, made of letters, digits, ``.``, ``-`` and ``_``.

        A suffix such as ``~2`` keeps the stems of two classes different, also where the file system ignores case.
        """
        if label not in self._stems:
            stem = re.sub(r"[^\w.-]+", "_", label).lstrip(".") or "_"
            taken = {other.casefold() for other in self._stems.values()}
            suffix = ""
            while (stem + suffix).casefold() in taken:
                suffix = f"~{int(suffix[1:] or 1) + 1}"
            self._stems[label] = stem + suffix
        return self._stems[label]

    @staticmethod
    def _header(name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
