"""Downloads into the user's cache: resumed, retried, verified and then moved into place (by pooch)."""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pooch
import requests
from filelock import FileLock

from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import file_digest
from bottletop.core.paths import user_cache
from bottletop.core.progress import bar

ATTEMPTS = 5
TIMEOUT_S = (10, 60)  # to connect; between bytes received
pooch.get_logger().setLevel("WARNING")  # the progress bar already shows the download
CHUNK_BYTES = 1 << 16  # the most that a broken connection loses


def fetch(urls: Sequence[str], checksum: str | None) -> Path:
    """Returns the local copy of the first URL that provides the right file; a second call downloads nothing.

    Args:
        urls: ``http(s):`` URLs of the same file, tried in order.
        checksum: ``sha256:…`` or ``md5:…``; None accepts any file and prints its SHA-256.

    Raises:
        DataError: no URL provided the file; the message gives the reason for each.
    """
    failures = []
    name = f"{hashlib.sha256((checksum or urls[0]).encode()).hexdigest()[:16]}-{Path(urlsplit(urls[0]).path).name}"
    for url in urls:
        try:
            return _fetch_one(url, checksum, user_cache() / "downloads" / name)
        except (DataError, requests.RequestException, ValueError) as error:
            failures.append(f"{url}: {error}")
    raise DataError("no address gave the file:\n  " + "\n  ".join(failures))


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
    if checksum is not None:
        algorithm, _, expected = checksum.partition(":")
        found = file_digest(path, algorithm)
        if found != expected:
            raise DataError(f"{path}: expected {algorithm} {expected}, got {found}", "replace the file or its checksum")


def _fetch_one(url: str, checksum: str | None, path: Path) -> Path:
    def download(url: str, output: str, _pooch: Any) -> None:
        check_host(url)
        _download(url, path.with_name(f"{path.name}.part"))
        path.with_name(f"{path.name}.part").replace(output)

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # a second process waits, then finds the file
        if not path.exists():
            check_host(url)
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=download)
    if checksum is None:
        print(f"{url}: no checksum is known; to pin these bytes, add to its source in datasets.yaml:")
        print(f"      sha256: {file_digest(path)}")
    return path


def check_host(url: str) -> None:
    """Checks that ``BOTTLETOP_HOSTS``, a comma-separated list, contains the URL's host; unset, it allows every host.

    Raises:
        DataError: the host is not in the list.
    """
    allowed = os.environ.get("BOTTLETOP_HOSTS")
    host = urlsplit(url).hostname or ""
    if allowed is not None and host not in allowed.split(","):
        raise DataError(f"{host} is not in BOTTLETOP_HOSTS ({allowed}), the only hosts to contact")


def check_redirect(answer: requests.Response, **_: Any) -> None:
    """Applies `check_host` to the target of a redirect; a response hook of requests."""
    if answer.is_redirect:
        check_host(urljoin(answer.url, answer.headers["Location"]))


def _download(url: str, part: Path) -> None:
    """Downloads the rest of `part`, which an earlier process may have begun.

    Raises:
        DataError: `ATTEMPTS` attempts in a row failed; the count starts again whenever `part` has grown.
    """
    attempt = 0
    while True:
        before = _size(part)
        try:
            _continue(url, part)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            attempt = 1 if _size(part) > before else attempt + 1
            if attempt == ATTEMPTS:
                raise DataError(f"gave up after {ATTEMPTS} attempts, {_size(part)} bytes kept: {error}") from error
            wait_s = 2 ** (attempt - 1)
            print(f"{url}: {type(error).__name__}; continuing in {wait_s} s")
            time.sleep(wait_s)


def _continue(url: str, part: Path) -> None:
    """Appends the missing bytes.

    It starts again from the first byte if the server's file has changed or the server cannot send parts of it.
    """
    tag = part.with_suffix(".etag")
    done = _size(part) if tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text()}
    with requests.get(
        url,
        headers=headers,
        auth=_credentials(url),
        hooks={"response": check_redirect},
        stream=True,
        timeout=TIMEOUT_S,
    ) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range") == f"bytes */{done}":
                return  # `part` is complete: an earlier process ended before it moved the file
            part.unlink()
            raise requests.ConnectionError("the kept part is longer than the file; starting anew")
        if answer.status_code in (500, 502, 503, 504, 429):
            raise requests.ConnectionError(f"HTTP {answer.status_code} {answer.reason}")
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            done = 0
        remaining = int(answer.headers.get("Content-Length", 0))
        free = shutil.disk_usage(part.parent).free
        if remaining > free:
            raise DataError(f"needs {remaining:,} bytes in {part.parent}, {free:,} are free", "make room")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version:
            tag.write_text(version)
        else:
            tag.unlink(missing_ok=True)
        options = {"initial": done, "unit_scale": True, "unit_divisor": 1024}
        with (
            part.open("ab" if done else "wb") as file,
            bar(Path(url).name, "B", done + remaining or None, **options) as shown,
        ):
            for chunk in answer.iter_content(CHUNK_BYTES):
                file.write(chunk)
                shown.update(len(chunk))
        if remaining and _size(part) < done + remaining:
            raise requests.ConnectionError(f"the connection ended at {_size(part)} of {done + remaining} bytes")


def _credentials(url: str) -> tuple[str, str] | None:
    """Returns Kaggle's user name and key from the environment, for Kaggle's hosts only.

    requests drops them when Kaggle redirects to its storage.
    """
    parts = urlsplit(url)
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key and parts.scheme == "https" and parts.hostname in ("www.kaggle.com", "kaggle.com"):
        return user, key
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
