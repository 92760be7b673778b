"""Reads DVC's settings, the objects of its cache, and which files of the workspace they belong to."""

import json
import os
import re
from pathlib import Path
from typing import Any

from bottletop.core import lock

RECORDS = lock.LOCK, Path("stages/dvc.lock")  # what stages have made; paths in both are relative to the root


def settings() -> dict[str, Any]:
    """DVC's merged configuration. It is read without opening the repository, which would unpickle the site cache."""
    from dvc.config import Config

    return dict(Config.from_cwd())


def cache_folder() -> Path:
    """The folder of DVC's cache: relative if it is inside the repository, else absolute."""
    path = Path(settings()["cache"].get("dir") or ".dvc/cache").absolute()
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def link_type() -> str:
    """The link type that DVC chooses: the first configured one that works from the cache to the workspace's data."""
    from dvc.fs import LocalFileSystem, generic

    wanted = settings()["cache"].get("type") or ["reflink", "copy"]
    local, source = LocalFileSystem(), str(cache_folder().absolute())
    target = str((data_folder() / "linked").absolute())  # DVC tests links in the parent of this path
    working = generic.test_links([kind for kind in wanted if kind != "copy"], local, source, local, target)
    return str(working[0]) if working else "copy"


def data_folder() -> Path:
    """The folder that holds the outputs; while it does not exist, the root, where it will be made."""
    return Path("data") if Path("data").is_dir() else Path()


def cache_objects() -> dict[str, Path]:
    """The path of each cache object by its name: an MD5, followed by ``.dir`` for the listing of a folder."""
    named = {path.parent.name + path.name: path for path in (cache_folder() / "files/md5").glob("??/*")}
    return {name: path for name, path in named.items() if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", name)}


def outputs(objects: dict[str, Path]) -> dict[Path, str]:
    """The MD5 that dvc.lock expects of each output file in the workspace.

    Args:
        objects: see `cache_objects`; the listings among them name the files of output folders.
    """
    stages = [stage for path in RECORDS for stage in lock.read_entries(path).values()]
    expected: dict[Path, str] = {}
    for path, md5 in ((Path(out), md5) for stage in stages for out, md5 in lock.hashes(stage, "outs").items()):
        if not md5.endswith(".dir"):
            expected[path] = md5
        elif md5 in objects:
            expected |= {path / file["relpath"]: file["md5"] for file in _listing(objects[md5])}
    return {path: md5 for path, md5 in expected.items() if path.is_file()}


def _listing(path: Path) -> list[dict[str, str]]:
    try:
        return list(json.loads(path.read_bytes()))
    except (OSError, ValueError):  # a damaged listing: hashing this object reports it
        return []
