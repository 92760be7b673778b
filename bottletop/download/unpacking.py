"""Turns a dataset's source into shards, an index and a report on the data, decoding each image once."""

import hashlib
import io
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image

from bottletop.core.catalogue import Source, local_path
from bottletop.core.errors import DataError
from bottletop.core.files import replacing, write_csv
from bottletop.core.parallel import map_ahead, processors
from bottletop.core.progress import bar
from bottletop.core.settings import Params
from bottletop.download.archives import MAX_MEMBER_BYTES, Member, members
from bottletop.download.duplicates import THUMBNAIL_PX, Thumbnails, group, near_duplicates, perceptual_hash, thumbnail
from bottletop.download.fetch import fetch, verify
from bottletop.download.shards import ShardWriter
from bottletop.images.decoding import decode, header
from bottletop.images.index import ImageRow, write_index

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
AHEAD_EACH = 4  # images held at once per processor


class DownloadParams(Params, frozen=True, kw_only=True):
    """Section ``download`` of params.yaml."""

    max_rejected: Annotated[float, Meta(ge=0, le=1)]  # fraction of the images that may be unreadable


class _Found(NamedTuple):
    """An image to take, not yet decoded."""

    name: str
    label: str
    official: str  # "train", "test" or empty
    data: bytes | None  # None if too large to read


_Looked = tuple[ImageRow, NDArray[np.uint8]] | str


def unpack(source: Source, params: DownloadParams, folder: Path) -> dict[str, Any]:
    """Writes the shards, ``index.csv`` and ``rejected.csv`` to `folder`, all or nothing.

    Returns:
        The report on the data, ready for JSON.

    Raises:
        DataError: no file matches, too many images are unreadable, a listed class has no images, or the source is
            missing, damaged or unsafe.
    """
    with replacing(folder) as staging, tempfile.TemporaryFile(dir=staging.parent) as file:
        staging.mkdir()
        thumbnails = Thumbnails(file)
        rows, rejected = _write_shards(source, staging, thumbnails)
        _check(source, rows, rejected, params.max_rejected)
        pairs = near_duplicates([row.phash for row in rows], thumbnails)
        pairs = [(left, right) for left, right in pairs if rows[left].id != rows[right].id]
        for position, name in enumerate(group([row.id for row in rows], pairs)):
            rows[position] = rows[position]._replace(group=name)
        rows.sort(key=lambda row: (row.shard, row.offset))
        write_index(staging / "index.csv", rows)
        write_csv(staging / "rejected.csv", ("source", "label", "reason"), rejected)
        return _report(rows, rejected, len(pairs))


def _write_shards(
    source: Source, folder: Path, thumbnails: Thumbnails
) -> tuple[list[ImageRow], list[tuple[str, str, str]]]:
    """Writes the shards.

    Returns:
        The rows of the images, with groups still empty, and the rejected images as (source, label, reason).
    """
    rows: list[ImageRow] = []
    rejected: list[tuple[str, str, str]] = []
    shards = ShardWriter(folder)
    test_names: set[str] = set()
    with bar("unpack", " images") as shown:
        for found, looked in map_ahead(_look, _wanted(source, test_names), ahead=AHEAD_EACH * processors()):
            shown.update()
            if isinstance(looked, str) or found.data is None:
                rejected.append((found.name, found.label, str(looked)))
                continue
            row, small = looked
            shard, offset = shards.add(found.label, found.name, found.data)
            rows.append(row._replace(shard=shard, offset=offset))
            thumbnails.add(small)
        shards.finish()
    if source.test_list is not None:
        if not test_names:
            raise DataError(f"the archive has no {source.test_list}, the list of official test images")
        for position, row in enumerate(rows):
            rows[position] = row._replace(official="test" if _short(row.source) in test_names else "train")
    return rows, rejected


def _wanted(source: Source, test_names: set[str]) -> Iterator[_Found]:
    """Yields each image to take, and adds the names of official test images to `test_names`."""
    opened = _opener(source)
    unmatched: list[str] = []
    chosen = None if source.max_per_class is None else _choose(source, opened())
    for member in opened():
        if member.name == source.test_list:
            test_names.update(_text(member).splitlines())
        labelled = source.label(member.name)
        if not source.matches(member.name) and PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES:
            unmatched.append(member.name)
        if labelled is not None and (chosen is None or member.name in chosen):
            data = member.read() if member.size <= MAX_MEMBER_BYTES else None
            yield _Found(member.name, *labelled, data)
    if unmatched:
        print(f"{len(unmatched)} image files are not of the form {source.images!r}, so not taken: {unmatched[0]} …")


