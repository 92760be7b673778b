"""Made-up features, archives and pictures of any size, for the other benchmarks."""

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from bottletop.core.files import sha256_text
from bottletop.features import reuse
from bottletop.features.manifest import Manifest, ShardShape, stem
from bottletop.split import SplitRow

SPLITS = ("train",) * 8 + ("validation", "test")  # of a class's images in turn
BOTTLENECK = (7, 7, 512)
POOLED = (2560,)


def features(folder: Path, images: int, classes: int, *, bottleneck: bool, signal: float = 0.1) -> list[SplitRow]:
    """Writes features like a backbone's, half of them zero, a class at a time; returns their split.

    Args:
        bottleneck: the un-pooled features, of which the pooled ones are left empty; else the pooled ones alone.
        signal: how far apart the classes are, in standard deviations of a feature.
    """
    random = np.random.default_rng(0)
    shape = BOTTLENECK if bottleneck else POOLED
    rows = [
        SplitRow(id_, label, f"{label}-000.tar", id_[:16], SPLITS[position % len(SPLITS)], f"{label}/{id_}.jpg")
        for number, label in enumerate(f"class {number:03}" for number in range(classes))
        for position in range(len(range(number, images, classes)))
        for id_ in [f"{number:08x}{position:056x}"]
    ]

    def computed(count: int) -> Iterator[reuse.Row]:
        centre = signal * random.standard_normal(shape, np.float32)
        for start in range(0, count, 500):
            block = random.standard_normal((min(500, count - start), *shape), np.float32) + centre
            for values in block.clip(0).astype(np.float16):
                yield (
                    {"pooled": np.zeros(POOLED, np.float16), "bottleneck": values} if bottleneck else {"pooled": values}
                )

    folder.parent.mkdir(parents=True, exist_ok=True)
    work = reuse.Work(folder, manifest(rows, POOLED, BOTTLENECK if bottleneck else None))
    for shard, group in groupby(rows, key=lambda row: row.shard):
        ids = [row.id for row in group]
        work.write(ids, shard, computed(len(ids)))
    return rows


def manifest(
    rows: Sequence[SplitRow], pooled_shape: tuple[int, ...], bottleneck_shape: tuple[int, ...] | None
) -> Manifest:
    """Of features that no backbone has computed; the rows come shard by shard."""
    shards = {}
    for shard, group in groupby(rows, key=lambda row: row.shard):
        here = list(group)
        ids = sha256_text(row.id for row in here)
        shards[stem(shard)] = ShardShape(label=here[0].label, rows=len(here), ids_sha256=ids)
    return Manifest(
        backbone="vgg16",
        weights_digest="0" * 64,
        preprocessing="rgb",
        image_side_px=64,
        precision="float32",
        dtype="float16",
        pooled_shape=pooled_shape,
        bottleneck_shape=bottleneck_shape,
        rows=len(rows),
        ids_sha256=sha256_text(row.id for row in rows),
        shards=shards,
        versions={},
    )


def picture(random: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG with the detail of a photo: smooth noise and a little fine noise."""
    coarse = random.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = (smooth + random.integers(-12, 13, smooth.shape, np.int16)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=85)
    return file.getvalue()


def archive(path: Path, pictures: Iterable[bytes], classes: int = 101) -> None:
    """A tar.gz of the pictures, in the folders of `classes` classes by turns."""
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for number, data in enumerate(pictures):
            info = tarfile.TarInfo(f"made-up/class {number % classes:03}/{number:07}.jpg")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
