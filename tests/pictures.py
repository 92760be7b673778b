"""Small pictures and archives, the same in every run and on every machine."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)


def photo(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Soft blobs of colour: as a photo does, it survives JPEG and resizing; no two seeds look alike."""
    blobs = np.frombuffer(hashlib.shake_128(str(seed).encode()).digest(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file's bytes; `kind` and `options` are Pillow's."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return encode(photo(seed, size), "JPEG")


def png(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return encode(photo(seed, size), "PNG")


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """Compressed if `path` ends with ``gz``."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
