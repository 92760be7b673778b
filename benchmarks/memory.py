"""The peak resident memory of training, unpacking and extraction, for two sizes each.

    python -m benchmarks.memory --images 20000 101000 --photos 50 200

Extraction is of photos of 12 megapixels, in the precision that suits the machine. Training is on 25,088 features an
image, 49 KB: 101,000 images need 5 GB in the temporary folder (TMPDIR). Images of the archive are small and padded to
50 KB. Each measurement is a process of its own. Linux only.
"""

import argparse
import hashlib
import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import made_up
from bottletop.core.paths import PARAMS
from bottletop.core.settings import load, parse

IMAGE_BYTES = 50_000
CLASSES = 101


def train(folder: Path, rows: Any) -> None:
    from bottletop.models.params import TopParams
    from bottletop.models.training import train
    from bottletop.models.vectors import open_features

    changes = {"features": "bottleneck", "hidden": (100, 50), "epochs": 1, "batch_size": 256}
    params = msgspec.structs.replace(load(TopParams, "train", PARAMS), **changes)
    train(open_features(folder, rows, params.features, params.pooling), params)


def unpack(archive: Path, folder: Path) -> None:
    from bottletop.core.catalogue import Source
    from bottletop.download import unpacking
    from bottletop.download.params import DownloadParams

    source = parse(Source, {"urls": [f"file:{archive}"], "images": "made-up/{label}/*"}, "source", archive)
    unpacking.unpack(source, DownloadParams(max_rejected=0.0), folder)


def extract(folder: Path, photos: int) -> None:
    from bottletop.backbones.extractor import Extractor, best_engine
    from bottletop.download.shards import ShardWriter
    from bottletop.features import extraction
    from bottletop.features.manifest import ExtractParams
    from bottletop.images.index import ImageRow
    from tests.tiny import random_weights

    os.environ["DVC_ROOT"] = str(folder)  # nothing is found again
    (folder / "tars").mkdir()
    writer, photo = ShardWriter(folder / "tars"), made_up.picture(np.random.default_rng(0), 4000, 3000)
    rows = []
    for number in range(photos):
        data = photo[:2] + b"\xff\xfe\0\6%04d" % number + photo[2:]  # a comment makes each photo another
        shard, offset = writer.add("large", f"{number}.jpg", data)
        id_ = hashlib.sha256(data).hexdigest()
        rows.append(ImageRow(id_, "large", shard, offset, len(data), 4000, 3000, "RGB", "", id_, "", f"{number}.jpg"))
    writer.finish()
    params = ExtractParams(backbone="vgg16", image_side_px=224, precision="auto", bottleneck=True)
    extractor = Extractor("vgg16", random_weights(), 224, best_engine("vgg16", "auto"))
    extraction.extract(rows, folder / "tars", extractor, params, folder / "features")


def peak_bytes(function: Callable[..., None], *arguments: object) -> int:
    """Of a fresh process that calls the function."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return int(pool.apply(_called, (function, arguments)))


def _called(function: Callable[..., None], arguments: tuple[object, ...]) -> int:
    function(*arguments)
    return high_water_bytes(os.getpid())


def high_water_bytes(pid: int) -> int:
    """The most memory that a process has held so far; 0 once it has ended.

    `getrusage` won't do: its peak starts at that of the parent.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _pictures(count: int) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    padding = os.urandom(IMAGE_BYTES)
    for _ in itertools.repeat(None, count):
        data = made_up.picture(random, 64, 48)
        yield data + padding[len(data) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[20000, 101000])
    parser.add_argument("--photos", type=int, nargs="+", default=[50, 200])
    options = parser.parse_args()
    print("| peak memory of | images | on disk | MB |\n| --- | --- | --- | --- |", flush=True)
    for photos in options.photos:
        with tempfile.TemporaryDirectory() as name:
            peak = peak_bytes(extract, Path(name), photos) >> 20
            print(f"| extract | {photos:,} | 12 megapixels each | {peak:,} |", flush=True)
    for images in options.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "f")
            rows = made_up.features(folder, images, CLASSES, bottleneck=True)
            peak = peak_bytes(train, folder, rows) >> 20
            print(f"| train | {images:,} | {images * 2 * 25088 >> 20:,} MB | {peak:,} |", flush=True)
        with tempfile.TemporaryDirectory() as name:
            archive = Path(name, "made-up.tar.gz")
            made_up.archive(archive, _pictures(images))
            peak = peak_bytes(unpack, archive, Path(name, "unpacked")) >> 20
            print(f"| download | {images:,} | {archive.stat().st_size >> 20:,} MB | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