def _text(member: Member) -> str:
    try:
        return member.read().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{member.name}, the list of official test images, is not UTF-8 text") from error


def _opener(source: Source) -> Callable[[], Iterator[Member]]:
    """Returns a function that iterates over the source's members from the start."""
    if source.builtin is not None:
        return _digits
    if source.folder is not None:
        return partial(members, local_path(source.folder))
    return partial(members, _archive(source))


def _archive(source: Source) -> Path:
    """Returns the archive from the first of the source's URLs that has the right bytes."""
    checksum = f"sha256:{source.sha256}" if source.sha256 else f"md5:{source.md5}" if source.md5 else None
    failures = []
    for url in source.urls:
        try:
            if not url.startswith("file:"):
                return fetch([url], checksum)
            verify(local_path(url), checksum)
            return local_path(url)
        except DataError as error:
            failures.append(str(error))
    raise DataError("\n".join(failures))


def _digits() -> Iterator[Member]:
    """Yields scikit-learn's 1,797 handwritten digits as 8 x 8 grey PNGs."""
    from sklearn.datasets import load_digits  # takes seconds to import; only this dataset needs it

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = io.BytesIO()
        Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(file, "PNG")
        data = file.getvalue()
        yield Member(f"{label}/{number:04}.png", len(data), partial(bytes, data))


def _choose(source: Source, listing: Iterable[Member]) -> set[str]:
    """Returns at most `max_per_class` names of each class: those with the smallest SHA-256 of seed and name."""
    by_label = defaultdict(list)
    for member in listing:
        labelled = source.label(member.name)
        if labelled is not None:
            order = hashlib.sha256(f"{source.seed}:{member.name}".encode()).digest()
            by_label[labelled[0]].append((order, member.name))
    return {name for names in by_label.values() for _, name in sorted(names)[: source.max_per_class]}


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
        label=sys.intern(found.label),
        shard="",
        offset=0,
        length=len(found.data),
        width=width,
        height=height,
        mode=mode,
        phash=perceptual_hash(small),
        group="",
        official=found.official,
        source=found.name,
    )
    return row, small


def _short(name: str) -> str:
    """Returns ``apple_pie/1005649`` for ``food-101/images/apple_pie/1005649.jpg``, as in official lists."""
    path = PurePosixPath(name)
    return f"{path.parent.name}/{path.stem}"


def _check(source: Source, rows: list[ImageRow], rejected: list[tuple[str, str, str]], allowed: float) -> None:
    total = len(rows) + len(rejected)
    if total == 0:
        raise DataError(f"no file matches images: {source.images!r}", "edit datasets.yaml")
    if not rows or len(rejected) > allowed * total:
        examples = "; ".join(f"{name} ({reason})" for name, _, reason in rejected[:3])
        raise DataError(
            f"{len(rejected)} of {total} images are unreadable, allowed is a fraction of {allowed}: {examples}",
            "mend the source or raise download.max_rejected in params.yaml",
        )
    empty = set(source.classes or ()) - {row.label for row in rows}
    if empty:
        raise DataError(f"no image is of {', '.join(sorted(empty))}", "edit classes in datasets.yaml")


def _report(rows: list[ImageRow], rejected: list[tuple[str, str, str]], near_pairs: int) -> dict[str, Any]:
    sizes = Counter(row.group for row in rows)
    by_group = defaultdict(list)
    for row in rows:
        if sizes[row.group] > 1:
            by_group[row.group].append(row)
    repeated = list(by_group.values())
    sides = np.array([(row.width, row.height) for row in rows])
    return {
        "images": len(rows),
        "bytes": sum(row.length for row in rows),
        "images_per_class": dict(sorted(Counter(row.label for row in rows).items())),
        "official_split": dict(sorted(Counter(row.official for row in rows if row.official).items())),
        "width_px": _range(sides[:, 0]),
        "height_px": _range(sides[:, 1]),
        "modes": dict(sorted(Counter(row.mode for row in rows).items())),
        "rejected": dict(sorted(Counter(reason for _, _, reason in rejected).items())),
        "exact_duplicates": len(rows) - len({row.id for row in rows}),
        "near_duplicate_pairs": near_pairs,
        "duplicate_groups": len(repeated),
        "groups_of_several_classes": sum(len({row.label for row in group}) > 1 for group in repeated),
        "groups_across_official_split": sum(len({row.official for row in group}) > 1 for group in repeated),
    }


def _range(values: NDArray[np.int64]) -> dict[str, float]:
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}
