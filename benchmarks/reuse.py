"""How long an extraction takes that computes nothing: the features of all images but one class's are there already.

    python -m benchmarks.reuse --images 20000

The features are made up, 54 KB an image, in 101 classes, and the backbone is none: computing would be an error. What
is there already are the files of a killed extraction: in the same order, whole shards are linked; in another, rows are
copied. Both verify each row.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bottletop.backbones.extractor import BFLOAT16, Extractor
from bottletop.core.files import sha256_text
from bottletop.features import reuse
from bottletop.features.extraction import _manifest, extract
from bottletop.features.manifest import ExtractParams
from bottletop.images.index import ImageRow
from tests.tiny import random_weights

CLASSES, SIDE_PX = 101, 224
PARAMS = ExtractParams(backbone="vgg16", image_side_px=SIDE_PX, precision="bfloat16", bottleneck=True)
BACKBONE = Extractor("vgg16", random_weights(), SIDE_PX, BFLOAT16)


def rows(images: int) -> list[ImageRow]:
    found = []
    for number in range(images):
        label, id_ = f"class {number % CLASSES:03}", sha256_text([str(number)])
        shard = f"class_{number % CLASSES:03}-000.tar"
        found.append(ImageRow(id_, label, shard, number, 1, 512, 384, "RGB", "", id_, "", f"{label}/{number}.jpg"))
    return sorted(found, key=lambda row: (row.shard, row.offset))


def leave(root: Path, images: list[ImageRow]) -> None:
    """What an extraction that was killed at its end has left."""
    manifest = _manifest(images, BACKBONE, PARAMS)
    folder = root / ".dvc/tmp/bottletop/features/features-killed"
    folder.mkdir(parents=True)
    work = reuse.Work(folder / reuse.FEATURES, manifest)
    features = np.random.default_rng(0).standard_normal(manifest.bottleneck_shape).astype(np.float16)
    pooled = np.zeros(manifest.pooled_shape, np.float16)
    for shard in dict.fromkeys(row.shard for row in images):
        ids = [row.id for row in images if row.shard == shard]
        work.write(ids, shard, ({"bottleneck": features, "pooled": pooled} for _ in ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20000)
    options = parser.parse_args()
    images = rows(options.images)
    print("| there already | images | seconds | CPU seconds |\n| --- | --- | --- | --- |", flush=True)
    for name, order in (("in the same order", images), ("in another order", images[::-1])):
        with tempfile.TemporaryDirectory() as folder, patch.object(Extractor, "__call__", side_effect=AssertionError):
            os.environ["DVC_ROOT"] = folder
            leave(Path(folder), order)
            wanted = [row for row in images if row.label != "class 000"]
            wall, cpu = time.perf_counter(), time.process_time()
            extract(wanted, Path(folder), BACKBONE, PARAMS, Path(folder, "features"))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"| {name} | {len(wanted):,} | {wall:.1f} | {cpu:.1f} |", flush=True)


if __name__ == "__main__":
    main()
