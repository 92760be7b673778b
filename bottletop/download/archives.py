"""Reads the members of a tar, a zip or a folder one by one, without unpacking to disk.

The kind of an archive follows from its first bytes. A tar may be compressed as gz, bz2, xz or zst.

Names become text by one rule. Bytes that are UTF-8 as a whole are UTF-8. All others are Latin-1, in which each byte is
one character, so names that differ stay apart; or code page 437 in a zip, as its format says. Accents are composed
(NFC), so that a class spelt in both ways is one class. Backslashes in archives are slashes. Control characters are
written out, as in ``\\x1b``, so that no terminal or table meets them.

An archive inside an archive is read as if it were unpacked into a folder of its name, which is left out where all of
it is in such a folder already: ``parts/cats.zip`` with ``cats/1.jpg`` or ``1.jpg`` gives ``parts/cats/1.jpg``.
Archives inside those, and archives in a folder, are plain files.
"""

import errno
import io
import lzma
import os
import re
import shutil
import stat
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from backports.zstd import ZstdError, tarfile, zipfile  # Python 3.14's: older ones take minutes for some bad headers

from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import EMPTY_FOLDER, HIDDEN, entries_below
from bottletop.core.terminal import visible
from bottletop.download import tars
from bottletop.download.compression import BUFFER_BYTES, ZIP, content, is_tar, looks_like
from bottletop.download.kinds import is_hidden

MAX_MEMBERS = 20_000_000
MAX_MEMBER_BYTES = 256 << 20  # larger than any photo
MAX_EXPANSION = 20  # photos hardly compress, so a larger ratio means a decompression bomb
FREE_EXPANSION_BYTES = 1 << 28  # allowed on top, because small archives of text compress well
READ_KINDS = "tar, tar.gz, tar.bz2, tar.xz, tar.zst and zip"
REPACK = "unpack it, and set folder in datasets.yaml, or pack it again as a zip"
TWICE = "a second one of this name"

_ARCHIVE_NAME = re.compile(r"(?<=[^/])(\.tar(\.(gz|bz2|xz|zst))?|\.t(gz|bz2?|xz|zst)|\.zip)$", re.IGNORECASE)
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_ZSTANDARD}


class Member(NamedTuple):
    """One file of an archive or folder, or something else in it, which then has a `problem`."""

    name: str  # relative, with forward slashes
    size: int  # in bytes, as declared
    read: Callable[[], bytes]  # returns its bytes; works only until the next member is requested
    problem: str = ""  # what it is instead of a file to use, such as "a broken link"; `read` then raises DataError


