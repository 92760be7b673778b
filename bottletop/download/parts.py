"""Opens the parts of a dataset: its archives, folders and tables, read one after the other as if they were one."""

import difflib
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from bottletop.core.addresses import masked
from bottletop.core.catalogue import Part, Source, local_path
from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import hidden
from bottletop.core.paths import user_cache
from bottletop.core.terminal import say
from bottletop.download.archives import Member, UnreadableError, members
from bottletop.download.containers import images, is_container, opened
from bottletop.download.fetch import fetch, verify
from bottletop.download.tables import TABLE_SUFFIXES

SHOWN = 5  # names that a folder has, where the one that is meant is missing


class Parts:
    """The files of a dataset; archives are downloaded when they are first needed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._paths: dict[Part, Path] = {}
        self._plain: set[Part] = set()  # hold images, no files of many images: finding that out lists all names

    def members(self) -> Iterator[tuple[int, Member]]:
        """Yields the number of each member's part, from 0, and the member; each call begins again.

        Raises:
            DataError: a part is missing, damaged or unsafe, see `archives.members` and `containers.opened`.
        """
        if self._source.builtin is not None:
            yield from ((0, member) for member in _digits())
        loose = [part for part in self._source.places if is_container(_name(part))]
        for number, part in enumerate(self._source.places):
            if part not in loose:
                found = self._part(part)
            elif part is loose[0]:  # files that hold many images are read together, as IDX has its labels apart
                found = images({_name(each): self._path(each) for each in loose}) or iter(())
            else:
                continue
            for member in found:
                yield number, member._replace(name=f"{part.under.strip('/')}/{member.name}".lstrip("/"))

    def _part(self, part: Part) -> Iterator[Member]:
        """Yields the members of a part. A download that is no whole archive is deleted, unless it is known to be right.

        Without a checksum, it would be taken for the archive in all later runs.
        """
        path = self._path(part)
        try:
            yield from self._opened(part, path)
        except UnreadableError as error:
            if part.sha256 or part.md5 or not path.is_relative_to(user_cache() / "downloads"):
                raise
            path.unlink(missing_ok=True)
            raise DataError(
                f"{error.problem}; it is not kept",
                "see in a browser what its address gives; the next run downloads it again",
            ) from error

    def _opened(self, part: Part, path: Path) -> Iterator[Member]:
        if PurePosixPath(_name(part)).suffix.lower() in TABLE_SUFFIXES:
            return iter([Member(_name(part), path.stat().st_size, path.read_bytes)])
        if part not in self._plain:
            found = opened(path)
            if found is not None:
                return found
            self._plain.add(part)
        return members(path)

    def _path(self, part: Part) -> Path:
        if part not in self._paths:
            self._paths[part] = _archive(part) if part.folder is None else _present("folder", part.folder)
        return self._paths[part]


def _name(part: Part) -> str:
    """Returns the name of the file that the part's first URL names; empty for a folder."""
    return PurePosixPath(urlsplit(part.urls[0]).path).name if part.urls else ""


def _archive(part: Part) -> Path:
    """Returns the archive from the first of the part's URLs that has the right bytes."""
    checksum = f"sha256:{part.sha256}" if part.sha256 else f"md5:{part.md5}" if part.md5 else None
    failures = []
    for url, following in zip(part.urls, [*part.urls[1:], ""], strict=True):
        try:
            if not url.startswith("file:"):
                return fetch(url, checksum, masked(following))
            path = _present("urls", url)
            if path.is_dir():
                raise DataError(
                    f"source.urls names a folder, {url}", f"write folder: {url.removeprefix('file:')} instead of urls"
                )
            verify(path, checksum)
            return path
        except DataError as error:
            failures.append(str(error))
            if following:
                say(f"{error}\nTrying {masked(following)}")
    raise DataError("\n".join(failures))


def _present(key: str, place: str) -> Path:
    """Returns the path of a folder or ``file:`` URL that the entry has under `key`.

    Raises:
        DataError: nothing is there; the message shows what is there instead.
    """
    path = local_path(place)
    if path.exists():
        return path
    above = next(each for each in path.parents if each.is_dir())
    names = sorted(each.name for each in above.iterdir() if not hidden(each.name)) if os.access(above, os.R_OK) else []
    near = difflib.get_close_matches(path.name, names, n=1) if above == path.parent else []
    listed = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
    found = f"did you mean {near[0]}?" if near else f"{above} has {listed or 'nothing'}"
    raise DataError(f"source.{key} names {path}, which is missing; {found}", WHERE_ELSE)


def _digits() -> Iterator[Member]:
    """Yields scikit-learn's 1,797 handwritten digits as 8 x 8 grey PNGs."""
    from sklearn.datasets import load_digits  # takes seconds to import; only this dataset needs it

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = io.BytesIO()
        Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(file, "PNG")
        data = file.getvalue()
        yield Member(f"{label}/{number:04}.png", len(data), partial(bytes, data))
