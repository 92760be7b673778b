"""Downloads into the user's cache: resumed, retried, verified and then moved into place."""

import hashlib
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from bottletop.core.addresses import masked
from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import file_digest
from bottletop.core.http_client import Answer, NoAnswerError, get
from bottletop.core.paths import user_cache
from bottletop.core.progress import bar
from bottletop.core.terminal import say
from bottletop.download.compression import PAGE_STARTS

ATTEMPTS = 5  # in a row, without progress
PROGRESS_BYTES = 1 << 16  # an attempt that brings less is one without progress
SILENCE_S = 2  # after so long without an answer, the user is told
# Longest time to connect where there is something else to try: long enough to ask thrice (TCP: after 0, 1 and 3 s).
CONNECT_S = 5
BUSY = (429, 500, 502, 503, 504)  # HTTP statuses after which another attempt may succeed
RESERVE_BYTES = 100_000_000  # stay free on the disk, for other programs


def fetch(url: str, checksum: str | None, instead: str = "") -> Path:
    """Returns the local copy of the file at an address; a second call downloads nothing.

    Args:
        url: an ``http:`` or ``https:`` address.
        checksum: ``sha256:…`` or ``md5:…``, of the bytes as they are sent; None accepts any file but a web page or an
            empty one, and prints its SHA-256.
        instead: what the caller tries next, as users read it; empty if there is nothing else. A host that does not
            answer is asked once then, and for `CONNECT_S` seconds.

    Raises:
        DataError: the address does not give the file.
    """
    name = f"{hashlib.sha256((checksum or url).encode()).hexdigest()[:16]}-{_file_name(url)}"
    try:
        return _fetch(url, checksum, user_cache() / "downloads" / name, instead)
    except DataError as error:
        raise DataError(f"{masked(url)}: {error.problem}", error.fix) from error


def verify(path: Path, checksum: str | None) -> None:
    """Checks that a local file exists and has this checksum.

    Args:
        path: the file.
        checksum: ``sha256:…`` or ``md5:…``; None checks only that the file exists.

    Raises:
        DataError: the file is missing or differs; the message then shows both checksums.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing", WHERE_ELSE)
    difference = _difference(path, checksum)
    if difference:
        raise DataError(f"{path}: {difference}", "replace the file or its checksum")


def _difference(path: Path, checksum: str | None) -> str:
    """Says how the file's checksum differs from the expected one; empty if it does not."""
    if checksum is None:
        return ""
    algorithm, _, expected = checksum.partition(":")
    found = file_digest(path, algorithm)
    return "" if found == expected else f"expected {algorithm} {expected}, got {found}"


