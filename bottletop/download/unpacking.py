"""Turns a dataset's source into shards, an index and a report on the data, decoding each image once."""

import hashlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.catalogue import Source
from bottletop.core.errors import DataError
from bottletop.core.files import replacing, write_sheet
from bottletop.core.parallel import map_ahead, processors
from bottletop.core.progress import bar
from bottletop.download.archives import MAX_MEMBER_BYTES
from bottletop.download.duplicates import THUMBNAIL_PX, Thumbnails, perceptual_hash, thumbnail
from bottletop.download.grouping import grouped
from bottletop.download.layout import Labelled, LeftOut
from bottletop.download.params import DownloadParams
from bottletop.download.parts import Parts
from bottletop.download.shards import ShardWriter
from bottletop.download.survey import Survey, check_classes, survey
from bottletop.images.decoding import decode, header, lacks_contrast
from bottletop.images.index import ImageRow, write_index

ALIKE = "near duplicate of another image"
NAMED = 100  # images without contrast that the report names
AHEAD_EACH = 4  # images held at once per processor


class _Found(NamedTuple):
    """An image to take, not yet decoded."""

    name: str
    labelled: Labelled
    data: bytes | None  # None if too large to read


class _Unpacked(NamedTuple):
    """What was read."""

    rows: list[ImageRow]  # of the images in the shards; the groups are still empty
    groups: list[str]  # of the user's own: the name of each row's group, or an empty string
    rejected: list[tuple[str, str, str]]  # source, label and reason of each unreadable image
    flat: list[str]  # sources of the images that lack contrast, such as blank scans; they are taken all the same


_Looked = tuple[ImageRow, NDArray[np.uint8]] | str


def unpack(source: Source, params: DownloadParams, folder: Path) -> dict[str, Any]:
    """Writes the shards, ``index.csv`` and ``rejected.csv`` to `folder`, all or nothing.

    Returns:
        The report on the data, ready for JSON.

    Raises:
        DataError: no file matches, too many images are unreadable, a class is incomplete, the source is missing,
            damaged or unsafe, or its tables, lists and splits are not as its entry says.
    """
    with replacing(folder) as staging, tempfile.TemporaryFile(dir=staging.parent) as file:
        staging.mkdir()
        parts, thumbnails = Parts(source), Thumbnails(file)
        surveyed = survey(source, parts)
        rows, groups, rejected, flat = _write_shards(parts, surveyed.wanted, staging, thumbnails)
        _check(rows, rejected, params.max_rejected)
        _check_splits(surveyed.wanted.values(), rows)
        surveyed.left_out.lose(((f"{name}: {why}", label) for name, label, why in rejected), "unreadable")
        check_classes(source, Counter(row.label for row in rows), surveyed.left_out)
        kept, dropped, duplicates = grouped(rows, groups, thumbnails, params.near_duplicates)
        for name in dropped:
            surveyed.left_out.add(name, LeftOut(ALIKE))
        kept.sort(key=lambda row: (row.shard, row.offset))
        write_index(staging / "index.csv", kept)
        write_sheet(staging / "rejected.csv", ("source", "label", "reason"), rejected)
        report = _report(kept, rejected, surveyed)
        return report | {"without_contrast": {"images": len(flat), "examples": flat[:NAMED]}} | duplicates


def _write_shards(parts: Parts, wanted: dict[str, Labelled], folder: Path, thumbnails: Thumbnails) -> _Unpacked:
    """Writes the shards and the thumbnails of the images that can be decoded."""
    unpacked = _Unpacked([], [], [], [])
    shards = ShardWriter(folder)
    with bar("unpack", " images", total=len(wanted)) as shown:
        for found, looked in map_ahead(_look, _read(parts, wanted), ahead=AHEAD_EACH * processors()):
            shown.update()
            if isinstance(looked, str) or found.data is None:
                unpacked.rejected.append((found.name, found.labelled.label, str(looked)))
                continue
            row, small = looked
            shard, offset = shards.add(found.labelled.label, found.name, found.data)
            unpacked.rows.append(row._replace(shard=shard, offset=offset))
            unpacked.groups.append(found.labelled.group)
            thumbnails.add(small)
            if lacks_contrast(small):
                unpacked.flat.append(row.source)
        shards.finish()
    return unpacked


