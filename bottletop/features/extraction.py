"""Extracts the features of every image, shard by shard, in a bounded amount of memory."""

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.extractor import NCNN, Engine, Extractor
from bottletop.core.errors import ArtefactError
from bottletop.core.files import sha256_text
from bottletop.core.parallel import map_ahead, processors
from bottletop.core.progress import bar
from bottletop.core.terminal import say
from bottletop.features import reuse
from bottletop.features.manifest import ExtractParams, Manifest, ShardShape, stem
from bottletop.images.index import ImageRow, read_square


def extract(
    images: Iterable[ImageRow], shards: Path, extractor: Extractor, params: ExtractParams, folder: Path
) -> None:
    """Writes the features of `images` and their manifest to `folder`, which is replaced only on success.

    Features that were computed before are reused, see `reuse`.

    Args:
        images: rows of the index. They are iterated over several times, so pass a list, or an `Index`, which takes no
            memory.
        shards: the folder of the images' shards.
        extractor: the backbone.
        params: the section ``extract`` of params.yaml.
        folder: the features folder to write.

    Raises:
        ArtefactError: a shard is damaged, weights or features are not finite, weights are so large that features may
            overflow, ncnn fails, or the index changed meanwhile.
    """
    manifest = _manifest(images, extractor, params)
    with reuse.unfinished(folder, manifest, images) as (work, earlier):
        known = sum(row.pixels_id in earlier for row in images)
        if known:
            say(f"extract: {known:,} of {manifest.rows:,} images were computed before", file=sys.stderr)
        with bar(f"extract ({', '.join(extractor.engine)})", " images", manifest.rows - known) as shown:
            read = partial(read_square, shards=shards, side_px=extractor.image_side_px)
            compute = partial(_computed, extractor, read, shown)
            fresh = compute(row for row in images if row.pixels_id not in earlier)
            for shard, group in groupby(images, key=lambda row: row.shard):
                rows = list(group)
                ids = [row.pixels_id for row in rows]
                if not work.link(ids, shard, earlier):
                    work.write(ids, shard, _known_or_computed(rows, earlier, fresh, compute))


def _known_or_computed(
    rows: Sequence[ImageRow],
    earlier: reuse.Earlier,
    fresh: Iterator[tuple[str, reuse.Row]],
    compute: Callable[[Iterable[ImageRow]], Iterator[tuple[str, reuse.Row]]],
) -> Iterator[reuse.Row]:
    """Yields the features of one shard's images, in order.

    Args:
        rows: the shard's images.
        earlier: the features that were computed before.
        fresh: iterates over the features of all images that `earlier` lacks, in the order of the index.
        compute: computes the features of given images; used where an image's earlier features are damaged.

    Raises:
        ArtefactError: the index changed while the extraction ran.
    """
    for row in rows:
        found = earlier.row(row.pixels_id)
        if found is None:
            image, found = next(compute([row]) if row.pixels_id in earlier else fresh)
            if image != row.pixels_id:
                raise ArtefactError("the index of the images changed while this ran", "dvc repro")
        yield found


def _computed(
    extractor: Extractor,
    read: Callable[[ImageRow], NDArray[np.uint8]],
    shown: Any,
    rows: Iterable[ImageRow],
) -> Iterator[tuple[str, reuse.Row]]:
    """Yields each image's id and features, computed in batches. Meanwhile the next images are read and decoded."""
    decoding = map_ahead(read, rows, ahead=4 * extractor.batch_size)
    while batch := list(islice(decoding, extractor.batch_size)):
        bottleneck, pooled = extractor(np.stack([image for _, image in batch]))
        shown.update(len(batch))
        for position, (row, _) in enumerate(batch):
            yield row.pixels_id, {"bottleneck": bottleneck[position], "pooled": pooled[position]}


def _manifest(images: Iterable[ImageRow], extractor: Extractor, params: ExtractParams) -> Manifest:
    """Describes the features before they are computed."""
    pooled_shape, bottleneck_shape = extractor.shapes
    shapes = {}
    for shard, group in groupby(images, key=lambda row: row.shard):
        rows = list(group)
        ids = sha256_text(row.id for row in rows)
        shapes[stem(shard)] = ShardShape(label=rows[0].label, rows=len(rows), ids_sha256=ids)
    return Manifest(
        backbone=extractor.backbone,
        weights_digest=extractor.weights_digest,
        preprocessing=extractor.preprocessing,
        image_side_px=extractor.image_side_px,
        engine=extractor.engine.name,
        precision=extractor.engine.precision,
        dtype="float16",
        pooled_shape=pooled_shape,
        bottleneck_shape=bottleneck_shape if params.bottleneck else None,
        rows=sum(shape.rows for shape in shapes.values()),
        ids_sha256=sha256_text(row.id for row in images),
        shards=shapes,
        versions=_versions(extractor.engine),
        at_once={"images": extractor.batch_size, "threads": processors()},
    )


def _versions(engine: Engine) -> dict[str, str]:
    """Returns the versions of Python and of the packages that determine the features."""
    computing = ("ncnn",) if engine == NCNN else ("keras", "tensorflow")
    packages = {name: importlib.metadata.version(name) for name in sorted(("numpy", "pillow", *computing))}
    return {"python": platform.python_version(), **packages}
