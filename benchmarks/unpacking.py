"""How fast an archive of photos is unpacked, against bare gzip and bare decoding on all cores of the same images.

    python -m benchmarks.unpacking --images 2000

The pictures are made up, 512 x 384 pixels as Food-101's are. The three take turns; medians are printed. CPU time is
less moved by what else the machine does; an unpacking needs at least that of the other two.
"""

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import made_up
from bottletop.core.catalogue import Source
from bottletop.core.parallel import map_ahead, processors
from bottletop.core.settings import parse
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import AHEAD_EACH, unpack
from bottletop.images.decoding import decode


def measure(folder: Path, images: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of each kind of work, the medians of the rounds."""
    random = np.random.default_rng(0)
    pictures = [made_up.picture(random, 512, 384) for _ in range(images)]
    archive = folder / "made-up.tar.gz"
    made_up.archive(archive, pictures)
    source = parse(Source, {"urls": [f"file:{archive}"], "images": "made-up/{label}/*"}, "source", archive)

    def decompress() -> None:
        with gzip.open(archive) as file:
            while file.read(1 << 20):
                pass

    def decode_all() -> None:
        for _ in map_ahead(decode, pictures, AHEAD_EACH * processors()):
            pass

    work: dict[str, Callable[[], object]] = {
        "gzip alone": decompress,
        "decoding alone": decode_all,
        "unpack": lambda: unpack(source, DownloadParams(max_rejected=0.0), folder / "unpacked"),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, function in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (median(w for w, _ in values), median(c for _, c in values)) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(Path(folder), options.images, options.rounds)
    slower_s = max(taken["gzip alone"][0], taken["decoding alone"][0])
    least_cpu_s = taken["gzip alone"][1] + taken["decoding alone"][1]
    print("| work | images/s | seconds | of the slower one's | CPU seconds | of both together |")
    print("|" + 6 * " --- |")
    for name, (wall_s, cpu_s) in taken.items():
        ratios = f"{wall_s:.2f} | {wall_s / slower_s:.2f} | {cpu_s:.2f} | {cpu_s / least_cpu_s:.2f}"
        print(f"| {name} | {options.images / wall_s:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
