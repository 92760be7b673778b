"""Opens the parts of a dataset: its archives, folders and tables, read one after the other as if they were one."""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from bottletop.core.addresses import masked
from bottletop.core.catalogue import Part, Source, local_path
from bottletop.core.errors import DataError
from bottletop.core.terminal import say
from bottletop.download.archives import Member, members
from bottletop.download.containers import images, is_container, opened
from bottletop.download.fetch import fetch, verify
from bottletop.download.tables import TABLE_SUFFIXES


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
        path = self._path(part)
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
            self._paths[part] = _archive(part) if part.folder is None else local_path(part.folder)
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
            verify(local_path(url), checksum)
            return local_path(url)
        except DataError as error:
            failures.append(str(error))
            if following:
                say(f"{error}\nTrying {masked(following)}")
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
