"""Class tars: plain, uncompressed, cut into shards, with each image's offset known."""

import re
import tarfile
from pathlib import Path

SHARD_BYTES = 512 << 20
BLOCK_BYTES = 512


class ShardWriter:
    """Appends images to ``<class>-000.tar``, ``<class>-001.tar`` …; the bytes depend on nothing but the images."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._stems: dict[str, str] = {}  # of the file names, by label
        self._open: dict[str, tuple[int, int]] = {}  # shard's number and bytes so far, by label

    def add(self, label: str, name: str, data: bytes) -> tuple[str, int]:
        """Appends one file; returns the shard's file name and the offset of the data in it."""
        number, size = self._open.get(label, (0, 0))
        header = self._header(name, len(data))
        if size and size + len(header) + len(data) > self._shard_bytes:
            self._end(label)
            number, size = number + 1, 0
        padding = -len(data) % BLOCK_BYTES
        with self._path(label, number).open("ab") as file:  # opened anew: there may be more classes than handles
            file.write(header + data + bytes(padding))
        self._open[label] = number, size + len(header) + len(data) + padding
        return self._path(label, number).name, size + len(header)

    def finish(self) -> None:
        """Ends each tar as the format asks: with two empty blocks."""
        for label in self._open:
            self._end(label)

    def _end(self, label: str) -> None:
        with self._path(label, self._open[label][0]).open("ab") as file:
            file.write(bytes(2 * BLOCK_BYTES))

    def _path(self, label: str, number: int) -> Path:
        return self._folder / f"{self._stem(label)}-{number:03}.tar"

    def _stem(self, label: str) -> str:
        """A file name for a class: letters, digits, ``.``, ``-`` and ``_``; no two alike on any file system."""
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
