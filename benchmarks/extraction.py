"""Images a second from JPEG files to features on disk: the usual tutorials' way, and each engine.

Photos of Flowers-17 at 224 px, the ways in turn, so that what else the machine does slows all of them; models are built
and warm beforehand. Prints a Markdown table. Give it other numbers of rounds and photos than 5 and 240 if you like.
bfloat16 is left out where the processor does not compute in it.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import samples
from bottletop.backbones import extractor
from bottletop.backbones.extractor import Extractor
from bottletop.backbones.weights import Arrays, save
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.paths import WEIGHTS
from bottletop.core.settings import load
from bottletop.download.shards import ShardWriter
from bottletop.download.weight_sources import obtain
from bottletop.features import extraction
from bottletop.features.manifest import ExtractParams
from bottletop.images.index import ImageRow

SIDE_PX, SMALL = 224, "efficientnet_lite0"
ARTICLES = "ImageDataGenerator, predict"
Way = Callable[[Path], tuple[float, float]]  # writes to a folder that is not there yet; seconds, and of CPU time


def main(scratch: Path, rounds: int, count: int) -> None:
    rows = photos(scratch, count)
    weights = obtain(load(WeightsEntry, "vgg16", WEIGHTS))
    small = obtain(load(WeightsEntry, SMALL, WEIGHTS), SMALL)
    ways: dict[str, Way] = {ARTICLES: Tutorial(scratch, weights).seconds}
    engines = [extractor.NCNN, extractor.TENSORFLOW]
    if extractor.best_precision("auto") == "bfloat16":
        engines.append(extractor.BFLOAT16)
    for engine in engines:
        compute = Extractor("vgg16", weights, SIDE_PX, engine)
        ways[f"bottletop, {engine.name} {engine.precision}"] = ours(scratch / "tars", rows, compute)
        ways[f"forward pass alone, {engine.name} {engine.precision}"] = bare(compute, count)
    compute = Extractor(SMALL, small, SIDE_PX, extractor.NCNN)
    ways[f"bottletop, {SMALL}, ncnn"] = ours(scratch / "tars", rows, compute)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            root = Path(tempfile.mkdtemp(dir=scratch))
            os.environ["DVC_ROOT"] = str(root)  # a new one: nothing is found again
            wall, cpu = way(root / "features")
            measured[name].append((count / wall, count / cpu))
            print(
                f"round {number + 1}: {name}: {count / wall:.1f}/s, {count / cpu:.1f} per CPU second", file=sys.stderr
            )
    show(measured)


def show(measured: dict[str, list[tuple[float, float]]]) -> None:
    print("\n| way | images/s, median (lowest to highest) | x | images per CPU second | x |\n|" + 5 * " --- |")
    base_wall, base_cpu = np.median(measured[ARTICLES], axis=0)
    for name, values in measured.items():
        (wall, cpu), walls = np.median(values, axis=0), [each[0] for each in values]
        spread = f"{wall:.1f} ({min(walls):.1f} to {max(walls):.1f})"
        print(f"| {name} | {spread} | {wall / base_wall:.2f} | {cpu:.1f} | {cpu / base_cpu:.2f} |")


def photos(scratch: Path, count: int) -> list[ImageRow]:
    """The same photos as files in a folder and as images in a tar."""
    (scratch / "files" / "flowers").mkdir(parents=True)
    (scratch / "tars").mkdir()
    writer, rows = ShardWriter(scratch / "tars"), []
    with tarfile.open(samples.folder() / samples.ARCHIVES["flowers-17"]) as archive:
        members = sorted((each for each in archive if each.name.endswith(".jpg")), key=lambda each: each.name)
        for member in members[:: len(members) // count][:count]:
            data = archive.extractfile(member).read()  # type: ignore[union-attr]
            name = Path(member.name).name
            (scratch / "files" / "flowers" / name).write_bytes(data)
            shard, offset = writer.add("flowers", name, data)
            id_ = hashlib.sha256(data).hexdigest()
            rows.append(ImageRow(id_, "flowers", shard, offset, len(data), 0, 0, "RGB", "", id_, "", name))
    writer.finish()
    return rows


class Tutorial:
    """The tutorials' way, in a process of its own: TensorFlow is there as it comes, without bottletop's settings."""

    def __init__(self, scratch: Path, weights: Arrays) -> None:
        save(scratch / "weights.npz", weights)
        command = [sys.executable, "-m", "benchmarks.tutorial", str(scratch / "files"), str(scratch / "weights.npz")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seconds(scratch / "warm")

    def seconds(self, target: Path) -> tuple[float, float]:
        """By the clock and of CPU time."""
        print(target, file=self._process.stdin, flush=True)
        wall, cpu = json.loads(self._process.stdout.readline())  # type: ignore[union-attr]
        return wall, cpu


def ours(tars: Path, rows: list[ImageRow], compute: Extractor) -> Way:
    """Extraction with the engine of `compute`, which is built already."""
    params = ExtractParams(backbone=compute.backbone, image_side_px=SIDE_PX)  # type: ignore[arg-type]
    compute(np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8))

    def run(target: Path) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        extraction.extract(rows, tars, compute, params, target)
        return time.perf_counter() - wall, time.process_time() - cpu

    return run


def bare(compute: Extractor, count: int) -> Way:
    images = np.random.default_rng(0).integers(0, 256, (compute.batch_size, SIDE_PX, SIDE_PX, 3), np.uint8)
    compute(images)

    def run(_: Path) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        for _batch in range(count // compute.batch_size):
            compute(images)
        return time.perf_counter() - wall, time.process_time() - cpu

    return run


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch), *(numbers + [5, 240][len(numbers) :]))