class _Entry(NamedTuple):
    """A member that is not yet checked against the others."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    problem: str = ""


class UnreadableError(DataError):
    """An archive is damaged or cut off, or is none."""


class _NoArchiveError(UnreadableError):
    """The first bytes are not those of an archive."""


def members(path: Path) -> Iterator[Member]:
    """Yields the files of a folder (sorted by name) or of an archive (in its own order).

    What is no file to use is yielded too, with a `problem`: hidden files, links and devices of archives, broken links
    and unreadable files of folders, empty folders, and each further member of a name, because only the first is used.

    Raises:
        DataError: the archive is missing, damaged, of an unknown kind, unsafe (absolute names, ".."), a decompression
            bomb, or has more than `MAX_MEMBERS` members.
    """
    if path.is_dir():
        entries = _folder(path)
    elif path.is_file():
        entries = _archive(path)
    else:
        raise DataError(f"{path} is missing", WHERE_ELSE)
    for entry in _noted(_counted(entries, path)):
        yield Member(entry.name, entry.size, partial(_read, entry, path), entry.problem)


def _read(entry: _Entry, path: Path) -> bytes:
    if entry.problem:
        raise DataError(f"{path}: {entry.name!r} is {entry.problem}, so it cannot be used")
    with _damage_explained(path), entry.open() as file:
        return file.read(min(entry.size, MAX_MEMBER_BYTES) + 1)  # one more, because zipfile checks the CRC at the end


@contextmanager
def _damage_explained(what: Path | str) -> Iterator[None]:
    """Turns the errors of damaged archives into DataError.

    It must wrap everything that reads the archive: its list of members and each member's bytes.
    """
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        ZstdError,
        EOFError,
        OSError,  # gzip and bz2: no error of the system; zipfile: a place before the file's beginning
        RuntimeError,  # zipfile: a feature that it does not know; tarfile: too many headers in a row
        UnicodeDecodeError,  # zipfile: a name
    ) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # such as a full disk
        raise UnreadableError(
            f"{what} is damaged or cut off ({error})",
            "delete it, and download it again; if its source is damaged too, unpack what can be saved, and set folder",
        ) from error


def _counted(entries: Iterable[_Entry], path: Path) -> Iterator[_Entry]:
    for count, entry in enumerate(entries, start=1):
        if count > MAX_MEMBERS:
            raise DataError(f"{path} has more than {MAX_MEMBERS:,} members")
        yield entry


def _noted(entries: Iterable[_Entry]) -> Iterator[_Entry]:
    """Notes which entries are hidden or second copies, and leaves out folders that hold something."""
    seen: set[int] = set()  # hashes, because millions of names would take much more memory
    folders: list[_Entry] = []
    filled = {""}
    for entry in entries:
        parent = entry.name.rpartition("/")[0]
        if parent and parent not in filled:
            filled.update(map(str, PurePosixPath(entry.name).parents))
        if entry.problem == EMPTY_FOLDER:
            folders.append(entry)
            continue
        problem = entry.problem
        if not problem and is_hidden(entry.name):
            problem = HIDDEN
        elif not problem and hash(entry.name) in seen:
            problem = TWICE
        elif not problem:
            seen.add(hash(entry.name))
        yield entry._replace(problem=problem)
    yield from (folder for folder in folders if folder.name not in filled)


# The three kinds


def _folder(root: Path) -> Iterator[_Entry]:
    for file, problem in entries_below(root):
        size = 0 if problem else file.stat().st_size
        name = _text(os.fsencode(file.relative_to(root).as_posix()), "latin-1")
        yield _Entry(visible(name), size, partial(io.FileIO, file), problem)


def _archive(path: Path) -> Iterator[_Entry]:
    """Yields the entries of an archive. Those of archives inside it take the place of these."""
    budget = _Budget(path)
    with _damage_explained(path), path.open("rb") as file:
        for entry in _opened(file, str(path), budget):
            if entry.problem or is_hidden(entry.name) or not _ARCHIVE_NAME.search(entry.name):
                yield entry
            else:
                yield from _inside(entry, f"{path}: {entry.name!r}", budget)


def _inside(archive: _Entry, what: str, budget: "_Budget") -> Iterator[_Entry]:
    folder = _ARCHIVE_NAME.sub("", archive.name)
    own_name = PurePosixPath(folder).name
    with _damage_explained(what), archive.open() as opened:
        file: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, opened), BUFFER_BYTES)
        try:
            entries = _opened(file, what, budget)
        except _NoArchiveError:
            yield archive._replace(problem="no archive, despite its name")
            return
        for entry in entries:
            name = entry.name if entry.name.split("/")[0] == own_name else f"{own_name}/{entry.name}"
            yield entry._replace(name=str(PurePosixPath(folder).parent / name))


def _opened(file: io.BufferedReader, what: str, budget: "_Budget") -> Iterator[_Entry]:
    start = file.peek(tarfile.BLOCKSIZE)[: tarfile.BLOCKSIZE]
    if start.startswith(ZIP):
        return _zip(file, what, budget)
    plain = content(file)
    if is_tar(plain.peek(tarfile.BLOCKSIZE)[: tarfile.BLOCKSIZE]):
        return _tar(plain, what, budget)
    raise _NoArchiveError(f"{what} is {looks_like(start)}, but {READ_KINDS} are read", REPACK)


def _zip(file: io.BufferedReader, what: str, budget: "_Budget") -> Iterator[_Entry]:
    with closing(_seekable(file)) as whole, zipfile.ZipFile(whole) as archive:
        _check_list(archive, whole)
        for info in archive.infolist():
            budget.spend(info.file_size)
            marked = info.flag_bits & 0x800 or info.filename != info.orig_filename  # as UTF-8; the latter: by a field
            name = _text(info.filename.encode("utf-8" if marked else "cp437"), "cp437")
            opener = partial(_open_zipped, archive, info, what)
            yield _Entry(_safe(name, what), info.file_size, opener, _zip_problem(info))


def _seekable(file: io.BufferedReader) -> IO[bytes]:
    """Returns the file, or a temporary copy of it if it is inside an archive, where only the next bytes can be read."""
    if isinstance(file.raw, io.FileIO):
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    shutil.copyfileobj(file, copy)
    return copy


def _check_list(archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Raises BadZipFile if the zip's list of members, which stands at its end, seems to lack some; zipfile goes on."""
    if min((info.header_offset for info in archive.infolist()), default=0) > len(ZIP[0]):
        raise zipfile.BadZipFile("other data, perhaps another zip, stands before the first member that it lists")
    file.seek(-22 - len(archive.comment), os.SEEK_END)
    end = file.read(22)
    if not end.startswith(b"PK\x05\x06"):
        raise zipfile.BadZipFile("other data stands after its end")
    count = int.from_bytes(end[10:12], "little")
    if count not in (len(archive.infolist()) & 0xFFFF, 0xFFFF):  # the latter in zip64, which counts elsewhere
        raise zipfile.BadZipFile(f"it lists {len(archive.infolist()):,} members, but counts {count:,}")


