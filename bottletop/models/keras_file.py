"""Keras' file format, without the times and addresses that differ between equal models."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

TRACES = ("date_saved", "shared_object_id")  # the time of saving, and memory addresses


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes the members of a .keras file, without the times and memory addresses that Keras puts there."""
    with zipfile.ZipFile(path, "w") as file:
        for name in sorted(members):
            data = members[name]
            if name.endswith(".json"):
                kept = json.loads(data, object_hook=lambda item: {k: v for k, v in item.items() if k not in TRACES})
                data = json.dumps(kept).encode()
            file.writestr(zipfile.ZipInfo(name), data)


def read(path: Path) -> dict[str, bytes]:
    """Returns the members of a .keras file by name."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}
