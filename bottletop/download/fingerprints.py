"""Fingerprints, which show whether a local folder or archive has changed."""

import os
from pathlib import Path

import msgspec

from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.files import files_below, sha256_text


def fingerprint(path: Path) -> str:
    """Returns the fingerprint of a folder or archive, made of names, sizes and modification times.

    It changes when a file of the folder, or the archive itself, is added, removed, resized or written to.

    Raises:
        DataError: the folder or archive is missing.
    """
    if not path.exists():
        raise DataError(f"{path} is missing", WHERE_ELSE)
    files = files_below(path) if path.is_dir() else [path]
    states = ((os.fsencode(file.relative_to(path)), file.stat()) for file in files)
    return sha256_text(f"{name!r}\t{state.st_size}\t{state.st_mtime_ns}" for name, state in states)


def fingerprints(places: dict[str, Path], record: Path) -> dict[str, str]:
    """Returns the fingerprint of each place, by the place's name.

    Args:
        places: folders and archives, by name.
        record: JSON file of earlier fingerprints. It supplies those of places that are not on this machine; a place
            in neither is left out.

    Raises:
        DataError: the record is needed but damaged.
    """
    here = {name: fingerprint(path) for name, path in places.items() if path.exists()}
    elsewhere: dict[str, str] = {}
    if len(here) < len(places) and record.exists():
        try:
            elsewhere = msgspec.json.decode(record.read_bytes(), type=dict[str, str])
        except msgspec.DecodeError as error:
            raise DataError(f"{record} is damaged ({error})", f"git checkout HEAD -- {record}") from error
    return {name: (elsewhere | here)[name] for name in places if name in elsewhere | here}