def _fetch(url: str, checksum: str | None, path: Path, instead: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # a second process waits, then finds the file
        if not path.exists() or _difference(path, checksum):
            part = path.with_name(f"{path.name}.part")
            _download(url, part, instead)
            difference = _difference(part, checksum)
            if difference:
                _discard(part)
                raise DataError(
                    f"{difference}; what was downloaded is deleted",
                    "if the file has a new version that you want, edit its checksum in datasets.yaml",
                )
            part.replace(path)
            _discard(part)
    if checksum is None:
        say(f"{masked(url)}: no checksum is known; to pin these bytes, add to its source in datasets.yaml:")
        say(f"      sha256: {file_digest(path)}")
        say(f"  (to download it again, delete {path})")
    return path


def _download(url: str, part: Path, instead: str) -> None:
    """Downloads the rest of `part`, which an earlier process may have begun.

    Raises:
        DataError: `ATTEMPTS` attempts in a row failed without progress, or an attempt failed for good. Where there is
            something to try `instead`, the first attempt that brings nothing is the last.
    """
    furthest, failed = _size(part), 0
    while True:
        try:
            _continue(url, part, instead)
            return
        except NoAnswerError as error:
            if instead and not _size(part):
                raise
            if _size(part) >= furthest + PROGRESS_BYTES:
                furthest, failed = _size(part), 0
            failed += 1
            if failed == ATTEMPTS:
                raise DataError(
                    f"gave up after {ATTEMPTS} attempts, {_size(part)} bytes kept in {part}: {error}",
                    "try again later, which continues it, or delete that file",
                ) from error
            wait_s = 2 ** (failed - 1)
            say(f"{masked(url)}: {error}; continuing in {wait_s} s")
            time.sleep(wait_s)


def _continue(url: str, part: Path, instead: str) -> None:
    """Appends the missing bytes.

    It starts again from the first byte if the server's file has changed or the server cannot send parts of it.
    """
    version = _version(part)
    done = _size(part) if version else 0
    with _asked(url, {"Range": f"bytes={done}-", "If-Range": version} if done else {}, instead) as answer:
        if done and answer.status == 416 and answer.headers.get("Content-Range") == f"bytes */{done}":
            _refuse_others(answer, version, part)
        else:
            start, total = _extent(answer, done, version, part)
            _note_version(answer, part)
            _append(answer, part, start, total, _file_name(url))
            if total is not None and _size(part) != total:
                raise NoAnswerError(f"the server ended at {_size(part)} of {total} bytes")
        _refuse_pages(part, answer.headers.get("Content-Type", ""))


@contextmanager
def _asked(url: str, headers: Mapping[str, str], instead: str) -> Iterator[Answer]:
    """As `get`, but says after `SILENCE_S` seconds that the host has not answered yet."""
    then = f"if there is no connection after {CONNECT_S} s, {instead} is tried" if instead else "still waiting"
    note = threading.Timer(SILENCE_S, say, [f"{masked(url)}: no answer for {SILENCE_S} s; {then}"])
    note.daemon = True
    note.start()
    try:
        with get(url, headers, connect_s=CONNECT_S if instead else None) as answer:
            note.cancel()
            yield answer
    finally:
        note.cancel()


def _extent(answer: Answer, done: int, version: str, part: Path) -> tuple[int, int | None]:
    """Returns the position in the file at which the answer's body begins, and the file's size if it is known.

    Raises:
        NoAnswerError: the server is busy, or answers with other bytes than it was asked for; `part` is then deleted.
        DataError: the server refuses.
    """
    if answer.status == 200:
        return 0, answer.length
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found and int(found[1]) == done and done <= int(found[2]):
            _refuse_others(answer, version, part)
            return done, None if found[3] == "*" else int(found[3])
    elif answer.status in BUSY:
        raise NoAnswerError(answer.phrase)
    elif answer.status != 416:
        raise DataError(answer.phrase)
    _discard(part)
    raise NoAnswerError(f"{answer.phrase}, but with other bytes than asked for; starting anew")


def _refuse_others(answer: Answer, version: str, part: Path) -> None:
    """Deletes the part, and raises NoAnswerError, if the answer is about another version of the file."""
    found = {answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
    if version and found and version not in found:
        _discard(part)
        raise NoAnswerError("the server's file has changed; starting anew")


def _append(answer: Answer, part: Path, start: int, total: int | None, name: str) -> None:
    """Writes the answer's body to `part` from position `start`, which is 0 or its end.

    Raises:
        NoAnswerError: the connection broke; what has arrived is kept.
        DataError: the disk is full or cannot be written; what has arrived is kept.
    """
    _require_space(part, max((total or 0) - start, 0))
    options = {"initial": start, "unit_scale": True, "unit_divisor": 1024}
    try:
        with part.open("ab" if start else "wb") as file, bar(name, "B", total, **options) as shown:
            for chunk in answer.chunks():
                _require_space(part, len(chunk))
                if total is not None and file.tell() + len(chunk) > total:
                    raise NoAnswerError(f"the server sends more than the {total} bytes that it announced")
                file.write(chunk)
                shown.update(len(chunk))
    except OSError as error:
        raise DataError(
            f"{part} can't be written ({error.strerror}), {_size(part):,} bytes are there",
            "make room and try again, which continues it, or delete that file",
        ) from error


def _require_space(part: Path, wanted: int) -> None:
    free = shutil.disk_usage(part.parent).free - RESERVE_BYTES
    if wanted > free:
        raise DataError(
            f"needs {wanted:,} more bytes in {part.parent}, of which {max(free, 0):,} are free "
            f"({RESERVE_BYTES:,} are left to other programs); {_size(part):,} bytes are in {part}",
            "make room and try again, which continues it, or delete that file",
        )


def _refuse_pages(part: Path, kind: str) -> None:
    """Deletes a finished download, and raises DataError, if it is empty or is a web page, such as a login form."""
    with part.open("rb") as file:
        head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    of_the_web = re.search("html|xml", kind.lower()) is not None
    if head.startswith(PAGE_STARTS) or (of_the_web and head.startswith(b"<")):
        _discard(part)
        raise DataError(
            f"the server sent a web page instead of the file (Content-Type {kind[:50]!r}); it is not kept",
            "the server may want a login: download the file with a browser and name it in datasets.yaml, as file:PATH",
        )
    if _size(part) == 0:
        _discard(part)
        raise DataError("the server sent an empty file; it is not kept", "try again later")


def _version(part: Path) -> str:
    """Returns the ETag or date of the file that `part` is the beginning of; empty if it is not known."""
    note = part.with_suffix(".etag")
    text = note.read_text(encoding="utf-8", errors="replace") if note.exists() else ""
    return text if text.isascii() and text.isprintable() else ""


def _note_version(answer: Answer, part: Path) -> None:
    version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if version:
        part.with_suffix(".etag").write_text(version, encoding="utf-8")
    else:
        part.with_suffix(".etag").unlink(missing_ok=True)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_suffix(".etag").unlink(missing_ok=True)


def _file_name(url: str) -> str:
    """Returns the last part of the URL's path, short enough for a file's name."""
    name = Path(re.sub(r"[?#].*", "", url, flags=re.DOTALL).replace("\0", "")).name
    return name.encode("utf-8", "ignore")[-150:].decode("utf-8", "ignore")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
