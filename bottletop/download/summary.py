"""The report on a dataset, in a few lines for the terminal."""

from collections.abc import Mapping
from typing import Any

SHOWN = 12  # classes that are counted one by one


def summary(name: str, report: Mapping[str, Any]) -> str:
    """Returns what was taken, how names were understood, and what was left out and why.

    Args:
        name: the dataset's.
        report: as returned by `unpacking.unpack`.
    """
    lines = [f"{name}: {report['images']:,} images of {_classes(report['images_per_class'])}"]
    lines += [f"  {image} -> {label}" for image, label in report["examples"].items()]
    if report["official_split"]:
        lines.append(f"  official splits: {_counts(report['official_split'])}{_names(report['split_names'])}")
    if report["unused_splits"]:
        lines.append(
            f"  not used: {', '.join(report['unused_splits'])} look like official splits; to use them, write {{split}} "
            "in images"
        )
    if report["own_groups"]:
        lines.append(f"  groups of your own: {report['own_groups']:,}")
    if report["duplicate_groups"]:
        lines.append(f"  groups of duplicates: {report['duplicate_groups']:,}")
    if report["groups_across_official_split"]:
        lines.append(
            f"  groups in several official splits: {report['groups_across_official_split']:,}; "
            "split keeps the test's images, then validation's"
        )
    for reason, count in report["rejected"].items():
        lines.append(f"  unreadable: {count:,} ({reason}), named in rejected.csv")
    if (flat := report["without_contrast"])["images"]:
        lines.append(f"  nearly of one colour: {flat['images']:,}, such as {flat['examples'][0]}")
    for reason, left in report["left_out"].items():
        such = f", such as {left['examples'][0]}" if left["examples"] else ""
        lines.append(f"  left out: {left['files']:,} ({reason}){such}")
    for file, unused in report["unused_lines"].items():
        lines.append(f"  no image: {unused['lines']:,} lines of {file}, such as {unused['examples'][0]}")
    return "\n".join(lines)


def _classes(counts: Mapping[str, int]) -> str:
    if len(counts) <= SHOWN:
        return f"{len(counts)} classes: {_counts(counts)}"
    return f"{len(counts)} classes, {min(counts.values()):,} to {max(counts.values()):,} of each"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {count:,}" for label, count in counts.items())


def _names(splits: Mapping[str, str]) -> str:
    """Returns which names were understood as which splits, where they differ."""
    understood = [f"{name} is {split}" for name, split in splits.items() if name != split]
    return f" ({', '.join(understood)})" if understood else ""