def _read(parts: Parts, wanted: Mapping[str, Labelled]) -> Iterator[_Found]:
    """Yields each image to take, in the order of the parts."""
    missing = dict(wanted)
    for _, member in parts.members():
        if not member.problem and (labelled := missing.pop(member.name, None)) is not None:
            yield _Found(member.name, labelled, member.read() if member.size <= MAX_MEMBER_BYTES else None)
    if missing:
        raise DataError(f"{next(iter(missing))} has vanished while the dataset was read", "run dvc repro again")


def _look(found: _Found) -> _Looked:
    """Decodes an image.

    Returns:
        Its row, without shard, offset and group, and its thumbnail; or the reason why it is rejected.
    """
    if found.data is None:
        return "file too large"
    try:
        image = decode(found.data, THUMBNAIL_PX)  # damage shows at any size
    except DataError as error:
        return str(error)
    width, height, mode = header(found.data)
    small = thumbnail(image)
    row = ImageRow(
        id=hashlib.sha256(found.data).hexdigest(),
        label=sys.intern(found.labelled.label),
        shard="",
        offset=0,
        length=len(found.data),
        width=width,
        height=height,
        mode=mode,
        phash=perceptual_hash(small),
        group="",
        official=found.labelled.split,
        source=found.name,
    )
    return row, small


def _check(rows: Sequence[ImageRow], rejected: Sequence[tuple[str, str, str]], allowed: float) -> None:
    total = len(rows) + len(rejected)
    if not rows or len(rejected) > allowed * total:
        examples = "; ".join(f"{name} ({reason})" for name, _, reason in rejected[:3])
        raise DataError(
            f"{len(rejected)} of {total} images are unreadable, allowed is a fraction of {allowed}: {examples}",
            "mend the source or raise download.max_rejected in params.yaml",
        )


def _check_splits(wanted: Iterable[Labelled], rows: Iterable[ImageRow]) -> None:
    if lost := {each.split for each in wanted} - {row.official for row in rows} - {""}:
        raise DataError(
            f"all images of the official split {', '.join(sorted(lost))} are unreadable", "mend or exclude them"
        )


def _report(rows: Sequence[ImageRow], rejected: Sequence[tuple[str, str, str]], surveyed: Survey) -> dict[str, Any]:
    sides = np.array([(row.width, row.height) for row in rows])
    return {
        "files": surveyed.files,
        "images": len(rows),
        "bytes": sum(row.length for row in rows),
        "images_per_class": dict(sorted(Counter(row.label for row in rows).items())),
        "official_split": dict(sorted(Counter(row.official for row in rows if row.official).items())),
        "width_px": _range(sides[:, 0]),
        "height_px": _range(sides[:, 1]),
        "modes": dict(sorted(Counter(row.mode for row in rows).items())),
        "rejected": dict(sorted(Counter(reason for _, _, reason in rejected).items())),
        "left_out": surveyed.left_out.report(),
        "examples": _examples(rows),
        "split_names": dict(sorted(surveyed.splits.items())),
        "unused_splits": surveyed.unused_splits,
        "unused_lines": {
            name: {"lines": len(lines), "examples": lines[:3]} for name, lines in surveyed.unused.items() if lines
        },
    }


def _examples(rows: Sequence[ImageRow]) -> dict[str, str]:
    """Returns the class of one image from each of the first three classes, by the image's name."""
    first: dict[str, str] = {}
    for row in rows:
        if row.label not in first and len(first) < 3:
            first[row.label] = row.source
    return {name: label for label, name in first.items()}


def _range(values: NDArray[np.int64]) -> dict[str, float]:
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}
