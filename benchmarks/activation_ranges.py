"""The table `LARGEST` of bottletop/quantised.py: the largest value of each VGG16 layer's output over 64 pictures.

14 photos of each sample archive and 8 digits, at 224 px: one table for all datasets, so that features
depend on the image alone.
"""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import samples
from bottletop.config import load
from bottletop.images import decode, square
from bottletop.paths import CATALOGUE
from bottletop.runtime import keras
from bottletop.vgg16 import MEANS_BGR
from bottletop.weight_sources import LAYERS, WeightsEntry, obtain
from bottletop.weights import digest

SIDE_PX, PHOTOS, DIGITS = 224, 14, 8


def main() -> None:
    weights = obtain(load(WeightsEntry, "weights.vgg16", CATALOGUE))
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIDE_PX, SIDE_PX, 3))
    for layer in LAYERS:
        model.get_layer(layer).set_weights([weights[f"{layer}/kernel"], weights[f"{layer}/bias"]])
    outputs = keras.Model(model.input, [model.get_layer(layer).output for layer in LAYERS])
    largest = np.zeros(len(LAYERS))
    for image in [*photos(), *digits()]:
        values = outputs((image[None, ..., ::-1] - np.array(MEANS_BGR)).astype(np.float32), training=False)
        largest = np.maximum(largest, [float(np.max(each)) for each in values])
    print(f'MEASURED_WITH = "{digest(weights)}"')
    for layer, value in zip(LAYERS, largest, strict=True):
        print(f'    "{layer}": {value:.0f},')


def photos() -> Iterator[NDArray[np.uint8]]:
    """From each archive as many, evenly spaced by name."""
    for name in samples.ARCHIVES.values():
        files = sorted(jpegs(samples.folder() / name), key=lambda file: file[0])
        for position in np.linspace(0, len(files) - 1, PHOTOS).astype(int):
            yield square(decode(files[position][1]), SIDE_PX)


def jpegs(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            yield from ((name, zipped.read(name)) for name in zipped.namelist() if name.endswith((".jpg", ".jpeg")))
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.endswith((".jpg", ".jpeg")) and (file := tar.extractfile(member)) is not None:
                    yield member.name, file.read()


def digits() -> Iterator[NDArray[np.uint8]]:
    for values in load_digits().images[:DIGITS]:
        yield square(Image.fromarray((values / 16 * 255).astype(np.uint8)).convert("RGB"), SIDE_PX)


if __name__ == "__main__":
    main()
