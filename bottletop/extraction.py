"""Features of every image, shard by shard, in a bounded amount of memory."""

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottletop import backbone, weights
from bottletop.errors import ArtefactError, DataError
from bottletop.files import replacing, sha256_text
from bottletop.images import ImageRow, decode, read_shard, square
from bottletop.manifest import ExtractParams, Kind, Manifest, ShardShape, feature_file, stem, write_manifest
from bottletop.progress import bar
from bottletop.threads import map_ahead


def extract(
    images: Sequence[ImageRow],
    shards: Path,
    arrays: weights.Arrays,
    image_side_px: int,
    params: ExtractParams,
    folder: Path,
) -> None:
    """Writes the features of `images`, whose tars are in `shards`, and their manifest to `folder`, all or nothing.

    Raises:
        ArtefactError: a shard is damaged, or features are not finite.
    """
    precision = backbone.best_precision(params.precision)
    compute = backbone.build(arrays, image_side_px, precision)
    side = image_side_px // 32
    shapes: dict[Kind, tuple[int, ...]] = {"pooled": (backbone.POOLED_FEATURES,)}
    if params.bottleneck:
        shapes["bottleneck"] = (side, side, 512)
    done: dict[str, ShardShape] = {}
    with replacing(folder) as staging, bar(f"extract ({precision})", " images", len(images)) as shown:
        staging.mkdir()
        for shard, group in groupby(images, key=lambda row: row.shard):
            rows = list(group)
            batches = _computed(compute, shards / shard, rows, image_side_px, shown)
            _write(staging, shard, {kind: (len(rows), *shape) for kind, shape in shapes.items()}, batches)
            ids = sha256_text([row.id for row in rows])
            done[stem(shard)] = ShardShape(label=rows[0].label, rows=len(rows), ids_sha256=ids)
        manifest = Manifest(
            backbone="vgg16",
            weights_digest=weights.digest(arrays),
            preprocessing=backbone.PREPROCESSING,
            image_side_px=image_side_px,
            precision=precision,
            dtype="float16",
            pooled_shape=shapes["pooled"],
            bottleneck_shape=shapes.get("bottleneck"),
            rows=len(images),
            ids_sha256=sha256_text([row.id for row in images]),
            shards=done,
            versions=_versions(),
        )
        write_manifest(staging, manifest)


def _write(
    folder: Path, shard: str, shapes: dict[Kind, tuple[int, ...]], batches: Iterable[dict[Kind, NDArray[np.float16]]]
) -> None:
    """Writes the shard's .npy files as the batches come; a full disk is an error here, through a memory map a crash."""
    with ExitStack() as stack:
        files = {kind: stack.enter_context(feature_file(folder, shard, kind).open("wb")) for kind in shapes}
        for kind, file in files.items():
            header = {"descr": "<f2", "fortran_order": False, "shape": shapes[kind]}
            np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            for kind, file in files.items():
                file.write(batch[kind].tobytes())


def _computed(
    compute: backbone.Extract, shard: Path, rows: Sequence[ImageRow], image_side_px: int, shown: Any
) -> Iterator[dict[Kind, NDArray[np.float16]]]:
    """The features of each batch; the next images are decoded meanwhile."""
    decoding = map_ahead(
        partial(_square, image_side_px=image_side_px),
        zip(rows, read_shard(shard, rows), strict=True),
        ahead=4 * backbone.BATCH_SIZE,
    )
    images = (image for _, image in decoding)
    while batch := list(islice(images, backbone.BATCH_SIZE)):
        bottleneck, pooled = compute(np.stack(batch))
        shown.update(len(batch))
        yield {"bottleneck": bottleneck, "pooled": pooled}


def _square(image: tuple[ImageRow, bytes], image_side_px: int) -> NDArray[np.uint8]:
    row, data = image
    try:
        return square(decode(data), image_side_px)
    except DataError as error:  # the download took it, so the shard has changed since
        raise ArtefactError(f"{row.shard}: {row.source} is damaged ({error}): run dvc repro") from error


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in ("keras", "numpy", "pillow", "tensorflow")}
    return {"python": platform.python_version(), **packages}
