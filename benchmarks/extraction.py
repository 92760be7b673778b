"""Images a second from JPEG files to features on disk: the usual tutorials' way, each precision, OpenVINO.

Photos of Flowers-17 at 224 px, the ways in turn, so that what else the machine does slows all of them; models are built
and warm beforehand. Prints a Markdown table. Give it other numbers of rounds and photos than 5 and 240 if you like;
`pip install openvino` adds its row.
"""

import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import samples
from bottletop import backbone, extraction
from bottletop.config import load
from bottletop.files import sha256_text
from bottletop.images import ImageRow
from bottletop.manifest import ExtractParams
from bottletop.paths import CATALOGUE
from bottletop.runtime import keras, tf
from bottletop.shards import ShardWriter
from bottletop.vgg16 import MEANS_BGR, POOLED_BLOCKS
from bottletop.weight_sources import LAYERS, WeightsEntry, obtain
from bottletop.weights import Arrays

SIDE_PX, ARTICLES_BATCH = 224, 50
ARTICLES = "ImageDataGenerator, predict"
Way = Callable[[Path], None]  # writes to a folder that is not there yet


def main(scratch: Path, rounds: int, count: int) -> None:
    rows = photos(scratch, count)
    weights = obtain(load(WeightsEntry, "weights.vgg16", CATALOGUE))
    ways: dict[str, Way] = {ARTICLES: articles(scratch / "files", weights)}
    for kind in ("float32", "bfloat16", "int8"):
        compute = backbone.build(weights, SIDE_PX, kind)
        ways[f"bottletop {kind}"] = ours(scratch / "tars", rows, weights, compute, kind)
        if kind != "float32":
            ways[f"forward pass alone, {kind}"] = bare(compute, count)
    try:
        theirs = openvino(weights)
        ways["OpenVINO bfloat16, bottletop's decoding"] = ours(scratch / "tars", rows, weights, theirs, "bfloat16")
    except ImportError:
        print("openvino is not installed: left out")
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            root = Path(tempfile.mkdtemp(dir=scratch))
            os.environ["DVC_ROOT"] = str(root)  # a new one: nothing is found again
            wall, cpu = time.perf_counter(), time.process_time()
            way(root / "features")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
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
            id_ = sha256_text([name])
            rows.append(ImageRow(id_, "flowers", shard, offset, len(data), 0, 0, "RGB", "", id_, "", name))
    writer.finish()
    return rows


def articles(folder: Path, weights: Arrays) -> Way:
    """As tutorials do it: batches of 50 from a generator, `predict`, `np.save`."""
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIDE_PX, SIDE_PX, 3))
    for layer in LAYERS:
        model.get_layer(layer).set_weights([weights[f"{layer}/kernel"], weights[f"{layer}/bias"]])
    model.predict(np.zeros((ARTICLES_BATCH, SIDE_PX, SIDE_PX, 3), np.float32), verbose=0)

    def run(target: Path) -> None:
        generator = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255).flow_from_directory(
            folder, target_size=(SIDE_PX, SIDE_PX), batch_size=ARTICLES_BATCH, class_mode=None, shuffle=False
        )
        np.save(target.with_suffix(".npy"), model.predict(generator, verbose=0))

    return run


def ours(tars: Path, rows: list[ImageRow], weights: Arrays, compute: backbone.Extract, kind: Any) -> Way:
    params = ExtractParams(
        backbone="vgg16", image_side_px=SIDE_PX, precision=kind, views=1, flip=False, bottleneck=True
    )
    compute(np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8))

    def run(target: Path) -> None:
        original, backbone.build = backbone.build, lambda *_: compute
        try:
            extraction.extract(rows, tars, weights, SIDE_PX, params, target)
        finally:
            backbone.build = original

    return run


def bare(compute: backbone.Extract, count: int) -> Way:
    images = np.random.default_rng(0).integers(0, 256, (backbone.batch_size(SIDE_PX), SIDE_PX, SIDE_PX, 3), np.uint8)
    compute(images)

    def run(_: Path) -> None:
        for _batch in range(count // backbone.batch_size(SIDE_PX)):
            compute(images)

    return run


def openvino(weights: Arrays) -> backbone.Extract:
    """The same features by OpenVINO, from the same arrays."""
    import openvino as ov
    from openvino import opset13 as ops

    images = ops.parameter([backbone.batch_size(SIDE_PX), SIDE_PX, SIDE_PX, 3], np.uint8)
    pixels = ops.subtract(ops.convert(images, "f32"), np.array(MEANS_BGR[::-1], np.float32))
    values, outputs = ops.transpose(pixels, [0, 3, 1, 2]), []
    for position, layer in enumerate(LAYERS):
        kernel = weights[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        kernel = np.ascontiguousarray(kernel[:, ::-1] if position == 0 else kernel)
        sums = ops.convolution(values, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
        values = ops.relu(ops.add(sums, weights[f"{layer}/bias"].reshape(1, -1, 1, 1)))
        block = int(layer[5])
        if not any(other.startswith(f"block{block}") for other in LAYERS[position + 1 :]):
            values = ops.max_pool(values, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
            if block in POOLED_BLOCKS:
                outputs += [pool(values, [2, 3], False) for pool in (ops.reduce_mean, ops.reduce_max)]
    results = [ops.transpose(values, [0, 2, 3, 1]), ops.concat(outputs, 1)]
    model = ov.compile_model(ov.Model(results, [images]), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})

    def extract(batch: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        full = np.pad(batch, ((0, backbone.batch_size(SIDE_PX) - len(batch)), (0, 0), (0, 0), (0, 0)))
        bottleneck, pooled = model([full]).values()
        return bottleneck[: len(batch)].astype(np.float16), pooled[: len(batch)].astype(np.float16)

    return extract


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch), *(numbers + [5, 240][len(numbers) :]))
