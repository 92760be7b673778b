"""Groups of images that must be in one split: duplicates, and groups of the user's own, such as patients."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bottletop.download.duplicates import Thumbnails, group, near_duplicates
from bottletop.download.params import NearDuplicates
from bottletop.images.index import ImageRow

BY_PREFERENCE = ("test", "validation", "train", "")  # official splits; of near duplicates, `drop` keeps the first


class Grouped(NamedTuple):
    """The images with their groups."""

    rows: list[ImageRow]  # those kept, in the order given
    dropped: list[str]  # names of near duplicates that are not kept
    report: dict[str, Any]  # counts, ready for JSON


def grouped(rows: Sequence[ImageRow], own: Sequence[str], thumbnails: Thumbnails, near: NearDuplicates) -> Grouped:
    """Joins exact duplicates, near duplicates and the user's own groups.

    Args:
        rows: the images; their groups are empty.
        own: name of each image's group of the user's own, or empty.
        thumbnails: of the same images.
        near: what happens to near duplicates; "ignore" does not look for them.
    """
    pairs = [] if near == "ignore" else near_duplicates([row.phash for row in rows], thumbnails)
    dropped = _alike(rows, pairs) if near == "drop" else set()
    ids = [row.id for row in rows]
    pairs = [(left, right) for left, right in pairs if ids[left] != ids[right] and not {left, right} & dropped]
    duplicates = group(ids, pairs)
    joined = group(ids, [*pairs, *_links(own)]) if any(own) else duplicates
    positions = [position for position in range(len(rows)) if position not in dropped]
    kept = [rows[position]._replace(group=joined[position]) for position in positions]
    report = {
        "exact_duplicates": len(kept) - len({row.id for row in kept}),
        "near_duplicate_pairs": len(pairs),
        "duplicate_groups": sum(count > 1 for count in Counter(duplicates[each] for each in positions).values()),
        "own_groups": len({own[position] for position in positions} - {""}),
        "groups_of_several_classes": _straddling((row.group, row.label) for row in kept),
        "groups_across_official_split": _straddling((row.group, row.official) for row in kept),
    }
    return Grouped(kept, [rows[position].source for position in sorted(dropped)], report)


def _links(own: Sequence[str]) -> list[tuple[int, int]]:
    """Returns pairs of positions that connect the images of each group."""
    last: dict[str, int] = {}
    pairs = []
    for position, name in enumerate(own):
        if name in last:
            pairs.append((last[name], position))
        if name:
            last[name] = position
    return pairs


def _alike(rows: Sequence[ImageRow], pairs: Sequence[tuple[int, int]]) -> set[int]:
    """Returns the positions of images that are too much like one that is kept, of the same class."""
    neighbours: dict[int, set[int]] = defaultdict(set)
    for left, right in pairs:
        if rows[left].label == rows[right].label:
            neighbours[left].add(right)
            neighbours[right].add(left)
    kept: set[int] = set()
    for position in sorted(
        neighbours, key=lambda each: (BY_PREFERENCE.index(rows[each].official), rows[each].id, rows[each].source)
    ):
        if not neighbours[position] & kept:
            kept.add(position)
    return neighbours.keys() - kept


def _straddling(pairs: Iterable[tuple[str, str]]) -> int:
    """Returns how many of the groups are in several classes or splits."""
    return sum(count > 1 for count in Counter(name for name, _ in set(pairs)).values())
