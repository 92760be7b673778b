"""What a file is by its first bytes, and the content of compressed files."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from functools import partial
from typing import Protocol

from backports import zstd
from backports.zstd import tarfile

BUFFER_BYTES = 1 << 16  # read at once; tarfile copies the rest of this buffer at each header
MAX_XZ_BYTES = 1 << 29  # memory for one xz file; xz -9 needs 65 MiB

PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<script")  # of web pages, in lower case
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP = b"\x1f\x8b"
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16)))  # the latter begin a comment
_KNOWN = {
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"LZIP": "an lzip file",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"\x1f\x9d": "a file made by the old compress (.Z)",
    b"\x5d\x00\x00": "an .lzma file",
    b"MZ": "a Windows program, perhaps an archive that unpacks itself",
    b"\x7fELF": "a Linux program, perhaps an archive that unpacks itself",
    b"#!": "a script, perhaps an archive that unpacks itself",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a single JPEG image",
    b"\x89PNG": "a single PNG image",
    b"GIF8": "a single GIF image",
    b"RIFF": "a single WebP image or a film",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet table",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3": "an SQLite database",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself (git lfs pull fetches it)",
    b"{": "JSON text",
    b"[": "JSON text",
    b"<?xml": "XML text, perhaps a server's message",
}


class _Decompressor(Protocol):
    """What bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def looks_like(start: bytes) -> str:
    """Returns what a file that is no archive seems to be, such as "a web page".

    Args:
        start: its first bytes, some hundred.
    """
    if not start:
        return "empty"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((*PAGE_STARTS, b"<!--")):
        return "a web page, perhaps one that asks for a login"
    if start.startswith((_GZIP, b"BZh", b"\xfd7zXZ\x00", *_ZSTD)):
        return "a single compressed file, with no tar in it"
    for magic, name in _KNOWN.items():
        if start.startswith(magic):
            return name
    return "text" if start.isascii() and b"\0" not in start else "of no known kind"


def is_tar(start: bytes) -> bool:
    """Returns whether a file with these first 512 bytes is a tar, whole or damaged."""
    if start[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return len(start) == tarfile.BLOCKSIZE and not any(start)  # a tar without members begins with its end mark
    return True


def content(file: io.BufferedReader) -> io.BufferedReader:
    """Returns the content of a file compressed as gz, bz2, xz or zst, and any other file as it is."""
    start = file.peek(8)
    if start.startswith(_GZIP):
        return io.BufferedReader(gzip.open(file), BUFFER_BYTES)
    if start.startswith(b"BZh"):
        return io.BufferedReader(_Streams(file, bz2.BZ2Decompressor), BUFFER_BYTES)
    if start.startswith(b"\xfd7zXZ\x00"):
        xz = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, MAX_XZ_BYTES)
        return io.BufferedReader(_Streams(file, xz), BUFFER_BYTES)
    if start.startswith(_ZSTD):
        return io.BufferedReader(_Streams(file, zstd.ZstdDecompressor), BUFFER_BYTES)
    return file


class _Streams(io.RawIOBase):
    """The content of a compressed file: one or more streams, with nothing but zeros after each.

    The library's own readers take a damaged second stream for the end of the file, and lose it in silence.
    """

    def __init__(self, file: io.BufferedReader, start: Callable[[], _Decompressor]) -> None:
        self._file, self._start, self._stream = file, start, start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer, unless the file ends.

        Raises:
            EOFError: the file ends within a stream.
            OSError, LZMAError, ZstdError: a stream is damaged (bz2, xz, zst).
        """
        filled = 0
        while filled < len(buffer):
            data = self._next(len(buffer) - filled)
            if data is None:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def _next(self, size: int) -> bytes | None:
        """Returns at most `size` bytes, perhaps none, or None at the end of the file."""
        data = b""
        if self._stream.eof:
            data = self._stream.unused_data.lstrip(b"\0")
            while not data:
                block = self._file.read(BUFFER_BYTES)
                if not block:
                    return None
                data = block.lstrip(b"\0")
            self._stream = self._start()
        elif self._stream.needs_input:
            data = self._file.read(BUFFER_BYTES)
            if not data:
                raise EOFError("the compressed data ends too early")
        return self._stream.decompress(data, size)
