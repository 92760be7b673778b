"""Reads the members of a tar, a zip or a folder one by one, without unpacking to disk."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import files_below

BUFFER_BYTES = 1 << 16  # read at once; tarfile copies the rest of this buffer at each header
MAX_MEMBERS = 20_000_000
MAX_MEMBER_BYTES = 256 << 20  # larger than any photo
MAX_EXPANSION = 20  # photos hardly compress, so a larger ratio means a decompression bomb
FREE_EXPANSION_BYTES = 1 << 28  # allowed on top, because small archives of text compress well


class Member(NamedTuple):
    """One regular file of an archive or folder."""

    name: str  # relative, with forward slashes
    size: int  # in bytes, as declared
    read: Callable[[], bytes]  # returns its bytes; works only until the next member is requested
    problem: str = ""  # why it can't be read, such as "broken link"


def members(path: Path) -> Iterator[Member]:
    """Yields the regular files of a folder (sorted by name) or of an archive (in its own order).

    Raises:
        DataError: the archive is missing, damaged, unsafe (absolute names, "..", links, devices), a decompression bomb,
            or has more than `MAX_MEMBERS` members.
    """
    if path.is_dir():
        yield from _folder(path)
        return
    if not path.is_file():
        raise DataError(f"{path} is missing", WHERE_ELSE)
    with _damage_explained(path):
        opened = _zip(path) if zipfile.is_zipfile(path) else _tar(path)
        for count, member in enumerate(opened, start=1):
            if count > MAX_MEMBERS:
                raise DataError(f"{path} has more than {MAX_MEMBERS:,} members")
            yield member


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turns the errors of damaged archives into DataError.

    It must wrap everything that reads the archive: `members` and each member's `read`.
    """
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        EOFError,
        RuntimeError,  # zipfile: encrypted, or an unknown compression method
    ) as error:
        raise DataError(
            f"{path} is not a whole tar, tar.gz or zip ({error})", "delete it, and download it again"
        ) from error


def _folder(root: Path) -> Iterator[Member]:
    for file in files_below(root):
        yield Member(_readable(file.relative_to(root).as_posix()), file.stat().st_size, file.read_bytes)


def _zip(path: Path) -> Iterator[Member]:
    limit = _expansion_limit(path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise DataError(f"{path}: {info.filename!r} is a link or device: refused")
            limit -= info.file_size
            if limit < 0:
                raise DataError(f"{path} unpacks to over {MAX_EXPANSION} times its size: refused")

            @_damage_explained(path)
            def read(info: zipfile.ZipInfo = info) -> bytes:
                with archive.open(info) as file:  # stops at the declared size, then checks the CRC
                    return file.read(MAX_MEMBER_BYTES)

            yield Member(_safe(info.filename, path), info.file_size, read)


def _tar(path: Path) -> Iterator[Member]:
    """Streams the archive in one pass, whatever its size."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        plain = gzip.open(raw) if compressed else raw  # noqa: SIM115 (closed with `raw`)
        bounded = _Bounded(plain, path)
        with tarfile.open(fileobj=bounded, mode="r|", bufsize=BUFFER_BYTES) as archive:
            for info in archive:
                # tarfile would keep every member it has passed, over a kilobyte each.
                archive.members.clear()  # type: ignore[attr-defined]
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():  # holes are not read, so would escape the size limit
                    raise DataError(f"{path}: {info.name!r} is a link, device or sparse file: refused")

                @_damage_explained(path)
                def read(info: tarfile.TarInfo = info) -> bytes:
                    file = archive.extractfile(info)
                    data = file.read(MAX_MEMBER_BYTES) if file else b""
                    if len(data) != min(info.size, MAX_MEMBER_BYTES):
                        raise EOFError(f"{info.name} is cut off")
                    return data

                yield Member(_safe(info.name, path), info.size, read)
        while bounded.read(BUFFER_BYTES):  # gzip verifies its checksum at its very end, after the tar's end
            pass


class _Bounded(io.RawIOBase):
    """Reads a file, and raises DataError once more has come out than any archive of images would hold."""

    def __init__(self, file: gzip.GzipFile | io.BufferedReader, path: Path) -> None:
        self._file, self._path, self._left = file, path, _expansion_limit(path)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path} unpacks to over {MAX_EXPANSION} times its size: refused")
        return data


def _expansion_limit(path: Path) -> int:
    return MAX_EXPANSION * path.stat().st_size + FREE_EXPANSION_BYTES


def _safe(name: str, archive: Path) -> str:
    """Returns the name with forward slashes and no leading "./".

    Raises:
        DataError: the name is absolute or leads out of the archive.
    """
    name = _readable(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataError(f"{archive}: the member name {name!r} leaves the archive: refused")
    return "/".join(parts)


def _readable(name: str) -> str:
    """Replaces the bytes of the name that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
