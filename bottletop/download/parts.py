"""Opens the parts of a dataset: its archives, folders and tables, read one after the other as if they were one."""

import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from bottletop.core.catalogue import Part, Source, local_path
from bottletop.core.errors import DataError
from bottletop.download.archives import Member, members
from bottletop.download.fetch import fetch, verify
from bottletop.download.tables import TABLE_SUFFIXES

EMPTY = "an empty folder"


class Parts:
    """The files of a dataset; archives are downloaded when they are first needed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._archives: dict[Part, Path] = {}

    def members(self) -> Iterator[tuple[int, Member]]:
        """Yields the number of each member's part, from 0, and the member; each call begins again.

        Raises:
            DataError: a part is missing, damaged or unsafe, see `archives.members`.
        """
        if self._source.builtin is not None:
            yield from ((0, member) for member in _digits())
        for number, part in enumerate(self._source.places):
            for member in self._part(part):
                yield number, member._replace(name=f"{part.under.strip('/')}/{member.name}".lstrip("/"))

    def _part(self, part: Part) -> Iterator[Member]:
        if part.folder is not None:
            folder = local_path(part.folder)
            yield from members(folder)
            yield from unlisted(folder)
            return
        if part not in self._archives:
            self._archives[part] = _archive(part)
        path = self._archives[part]
        name = PurePosixPath(urlsplit(part.urls[0]).path).name
        if PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES:
            yield Member(name, path.stat().st_size, path.read_bytes)
        else:
            yield from members(path)


def unlisted(root: Path) -> Iterator[Member]:
    """Yields what is in a folder but can't be read or is not looked at, with the reason.

    That is hidden files and folders, links that lead nowhere or to a folder that is already in the dataset, and empty
    folders.
    """
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        name = Path(folder).relative_to(root).as_posix()
        if real in seen:
            yield _unreadable(name, "a folder that is read already, through a link")
            subfolders.clear()
            continue
        seen.add(real)
        if not subfolders and not names:
            yield _unreadable(name, EMPTY)
        subfolders[:] = sorted(subfolders)
        for file in sorted(names):
            path = Path(folder, file)
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if hidden or not path.is_file():
                problem = "hidden" if hidden else "a broken link"
                yield _unreadable(path.relative_to(root).as_posix(), problem)


def _unreadable(name: str, problem: str) -> Member:
    return Member(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), 0, bytes, problem)


def _archive(part: Part) -> Path:
    """Returns the archive from the first of the part's URLs that has the right bytes."""
    checksum = f"sha256:{part.sha256}" if part.sha256 else f"md5:{part.md5}" if part.md5 else None
    failures = []
    for url in part.urls:
        try:
            if not url.startswith("file:"):
                return fetch([url], checksum)
            verify(local_path(url), checksum)
            return local_path(url)
        except DataError as error:
            failures.append(str(error))
    raise DataError("\n".join(failures))


def _digits() -> Iterator[Member]:
    """Yields scikit-learn's 1,797 handwritten digits as 8 x 8 grey PNGs."""
    from sklearn.datasets import load_digits  # takes seconds to import; only this dataset needs it

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = io.BytesIO()
        Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(file, "PNG")
        data = file.getvalue()
        yield Member(f"{label}/{number:04}.png", len(data), partial(bytes, data))
