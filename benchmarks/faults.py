"""Flips single bits in the files below ``data/`` of a finished project, and runs what reads them, as a bad disk would.

A flip must be refused with a message, or must not change any output. Prints a table; ends with 1 if a flip changed an
output in silence, or ended in a traceback. ``python -m benchmarks.faults 200`` flips 200 bits.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from tabulate import tabulate

from benchmarks import samples
from bottletop.core.errors import BottletopError
from bottletop.core.files import file_digest
from bottletop.core.paths import Paths, weights_file
from bottletop.core.settings import load
from tests import project

PATHS = Paths(project.DATASET)
OUTCOMES = ("refused", "no effect", "traceback", "changed in silence")
Outputs = dict[str, str]  # digest or value of each output, by name


def main(rounds: int) -> int:
    """Flips so many bits, one at a time, and returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(project.finish(Path(folder)).folder)
        os.environ.update(samples.environment(Path.cwd()))
        readers = {PATHS.images: (split, extract, evaluate), PATHS.split: (train, evaluate), PATHS.features: (train,)}
        readers |= {weights_file("vgg16"): (extract, predict), PATHS.model: (evaluate, predict)}
        expected = {reader: reader() for reader in dict.fromkeys(sum(readers.values(), ()))}
        counts: Counter[tuple[str, str]] = Counter()
        chance = np.random.default_rng(0)
        for _ in range(rounds):
            place = list(readers)[chance.integers(len(readers))]
            files = sorted(place.iterdir()) if place.is_dir() else [place]
            path = files[chance.integers(len(files))]
            bit = int(chance.integers(8 * path.stat().st_size))
            with flipped(path, bit):
                outcome = max((attempt(reader, expected[reader]) for reader in readers[place]), key=OUTCOMES.index)
            counts[str(place), outcome] += 1
            if outcome in OUTCOMES[2:]:
                print(f"{outcome}: bit {bit} of {path}", flush=True)
        rows = [[place, *(counts[str(place), outcome] for outcome in OUTCOMES)] for place in readers]
        print(tabulate(rows, ("bits flipped in", *OUTCOMES), tablefmt="github"))
        return int(any(counts[str(place), outcome] for place in readers for outcome in OUTCOMES[2:]))


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Flips a bit in place, so in DVC's cache too, without a change of the file's times; flips it back at the end."""
    before = path.stat()
    _flip(path, bit)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    try:
        yield
    finally:
        _flip(path, bit)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        value = file.read(1)[0] ^ 1 << bit % 8
        file.seek(bit // 8)
        file.write(bytes([value]))


def attempt(reader: Callable[[], Outputs], expected: Outputs) -> str:
    """Returns the outcome of one reader; of several, the one that comes last in `OUTCOMES` counts."""
    try:
        return "no effect" if reader() == expected else "changed in silence"
    except BottletopError:
        return "refused"
    except Exception as error:  # what a user would see as a traceback
        print(f"{type(error).__name__}: {error}")
        return "traceback"


def split() -> Outputs:
    """Runs the stage."""
    from bottletop.images.index import read_index
    from bottletop.split import SplitParams, assign_splits

    return {"split": str(assign_splits(read_index(PATHS.index), load(SplitParams, "split")))}


def extract() -> Outputs:
    """Runs the stage where no features are found that were computed before."""
    from bottletop.backbones import weights
    from bottletop.backbones.extractor import Extractor, best_engine
    from bottletop.features.extraction import extract
    from bottletop.features.manifest import ExtractParams
    from bottletop.images.index import Index

    with elsewhere() as folder:
        params = load(ExtractParams, "extract")
        engine = best_engine(params.backbone, params.precision)
        extractor = Extractor(params.backbone, weights.load(weights_file(params.backbone)), 32, engine)
        extract(Index(PATHS.index), PATHS.images, extractor, params, folder / "features")
        return digests(folder / "features")


def train() -> Outputs:
    """Runs the stage."""
    from bottletop.models import kinds, training
    from bottletop.models.params import TopParams

    with elsewhere() as folder:
        trained = kinds.train(load(TopParams, "train"), PATHS, lambda _: None)
        training.save(folder / "model", folder / "history.csv", trained)
        return digests(folder / "model")


def evaluate() -> Outputs:
    """Runs the stage."""
    from bottletop.evaluation.scores import EvaluateParams
    from stages import evaluate

    evaluate.run(load(EvaluateParams, "evaluate"), PATHS)
    return digests(PATHS.metrics)


def predict() -> Outputs:
    """Classifies an image."""
    from bottletop.inference import classifier

    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    model = classifier.load(classifier.Files(project.DATASET, PATHS.model, weights_file("vgg16")))
    return {"probabilities": str(model.probabilities(images).tolist()), "classes": str(model.class_names)}


@contextmanager
def elsewhere() -> Iterator[Path]:
    """Yields a folder for outputs that is the main repository meanwhile, so that nothing is found in the real one."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, DVC_ROOT=folder):
        yield Path(folder)


def digests(folder: Path) -> Outputs:
    """Returns the digest of each file below the folder."""
    return {str(path.relative_to(folder)): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
