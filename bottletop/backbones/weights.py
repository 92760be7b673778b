"""The backbone's frozen weights as arrays: their digest, and the file that holds them."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottletop.core.files import replacing

Arrays = dict[str, NDArray[np.float32]]  # "block1_conv1/kernel" (3, 3, 3, 64) …, "block1_conv1/bias" (64,) …


def digest(arrays: Arrays) -> str:
    """SHA-256 over names, shapes and little-endian float32 values, layer by layer."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], "<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def save(path: Path, arrays: Arrays) -> None:
    """Writes an uncompressed .npz whose bytes depend on the arrays alone."""
    with replacing(path) as new:
        np.savez(new, **{name: arrays[name] for name in sorted(arrays)})  # type: ignore[arg-type]


def load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
