"""What decoding large JPEGs at a reduced size saves, and what it costs in accuracy.

    python -m benchmarks.large_photos --side 96

The time is that of decoding and shrinking made-up photos of 12 megapixels to 224 px, CPU time on one core, in turns.
No sample is that large: so accuracy is measured at a smaller side, at which most of them are decoded at a reduced
size; with the default top and three seeds on Flowers-17 and the sample of Food-101.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np

from benchmarks import made_up, samples
from benchmarks.accuracy import SEEDS, run
from benchmarks.precisions import cosine, pooled, test_accuracy
from bottletop.backbones import weights
from bottletop.backbones.extractor import Extractor, best_engine
from bottletop.core.paths import Paths, weights_file
from bottletop.features import extraction
from bottletop.features.manifest import ExtractParams
from bottletop.images import index
from bottletop.images.decoding import decode, square
from bottletop.images.index import ImageRow, read_index

DATASETS = ("flowers-17", "food-101")


def speed(side_px: int, photos: int) -> None:
    random = np.random.default_rng(0)
    files = [made_up.picture(random, 4000, 3000) for _ in range(photos)]
    taken: dict[int | None, list[float]] = {None: [], side_px: []}
    for _ in range(3):
        for at_least, times in taken.items():
            for data in files:
                start = time.process_time()
                square(decode(data, at_least), side_px)
                times.append(time.process_time() - start)
    full, reduced = (median(times) * 1000 for times in taken.values())
    print(f"| 12 megapixels to {side_px} px | ms | x |\n| --- | --- | --- |")
    print(f"| whole | {full:.0f} | 1.00 |\n| reduced | {reduced:.0f} | {full / reduced:.2f} |\n", flush=True)


def accuracy(scratch: Path, side_px: int) -> None:
    project = samples.copy_project(scratch / "project")
    samples.activate(project, list(DATASETS))
    with samples.served(samples.folder()) as address:
        samples.use_samples(project, address)
        for stage, names in (("sources", [""]), ("weights", ["vgg16"]), ("download", DATASETS), ("split", DATASETS)):
            for name in names:
                run(project, stage, *filter(None, [name]))
    os.chdir(project)
    print("| dataset | photos | of them reduced | whole | reduced | cosine |\n|" + 6 * " --- |", flush=True)
    for name in DATASETS:
        rows = read_index(Paths(name).index)
        scores, features = [], []
        for whole in (True, False):
            extract(rows, Paths(name), side_px, whole=whole)
            features.append(pooled(Paths(name).features))
            scores.append([test_accuracy(name, seed)[0] for seed in SEEDS])
        smaller = sum(min(row.width, row.height) >= 4 * side_px for row in rows)
        means = " | ".join(f"{np.mean(each):.4f} ({', '.join(f'{v:.3f}' for v in each)})" for each in scores)
        print(f"| {name} | {len(rows)} | {smaller} | {means} | {cosine(*features):.5f} |", flush=True)


def extract(rows: list[ImageRow], paths: Paths, side_px: int, *, whole: bool) -> None:
    params = ExtractParams(backbone="vgg16", image_side_px=side_px, precision="auto", bottleneck=False)
    extractor = Extractor("vgg16", weights.load(weights_file("vgg16")), side_px, best_engine("vgg16", "auto"))
    with patch.object(index, "decode", lambda data, side: decode(data, None if whole else side)):
        os.environ["DVC_ROOT"] = tempfile.mkdtemp(dir=".")  # a new one: nothing is found again
        extraction.extract(rows, paths.images, extractor, params, paths.features)
        del os.environ["DVC_ROOT"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--photos", type=int, default=8)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    speed(224, options.photos)
    with tempfile.TemporaryDirectory() as scratch:
        accuracy(Path(scratch), options.side)


if __name__ == "__main__":
    main()
