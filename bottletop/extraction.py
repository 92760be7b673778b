"""Features of every image, shard by shard, in a bounded amount of memory."""

import importlib.metadata
import os
import platform
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby, islice, repeat
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from bottletop import backbone, weights
from bottletop.config import Params
from bottletop.errors import ArtefactError, DataError
from bottletop.files import replacing
from bottletop.images import ImageRow, decode, read_shard, square
from bottletop.manifest import Manifest, ShardShape, feature_file, ids_digest, stem, write_manifest
from bottletop.progress import bar

Batch = NDArray[np.uint8]


class ExtractParams(Params, frozen=True, kw_only=True):
    """Section ``extract`` of params.yaml."""

    image_side_px: Annotated[int, Meta(ge=32, le=1024)] | Literal["auto"]  # auto: the dataset's own, in datasets.yaml
    precision: backbone.Precision  # auto: bfloat16 where the processor computes in it
    bottleneck: bool  # keep block5_pool too, 49 KB an image at 224 px, for tops on the bottleneck


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
    shapes: dict[str, ShardShape] = {}
    with replacing(folder) as staging, bar(f"extract ({precision})", " images", len(images)) as shown:
        staging.mkdir()
        for shard, group in groupby(images, key=lambda row: row.shard):
            rows = list(group)
            batches = _batches(_squares(shards / shard, rows, image_side_px))
            features = (_counted(compute(batch), shown) for batch in batches)
            _write(staging, shard, len(rows), features, keep_bottleneck=params.bottleneck)
            shapes[stem(shard)] = ShardShape(
                label=rows[0].label, rows=len(rows), ids_sha256=ids_digest([row.id for row in rows])
            )
        side = image_side_px // 32
        manifest = Manifest(
            backbone="vgg16",
            weights_digest=weights.digest(arrays),
            preprocessing=backbone.PREPROCESSING,
            image_side_px=image_side_px,
            precision=precision,
            dtype="float16",
            pooled_shape=(backbone.POOLED_FEATURES,),
            bottleneck_shape=(side, side, 512) if params.bottleneck else None,
            rows=len(images),
            ids_sha256=ids_digest([row.id for row in images]),
            shards=shapes,
            versions=_versions(),
        )
        write_manifest(staging, manifest)


def _counted(features: tuple[NDArray[np.float16], ...], shown: Any) -> tuple[NDArray[np.float16], ...]:
    shown.update(len(features[0]))
    return features


def _write(
    folder: Path, shard: str, count: int, batches: Iterable[tuple[NDArray[np.float16], ...]], *, keep_bottleneck: bool
) -> None:
    """Fills the shard's two files, batch by batch."""
    kinds: tuple[Literal["bottleneck", "pooled"], ...] = ("bottleneck", "pooled")
    files: dict[str, NDArray[np.float16]] = {}
    done = 0
    for batch in batches:
        for kind, values in zip(kinds, batch, strict=True):
            if kind == "bottleneck" and not keep_bottleneck:
                continue
            if kind not in files:
                path = feature_file(folder, shard, kind)
                files[kind] = np.lib.format.open_memmap(path, "w+", np.float16, (count, *values.shape[1:]))
            files[kind][done : done + len(values)] = values
        done += len(batch[0])


def _squares(shard: Path, rows: Sequence[ImageRow], image_side_px: int) -> Iterator[Batch]:
    """Decoded and resized images in order, on all cores, a bounded number ahead."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in chain(zip(rows, read_shard(shard, rows), strict=True), repeat(None, 4 * backbone.BATCH_SIZE)):
            if item is not None:
                waiting.append(pool.submit(_square, *item, image_side_px))
            if waiting and (item is None or len(waiting) == 4 * backbone.BATCH_SIZE):
                yield waiting.popleft().result()


def _square(row: ImageRow, data: bytes, image_side_px: int) -> Batch:
    try:
        return square(decode(data), image_side_px)
    except DataError as error:  # the download took it, so the shard has changed since
        raise ArtefactError(f"{row.shard}: {row.source} is damaged ({error}): run dvc repro") from error


def _batches(images: Iterator[Batch]) -> Iterator[Batch]:
    while batch := list(islice(images, backbone.BATCH_SIZE)):
        yield np.stack(batch)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in ("keras", "numpy", "pillow", "tensorflow")}
    return {"python": platform.python_version(), **packages}
