"""What dvc.lock records about the last run of each stage."""

from collections.abc import Sequence
from pathlib import Path

from bottletop.core.settings import differences, read_yaml, section_of

LOCK = Path("dvc.lock")
SHOWN = 4
TO_MODEL = ("download", "weights", "split", "extract", "train")
TO_RESULTS = (*TO_MODEL, "evaluate")


def changes(dataset: str, stages: Sequence[str]) -> list[str]:
    """Lists what has changed since the dataset's stages last ran.

    Args:
        dataset: the dataset's name.
        stages: names of stages, without the dataset; those that dvc.lock does not contain are ignored.

    Returns:
        The dotted names of changed settings, such as ``split.seed``, and the paths of files that one stage has
        rewritten since another stage read them.
    """
    known = (read_yaml(LOCK) or {}).get("stages", {}) if LOCK.exists() else {}
    entries = [known[name] for stage in stages for name in (f"{stage}@{dataset}", stage) if name in known]
    made = {out["path"]: out.get("md5") for entry in entries for out in entry.get("outs", [])}
    found = []
    for entry in entries:
        for path, settings in entry.get("params", {}).items():
            now = read_yaml(Path(path))
            found += differences(settings, {key: section_of(now, key) for key in settings})
        used = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        found += [path for path in used.keys() & made.keys() if used[path] != made[path]]
    return list(dict.fromkeys(found))


def shown(names: Sequence[str]) -> str:
    """Joins the first `SHOWN` names with commas, and adds the number of further ones."""
    return ", ".join([*names[:SHOWN], *([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])])
