"""Features folders on disk, or in a version of the repository."""

import sys
from pathlib import Path
from typing import NamedTuple, Protocol

from bottletop.core.paths import repository
from bottletop.core.terminal import say


class Folder(Protocol):
    """A features folder, which may be incomplete."""

    def file(self, name: str) -> Path:
        """Returns the local path of one of the folder's files.

        Raises:
            OSError: the file cannot be fetched.
        """
        ...


class Local(NamedTuple):
    """A folder on this disk."""

    path: Path

    def file(self, name: str) -> Path:
        """Returns the path of one of the folder's files, whether it exists or not."""
        return self.path / name


class Version:
    """A features folder in one version of the repository. Each file is fetched when it is first asked for."""

    def __init__(self, folder: Path, rev: str | None, scratch: Path) -> None:
        """Opens a version.

        Args:
            folder: the features folder, relative to the repository's root.
            rev: the commit, or None for the version that dvc.lock names.
            scratch: an existing folder for the fetched files.
        """
        from dvc.api import DVCFileSystem  # takes a second to import; not needed where nothing was extracted before

        self._versions = DVCFileSystem(str(repository()), rev=rev)
        self._folder, self._scratch = folder, scratch
        self._failure: OSError | None = None  # kept, not retried: an unreachable remote takes minutes to fail

    def file(self, name: str) -> Path:
        """Returns the local path of one of the folder's files, which is fetched if needed.

        Raises:
            OSError: this file, or one before it, could not be fetched.
        """
        local = self._scratch / name
        if self._failure is None and not local.exists():
            try:
                self._versions.get_file(str(self._folder / name), str(local), cache=True)  # a link into DVC's cache
            except FileNotFoundError as error:  # no cache or remote has it
                self._failure = error
            except Exception as error:  # each kind of remote raises its own errors
                self._failure = OSError(f"{type(error).__name__}: {error}")
                say(f"earlier features can't be fetched: {self._failure}", file=sys.stderr)
        if self._failure is not None:
            raise self._failure
        return local
