"""Folders of features as they are on disk, or as a version of the repository has them."""

import sys
from pathlib import Path
from typing import NamedTuple, Protocol

from bottletop.core.paths import repository


class Folder(Protocol):
    """Features of some version, complete or not."""

    def file(self, name: str) -> Path:
        """The local path of one of its files; raises OSError where that can't be had."""
        ...


class Local(NamedTuple):
    """A folder on this disk."""

    path: Path

    def file(self, name: str) -> Path:
        return self.path / name


class Version:
    """A features folder as one version of the repository has it, its files fetched as they are asked for."""

    def __init__(self, folder: Path, rev: str | None, scratch: Path) -> None:
        """The version of a commit, or the one that dvc.lock names if `rev` is None."""
        from dvc.api import DVCFileSystem  # a second to import, and not needed where nothing was extracted before

        self._versions = DVCFileSystem(str(repository()), rev=rev)
        self._folder, self._scratch = folder, scratch
        self._failure: OSError | None = None  # not tried again: a remote that is down takes minutes to say so

    def file(self, name: str) -> Path:
        local = self._scratch / name
        if self._failure is None and not local.exists():
            try:
                self._versions.get_file(str(self._folder / name), str(local), cache=True)  # a link into DVC's cache
            except FileNotFoundError as error:  # nobody has it
                self._failure = error
            except Exception as error:  # each kind of remote has its own
                self._failure = OSError(f"{type(error).__name__}: {error}")
                print(f"earlier features can't be fetched: {self._failure}", file=sys.stderr)
        if self._failure is not None:
            raise self._failure
        return local
