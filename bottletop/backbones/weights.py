"""The backbone's weights as arrays: their digest, and the file that holds them."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import RESTORE, ArtefactError, reason
from bottletop.core.files import replacing, verified

# Arrays by name, such as "block1_conv1/kernel" of shape (3, 3, 3, 64) and "block1_conv1/bias" of shape (64,).
Arrays = dict[str, NDArray[np.float32]]


def digest(arrays: Arrays) -> str:
    """Returns the SHA-256, as hex, of the names, shapes and little-endian float32 values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], "<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def save(path: Path, arrays: Arrays) -> None:
    """Writes an uncompressed .npz file whose bytes depend only on the arrays."""
    with replacing(path) as new:
        np.savez(new, **{name: arrays[name] for name in sorted(arrays)})  # type: ignore[arg-type]


def load(path: Path) -> Arrays:
    """Reads the arrays from a file that `save` wrote. The file's CRC-32 of each array is verified.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    verified(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing", f"run dvc repro weights, or dvc pull {path}") from error
    except Exception as error:  # numpy, zipfile, zlib and tokenize raise errors of their own for damaged files
        raise ArtefactError(f"{path} can't be read ({reason(error)})", RESTORE) from error
