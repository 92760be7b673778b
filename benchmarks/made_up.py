"""Made-up features, archives and pictures of any size, for the other benchmarks."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bottletop.backbones.networks import Kind
from bottletop.core.files import sha256_text
from bottletop.features.manifest import Manifest, ShardShape, feature_file, write_manifest
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
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    shape = BOTTLENECK if bottleneck else POOLED
    labels = [f"class {number:03}" for number in range(classes)]
    rows, shards = [], {}
    for number, label in enumerate(labels):
        count = len(range(number, images, classes))
        ids = [f"{number:08x}{position:056x}" for position in range(count)]
        centre = signal * random.standard_normal(shape, np.float32)
        kind: Kind = "bottleneck" if bottleneck else "pooled"
        file = feature_file(folder, f"{label}-000", kind)
        array = np.lib.format.open_memmap(file, "w+", np.float16, (count, *shape))
        for start in range(0, count, 500):
            block = random.standard_normal((min(500, count - start), *shape), np.float32) + centre
            array[start : start + 500] = block.clip(0)
        del array
        if bottleneck:
            np.lib.format.open_memmap(
                feature_file(folder, f"{label}-000", "pooled"), "w+", np.float16, (count, *POOLED)
            )
        shards[f"{label}-000"] = ShardShape(label=label, rows=count, ids_sha256=sha256_text(ids))
        splits = [SPLITS[position % len(SPLITS)] for position in range(count)]
        rows += [
            SplitRow(id_, label, f"{label}-000.tar", id_[:16], split, f"{label}/{id_}.jpg")
            for id_, split in zip(ids, splits, strict=True)
        ]
    write_manifest(folder, manifest(rows, shards, POOLED, BOTTLENECK if bottleneck else None))
    return rows


def manifest(
    rows: Sequence[SplitRow],
    shards: dict[str, ShardShape],
    pooled_shape: tuple[int, ...],
    bottleneck_shape: tuple[int, ...] | None,
) -> Manifest:
    """Of features that no backbone has computed."""
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
