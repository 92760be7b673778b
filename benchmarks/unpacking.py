"""How fast an archive of photos is unpacked, against bare gzip and bare decoding on all cores of the same images.

    python -m benchmarks.unpacking --images 2000

The pictures are made up, 512 x 384 pixels as Food-101's are. The three take turns; medians are printed.
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
from bottletop.catalogue import Source
from bottletop.config import parse
from bottletop.download import AHEAD, DownloadParams, unpack
from bottletop.images import decode
from bottletop.threads import map_ahead


def measure(folder: Path, images: int, rounds: int) -> dict[str, float]:
    """Seconds of each kind of work, the median of the rounds."""
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
        for _ in map_ahead(decode, pictures, AHEAD):
            pass

    work: dict[str, Callable[[], object]] = {
        "gzip alone": decompress,
        "decoding alone": decode_all,
        "unpack": lambda: unpack(source, DownloadParams(max_rejected=0.0), folder / "unpacked"),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(Path(folder), options.images, options.rounds)
    slower = max(taken["gzip alone"], taken["decoding alone"])
    print("| work | seconds | images/s | of the slower one's time |\n| --- | --- | --- | --- |")
    for name, seconds in taken.items():
        print(f"| {name} | {seconds:.2f} | {options.images / seconds:.0f} | {seconds / slower:.2f} |")


if __name__ == "__main__":
    main()
