"""What dvc.lock records about the last run of each stage. Only this module knows the format, which is DVC's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bottletop.core.settings import differences, read_yaml, section_of

LOCK = Path("dvc.lock")
SHOWN = 4
TO_MODEL = ("download", "weights", "split", "extract", "train")
TO_RESULTS = (*TO_MODEL, "evaluate")


def entries(lock: Any) -> dict[str, dict[str, Any]]:
    """Returns the entries of a parsed dvc.lock by the stage's name, such as ``train@digits``; none for an empty one."""
    return (lock or {}).get("stages") or {}


def read_entries(path: Path = LOCK) -> dict[str, dict[str, Any]]:
    """Returns the entry of each stage; none if the file is missing."""
    return entries(read_yaml(path)) if path.exists() else {}


def hashes(entry: dict[str, Any], what: Literal["deps", "outs"]) -> dict[str, str]:
    """Returns the MD5 of each of a stage's dependencies or outputs, by path; that of a folder ends with ``.dir``."""
    return {item["path"]: item.get("md5", "") for item in entry.get(what, [])}


def changes(dataset: str, stages: Sequence[str]) -> list[str]:
    """Lists what has changed since the dataset's stages last ran.

    Args:
        dataset: the dataset's name.
        stages: names of stages, without the dataset; those that dvc.lock does not contain are ignored.

    Returns:
        The dotted names of changed settings, such as ``split.seed``, and the paths of files that one stage has
        rewritten since another stage read them.
    """
    known = read_entries()
    of_dataset = [known[name] for stage in stages for name in (f"{stage}@{dataset}", stage) if name in known]
    made = {path: md5 for entry in of_dataset for path, md5 in hashes(entry, "outs").items()}
    found = []
    for entry in of_dataset:
        for path, settings in entry.get("params", {}).items():
            now = read_yaml(Path(path))
            found += differences(settings, {key: section_of(now, key) for key in settings})
        used = hashes(entry, "deps")
        found += [path for path in used.keys() & made.keys() if used[path] != made[path]]
    return list(dict.fromkeys(found))


def shown(names: Sequence[str]) -> str:
    """Joins the first `SHOWN` names with commas, and adds the number of further ones."""
    return ", ".join([*names[:SHOWN], *([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])])
