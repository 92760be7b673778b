"""What tells that a folder or archive of one's own has changed."""

import os
from pathlib import Path

import msgspec

from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import files_below, sha256_text


def fingerprint(path: Path) -> str:
    """Changes when a file of the folder, or the archive itself, is added, removed, resized or written to."""
    if not path.exists():
        raise DataError(f"{path} is missing", WHERE_ELSE)
    files = files_below(path) if path.is_dir() else [path]
    states = ((os.fsencode(file.relative_to(path)), file.stat()) for file in files)
    return sha256_text(f"{name!r}\t{state.st_size}\t{state.st_mtime_ns}" for name, state in states)


def fingerprints(places: dict[str, Path], record: Path) -> dict[str, str]:
    """Each place's fingerprint, by its name; of one that is not on this machine, the one that is in `record`, if any.

    Raises:
        DataError: the record is needed and can't be read.
    """
    here = {name: fingerprint(path) for name, path in places.items() if path.exists()}
    elsewhere: dict[str, str] = {}
    if len(here) < len(places) and record.exists():
        try:
            elsewhere = msgspec.json.decode(record.read_bytes(), type=dict[str, str])
        except msgspec.DecodeError as error:
            raise DataError(f"{record} is damaged ({error})", f"git checkout HEAD -- {record}") from error
    return {name: (elsewhere | here)[name] for name in places if name in elsewhere | here}
