"""Features that were computed before, found again by image: an extraction computes what is new, and nothing else.

An image's features depend on its bytes and on the recipe: backbone, weights, preprocessing, side and precision. Where
these are the same, they are taken from extractions that were killed, from the version that dvc.lock names, and from the
commit that experiments start from; the last two are in DVC's cache or on its remote, and are linked, not copied. A
shard of the same images in the same order is linked as a whole, once all its rows are verified.

``rows.csv``, beside the features, has a line per image, in order: its id, its shard, and a CRC-32 for
each kind of features, so that a row which a crash has left half-written is not taken for a whole one.
"""

import csv
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bottletop.backbones.networks import Kind
from bottletop.core.errors import BottletopError
from bottletop.core.files import replacing, sha256_text, write_text
from bottletop.core.paths import repository
from bottletop.features.manifest import Manifest, feature_file, read_manifest, stem, write_manifest
from bottletop.features.versions import Folder, Local, Version
from bottletop.images.index import ImageRow

Row = dict[Kind, NDArray[np.float16]]  # one image's features
ROWS, LOCK, FEATURES = "rows.csv", "lock", "features"


class _Place(NamedTuple):
    """Where the features of one image are."""

    folder: Folder
    shard: str
    position: int
    checksums: dict[Kind, int]


class Earlier:
    """The features, by image, that the same recipe has computed before."""

    def __init__(self, manifest: Manifest) -> None:
        """Nothing yet; `manifest` is of the features that are wanted."""
        self._recipe, self._kinds = manifest.recipe(), tuple(manifest.shapes())
        self._places: dict[str, _Place] = {}
        self._shards: dict[str, list[_Place]] = {}  # by the SHA-256 of their images' ids, in order
        self._shard: tuple[Folder, str] | None = None  # the one whose files are open
        self._files: dict[Kind, _File] = {}

    def add(self, folder: Folder) -> bool:
        """Looks up what the folder holds, a half-written one as far as it goes; whether that may be of use later on."""
        try:
            manifest = read_manifest(folder.file("manifest.json").parent)
            rows = folder.file(ROWS).read_text(encoding="utf-8").splitlines()
        except (BottletopError, OSError, ValueError):  # killed before they were written, or of an older program
            return True
        if manifest.recipe() != self._recipe:
            return True
        images: dict[str, list[str]] = {}
        places: dict[str, list[_Place]] = {}
        known = len(self._places)
        for row in csv.DictReader(rows):
            shard, image = row["shard"], row["id"]
            try:
                checksums = {kind: int(row[kind]) for kind in self._kinds}
            except (KeyError, TypeError, ValueError):  # the last line, cut off, or this kind was left out
                continue
            images.setdefault(shard, []).append(image)
            of_shard = places.setdefault(shard, [])
            of_shard.append(_Place(folder, shard, len(of_shard), checksums))
            self._places.setdefault(image, of_shard[-1])
        for shard, ids in images.items():
            self._shards.setdefault(sha256_text(ids), places[shard])
        return len(self._places) > known or not set(manifest.shapes()) <= set(self._kinds)

    def __contains__(self, image: str) -> bool:
        return image in self._places

    def row(self, image: str) -> Row | None:
        """An image's features, by its id; None if there are none, or they are damaged."""
        return self._read(self._places[image]) if image in self._places else None

    def whole(self, images: Sequence[str]) -> tuple[dict[Kind, Path], list[dict[Kind, int]]] | None:
        """The files that hold the features of these images, in this order, and of no others, and each one's checksums.

        None if there are no such files, or they are damaged.
        """
        places = self._shards.get(sha256_text(images))
        if places is None or any(self._read(place) is None for place in places):
            return None
        if any(file.rows != len(images) for file in self._files.values()):
            return None
        return {kind: file.path for kind, file in self._files.items()}, [place.checksums for place in places]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files, self._shard = {}, None

    def _read(self, place: _Place) -> Row | None:
        try:
            self._turn_to(place.folder, place.shard)
            data = {kind: file.read(place.position) for kind, file in self._files.items()}
        except (OSError, ValueError):
            return None
        if any(zlib.crc32(data[kind]) != place.checksums[kind] for kind in self._kinds):
            return None
        return {kind: np.frombuffer(data[kind], np.float16).reshape(self._files[kind].shape) for kind in self._kinds}

    def _turn_to(self, folder: Folder, shard: str) -> None:
        """Images come shard by shard, so one shard's files are open at a time."""
        if self._shard != (folder, shard):
            self.close()
            for kind in self._kinds:
                self._files[kind] = _File(folder.file(feature_file(Path(), shard, kind).name))
            self._shard = folder, shard