def _zip_problem(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.filename.endswith(("/", "\\")):
        return EMPTY_FOLDER
    if kind == stat.S_IFLNK:
        return "a link"
    return "" if kind in (0, stat.S_IFREG) else "a device or pipe"


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> IO[bytes]:
    if info.flag_bits & 0x1:
        raise DataError(f"{what}: {info.filename!r} is encrypted", REPACK)
    if info.compress_type not in _ZIP_METHODS:
        method = {9: "deflate64"}.get(info.compress_type, f"method {info.compress_type}")
        raise DataError(f"{what}: {info.filename!r} is compressed by {method}, which cannot be read", REPACK)
    return archive.open(info)  # it stops at the declared size, then checks the CRC


def _tar(file: io.BufferedReader, what: str, budget: "_Budget") -> Iterator[_Entry]:
    """Streams the archive in one pass, whatever its size."""
    with tars.stream(_Bounded(file, budget)) as archive:
        for info in archive:
            name = _safe(_text(info.name.encode("utf-8", "surrogateescape"), "latin-1"), what)
            yield _Entry(name, info.size, partial(_open_tarred, archive, info), _tar_problem(info))


def _tar_problem(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return EMPTY_FOLDER
    if info.issym() or info.islnk():
        return "a link"
    # The holes of a sparse file are not read, so they would escape the budget.
    return "" if info.isreg() and not info.issparse() else "a device, pipe or sparse file"


def _open_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name!r} is no file")
    return file


class _Budget:
    """The bytes that may still come out of an archive and those inside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_EXPANSION * path.stat().st_size + FREE_EXPANSION_BYTES

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DataError(f"{self._path} unpacks to over {MAX_EXPANSION} times its size: refused")


class _Bounded(io.RawIOBase):
    """Reads a file within a budget."""

    def __init__(self, file: io.BufferedReader, budget: _Budget) -> None:
        self._file, self._budget = file, budget

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._budget.spend(len(data))
        return data


# Names


def _text(raw: bytes, other: str) -> str:
    """Decodes a name from UTF-8, or from the encoding `other` if it is not UTF-8, and composes its accents."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode(other)
    return unicodedata.normalize("NFC", name)


def _safe(name: str, archive: str) -> str:
    """Returns the name with forward slashes, no leading "./" and control characters written out.

    Raises:
        DataError: the name is absolute or leads out of the archive.
    """
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
        raise DataError(f"{archive}: the member name {name!r} leaves the archive: refused")
    return visible("/".join(parts))
