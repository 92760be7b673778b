"""How long an epoch of a network from scratch takes: images decoded in each epoch, kept decoded, and arithmetic alone.

    python -m benchmarks.networks --images 256

The recipe skin-cnn, at 240 px, on made-up photos of 512 x 384 pixels. Arithmetic alone is the same `fit` on one batch,
again and again. The three take turns; of each, all epochs but the first count, and medians are printed.
"""

import argparse
import os
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks import made_up
from bottletop.core.paths import PARAMS
from bottletop.core.settings import parse, read_yaml
from bottletop.experiments.grid import with_overrides
from bottletop.experiments.recipes import settings
from bottletop.models import cnn, pictures
from bottletop.models.examples import Rows
from bottletop.models.network_params import AugmentParams, CnnParams
from bottletop.models.params import TopParams
from bottletop.models.trained import Entry
from bottletop.split import SplitRow
from tests.tiny import image_shards


class Repeated(pictures.PictureSet):
    """One image, whichever is asked for: no decoding, and no copying of what was decoded."""

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        return np.broadcast_to(np.uint8(127), (len(rows), *self.shape))


WAYS = {
    "arithmetic alone": (Repeated, 0),
    "images kept decoded": (pictures.PictureSet, 1 << 40),
    "images decoded in each epoch": (pictures.PictureSet, 0),
}


def measure(folder: Path, count: int, epochs: int, rounds: int) -> dict[str, float]:
    """Median seconds of an epoch, by way."""
    os.environ["DVC_ROOT"] = str(folder)  # no training is gone on with
    random = np.random.default_rng(0)
    photos = [(("cats", "dogs")[number // 10 % 2], made_up.picture(random, 512, 384)) for number in range(count)]
    images = image_shards(folder / "tars", photos)
    rows = [
        SplitRow(row.id, row.label, row.shard, row.id, made_up.SPLITS[n % 10], row.source)
        for n, row in enumerate(images)
    ]
    params = with_overrides(read_yaml(PARAMS), settings("skin-cnn"))
    train = parse(TopParams, {**params["train"], "epochs": epochs}, "train", PARAMS)
    network = parse(CnnParams, params["cnn"], "cnn", PARAMS)
    augment = parse(AugmentParams, params["augment"], "augment", PARAMS)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, (kind, limit) in WAYS.items():
            pictures.IN_MEMORY_BYTES = limit
            ends: list[float] = []
            found = pictures.open_pictures(folder / "tars", images, rows, 240)
            cnn.train(kind(**vars(found)), network, augment, train, partial(_note, ends))
            taken[name] += [end - start for start, end in pairwise(ends)]
    return {name: median(values) for name, values in taken.items()}


def _note(ends: list[float], _: Entry) -> None:
    ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(Path(folder), options.images, options.epochs, options.rounds)
    print("| epoch | seconds | of arithmetic alone |\n| --- | --- | --- |")
    for name, seconds in taken.items():
        print(f"| {name} | {seconds:.2f} | {seconds / taken['arithmetic alone']:.2f} |")


if __name__ == "__main__":
    main()
