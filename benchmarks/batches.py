"""How many images TensorFlow best computes at once; `Extractor.batch_size` should be close to the best.

    python -m benchmarks.batches

The sizes take turns; medians are printed. CPU time is less moved by what else the machine does.
"""

import argparse
import time
from functools import partial
from statistics import median

import numpy as np

from bottletop.backbones import tensorflow_engine
from bottletop.backbones.extractor import Engine, Extractor
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.paths import WEIGHTS
from bottletop.core.settings import load
from bottletop.download.weight_sources import obtain

SIZES = (4, 8, 16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 224])
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"])
    options = parser.parse_args()
    weights = obtain(load(WeightsEntry, "vgg16", WEIGHTS))
    print("| precision | side | batch | images/s | CPU ms an image | of the chosen one's |")
    print("|" + 6 * " --- |", flush=True)
    for precision in options.precisions:
        for side in options.sides:
            chosen = Extractor("vgg16", weights, side, Engine("tensorflow", precision)).batch_size
            images = np.random.default_rng(0).integers(0, 256, (max(*SIZES, chosen), side, side, 3), np.uint8)
            forward = partial(tensorflow_engine.forward, "vgg16", weights, side, precision)
            forwards = {size: forward(size) for size in (*SIZES, chosen)}
            taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sorted({*SIZES, chosen})}
            for number in range(1 + options.rounds):
                for size, times in taken.items():
                    steps = max(1, options.images // size)
                    wall, cpu = time.perf_counter(), time.process_time()
                    for _ in range(steps):
                        forwards[size](images[:size])
                    if number:  # the first round builds what is needed
                        count = steps * size
                        times.append(((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count))
            least = median(cpu for _, cpu in taken[chosen])
            for size, times in taken.items():
                wall_s, cpu_s = median(wall for wall, _ in times), median(cpu for _, cpu in times)
                shown = f"{size}, chosen" if size == chosen else size
                print(
                    f"| {precision} | {side} | {shown} | {1 / wall_s:.1f} | {cpu_s * 1000:.1f} | {cpu_s / least:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
