"""Where DVC keeps what: its settings, the objects of its cache, and the workspace's files that they belong to."""

import json
import os
import re
from pathlib import Path
from typing import Any

from bottletop.core.settings import read_yaml

LOCKS = Path("dvc.lock"), Path("stages/dvc.lock")  # with paths from the root, both


def settings() -> dict[str, Any]:
    """DVC's merged configuration, read without opening the repository: that would unpickle its site cache."""
    from dvc.config import Config

    return dict(Config.from_cwd())


def cache_folder() -> Path:
    """Relative to the repository's root where it is inside."""
    path = Path(settings()["cache"].get("dir") or ".dvc/cache").absolute()
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def link_type() -> str:
    """The first of the configured link types that works from the cache to the workspace's data, as DVC chooses."""
    from dvc.fs import LocalFileSystem, generic

    wanted = settings()["cache"].get("type") or ["reflink", "copy"]
    local, source = LocalFileSystem(), str(cache_folder().absolute())
    target = str((data_folder() / "linked").absolute())  # DVC links beside the path that it is given
    working = generic.test_links([kind for kind in wanted if kind != "copy"], local, source, local, target)
    return str(working[0]) if working else "copy"


def data_folder() -> Path:
    """Where outputs are, or will be."""
    return Path("data") if Path("data").is_dir() else Path()


def cache_objects() -> dict[str, Path]:
    """The path of each object, by its name: an MD5, with ``.dir`` for a folder's listing."""
    named = {path.parent.name + path.name: path for path in (cache_folder() / "files/md5").glob("??/*")}
    return {name: path for name, path in named.items() if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", name)}


def outputs(objects: dict[str, Path]) -> dict[Path, str]:
    """The MD5 of each file in the workspace that a lock names; folders are spelt out by their listings."""
    stages = [stage for lock in LOCKS if lock.exists() for stage in (read_yaml(lock) or {}).get("stages", {}).values()]
    expected: dict[Path, str] = {}
    for out in (out for stage in stages for out in stage.get("outs", [])):
        md5, path = out.get("md5", ""), Path(out["path"])
        if not md5.endswith(".dir"):
            expected[path] = md5
        elif md5 in objects:
            expected |= {path / file["relpath"]: file["md5"] for file in _listing(objects[md5])}
    return {path: md5 for path, md5 in expected.items() if path.is_file()}


def _listing(path: Path) -> list[dict[str, str]]:
    try:
        return list(json.loads(path.read_bytes()))
    except (OSError, ValueError):  # damaged, which its own hash tells
        return []