class _File:
    """A .npy file, whole or cut off, read row by row."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path.open("rb")
        np.lib.format.read_magic(self._file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
        self.rows, self.shape = shape[0], shape[1:]
        self._start, self._bytes = self._file.tell(), int(np.prod(self.shape)) * dtype.itemsize

    def read(self, position: int) -> bytes:
        self._file.seek(self._start + position * self._bytes)
        return self._file.read(self._bytes)

    def close(self) -> None:
        self._file.close()


class Work:
    """A folder that features are written to, image by image."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._shapes = folder, manifest.shapes()
        folder.mkdir()
        write_manifest(folder, manifest)
        write_text(folder / ROWS, f"id,shard,{','.join(self._shapes)}\n")

    def write(self, images: Sequence[str], shard: str, rows: Iterable[Row]) -> None:
        """Writes one shard's features, given the ids of its images; a full disk is an error, not a crash."""
        with ExitStack() as stack:
            log = stack.enter_context((self._folder / ROWS).open("a", encoding="utf-8", buffering=1))
            paths = {kind: feature_file(self._folder, shard, kind) for kind in self._shapes}
            files = {kind: stack.enter_context(path.open("wb")) for kind, path in paths.items()}
            for kind, file in files.items():
                header = {"descr": "<f2", "fortran_order": False, "shape": (len(images), *self._shapes[kind])}
                np.lib.format.write_array_header_1_0(file, header)
            for image, row in zip(images, rows, strict=True):
                data = {kind: row[kind].tobytes() for kind in files}
                for kind, file in files.items():
                    file.write(data[kind])
                    file.flush()  # before the log says that it is there
                log.write(self._line(image, shard, {kind: zlib.crc32(data[kind]) for kind in files}))

    def link(self, images: Sequence[str], shard: str, earlier: Earlier) -> bool:
        """Takes over the files of a whole shard, if there are any; else returns False."""
        found = earlier.whole(images)
        if found is None:
            return False
        files, checksums = found
        for kind, path in files.items():
            _link(path, feature_file(self._folder, shard, kind))
        with (self._folder / ROWS).open("a", encoding="utf-8") as log:
            log.writelines(
                self._line(image, shard, of_image) for image, of_image in zip(images, checksums, strict=True)
            )
        return True

    def _line(self, image: str, shard: str, checksums: dict[Kind, int]) -> str:
        return f"{image},{stem(shard)},{','.join(str(checksums[kind]) for kind in self._shapes)}\n"


@contextmanager
def unfinished(folder: Path, manifest: Manifest, images: Iterable[ImageRow]) -> Iterator[tuple[Work, Earlier]]:
    """Where to write features to, and what there is already of the `images`, by id.

    If the block succeeds, the features take the place of `folder`, and what killed extractions of it left is removed.
    If the process is killed, the next one finds what it has done.
    """
    # In the main repository: of a killed `dvc exp run --temp`, no later command finds the folder.
    root = repository() / ".dvc/tmp/bottletop/features"
    root.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=root))
    with ExitStack() as stack:
        stack.enter_context(FileLock(own / LOCK))
        found = Earlier(manifest)
        stack.callback(found.close)
        of_folder = (path for path in root.iterdir() if path.name.rpartition("-")[0] == folder.name)
        left = [path for path in of_folder if _is_abandoned(path, stack)]
        for path in sorted(left, key=_most_rows_first):
            if not found.add(Local(path / FEATURES)):  # so that many kills do not fill the disk
                shutil.rmtree(path, ignore_errors=True)
                left.remove(path)
        for rev in (None, "HEAD") if (repository() / "dvc.lock").exists() else ():
            if not all(row.id in found for row in images):
                found.add(Version(folder, rev, Path(tempfile.mkdtemp(dir=own))))
        yield Work(own / FEATURES, manifest), found
        with replacing(folder) as staging:
            shutil.move(own / FEATURES, staging)
        for path in (own, *left):
            shutil.rmtree(path, ignore_errors=True)  # of locked files, some file systems keep the names


def _is_abandoned(path: Path, stack: ExitStack) -> bool:
    """Whether nobody writes to it any more; keeps others from taking it, too."""
    try:
        stack.enter_context(FileLock(path / LOCK, blocking=False))
    except Timeout:
        return False
    return True


def _most_rows_first(path: Path) -> tuple[int, str]:
    rows = path / FEATURES / ROWS
    return -rows.stat().st_size if rows.exists() else 0, path.name


def _link(path: Path, target: Path) -> None:
    """A hard link, or a copy where that can't be had, such as between disks."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)
