"""Finds and reads the images that users name: files, folders, patterns, web addresses, standard input."""

import glob
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from bottletop.core.errors import DataError
from bottletop.core.http_client import get
from bottletop.core.terminal import say, visible
from bottletop.images.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES

STDIN = "-"
ENDINGS = IMAGE_SUFFIXES | UNREAD_SUFFIXES  # images in formats that are not read become errors that name the format
MAX_BYTES = 200_000_000  # largest size of an image file
MAX_DOWNLOAD_BYTES = 100_000_000  # largest size of an image from a web address, which is kept in memory
MAX_DOWNLOAD_S = 120  # longest time for downloading an image, in seconds


def find(arguments: Sequence[str]) -> Iterator[str]:
    """Yields the names of single images.

    A folder yields all images in it and its subfolders, in alphabetical order. A pattern yields its matches. Missing
    paths are passed through; `read` reports them.
    """
    for argument in arguments:
        if argument == STDIN or _is_address(argument) or os.path.isfile(argument):  # noqa: PTH113 (Path's may raise)
            yield argument
        elif os.path.isdir(argument):  # noqa: PTH112
            yield from _in_folder(Path(argument))
        else:
            # Patterns may be absolute, which `Path.glob` refuses.
            matches = sorted(glob.iglob(argument, recursive=True)) if glob.has_magic(argument) else []  # noqa: PTH207
            for match in matches:
                yield from _in_folder(Path(match)) if Path(match).is_dir() else (match,)
            if not matches:
                yield argument


def read(name: str) -> bytes:
    """Reads the bytes of one image file.

    Raises:
        DataError: it cannot be read, or is larger than `MAX_BYTES` (`MAX_DOWNLOAD_BYTES` from a web address), or its
            address leads into a private network; the message holds the reason alone, not the name.
    """
    if name == STDIN:
        return _limited(sys.stdin.buffer)
    if _is_address(name):
        return _download(name)
    if os.path.isdir(name):  # noqa: PTH112
        raise DataError(f"a folder without images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    try:
        with Path(name).open("rb") as file:
            return _limited(file)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except (OSError, ValueError) as error:  # no permission, or an invalid file name
        raise DataError(getattr(error, "strerror", None) or str(error)) from error


def _is_address(argument: str) -> bool:
    return argument.lower().startswith(("http://", "https://"))


def _in_folder(folder: Path) -> Iterator[str]:
    """Yields the images of the folder and its subfolders; the folder itself if it has none.

    Other files are counted by their endings on stderr. Hidden files and folders are ignored.
    """
    found = False
    others: dict[str, list[str]] = {}  # their names, by ending
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (Path's takes much longer)
            if ending in ENDINGS and not name.startswith("."):
                found = True
                yield str(Path(parent, name))
            elif not name.startswith("."):
                others.setdefault(ending or "no ending", []).append(name)
    if others:
        kinds = (f"{len(names):,} with {ending} ({names[0]})" for ending, names in sorted(others.items()))
        say(
            f"bottletop: {folder}: files that are not images were left out: {visible(', '.join(kinds))}",
            file=sys.stderr,
        )
    if not found:
        yield str(folder)


def _limited(file: BinaryIO) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(_too_large(MAX_BYTES))
    return data


def _download(url: str) -> bytes:
    data = io.BytesIO()
    with get(url, public=True, total_s=MAX_DOWNLOAD_S) as answer:
        if answer.status != 200:
            raise DataError(answer.phrase)
        for chunk in answer.chunks(decoded=True):
            if data.tell() + len(chunk) > MAX_DOWNLOAD_BYTES:
                raise DataError(_too_large(MAX_DOWNLOAD_BYTES))
            data.write(chunk)
    return data.getvalue()


def _too_large(limit: int) -> str:
    return f"more than {limit:,} bytes"
