"""Reuse of features that were computed before: an extraction computes only the features of new images.

An image's features depend on its bytes and on the recipe: backbone, weights, preprocessing, image side, engine,
precision and dtype. Where all of these are the same, the features are taken from extractions that were killed, from the
last one that ended, from the version that dvc.lock names, and from the commit that experiments start from. The last two
are in DVC's cache or on its remote, and are linked, not copied. A shard of the same images in the same order is linked
as a whole, once all its rows are verified.
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
from bottletop.core.files import SUMS, replacing, sha256_text, write_sums, write_text
from bottletop.core.paths import repository
from bottletop.features.manifest import MANIFEST, ROWS, Manifest, feature_file, read_manifest, stem, write_manifest
from bottletop.features.versions import Folder, Local, Version
from bottletop.images.index import ImageRow

Row = dict[Kind, NDArray[np.float16]]  # one image's features
LOCK, FEATURES = "lock", "features"


class _Place(NamedTuple):
    """Where one image's features are stored: a row of a shard's files in a folder."""

    folder: Folder
    shard: str
    position: int
    checksums: dict[Kind, int]


class Earlier:
    """Features that were computed before with the same recipe, by the image's id."""

    def __init__(self, manifest: Manifest) -> None:
        """Starts without features; `manifest` describes the features that are wanted."""
        self._recipe, self._kinds = manifest.recipe(), tuple(manifest.shapes())
        self._places: dict[str, _Place] = {}
        self._shards: dict[str, list[_Place]] = {}  # by the SHA-256 of the images' ids, in order
        self._shard: tuple[Folder, str] | None = None  # the shard whose files are open
        self._files: dict[Kind, _File] = {}

    def add(self, folder: Folder) -> bool:
        """Registers the features in a folder, which may be half-written.

        Returns:
            False if the folder is of no more use: its recipe is the same, but it has no new images and no further kind
            of features. Otherwise True, also if it cannot be read.
        """
        try:
            manifest = read_manifest(folder.file(MANIFEST).parent)
            rows = folder.file(ROWS).read_text(encoding="utf-8").splitlines()
        except (BottletopError, OSError, ValueError):  # killed before writing them, or by an older version
            return True
        if manifest.recipe() != self._recipe:
            return True
        images: dict[str, list[str]] = {}
        places: dict[str, list[_Place]] = {}
        known = len(self._places)
        for row in csv.DictReader(rows):
            try:
                shard, image = row["shard"], row["id"]
                checksums = {kind: int(row[kind]) for kind in self._kinds}
            except (KeyError, TypeError, ValueError):  # the line is cut off or damaged, or a kind was not kept
                continue
            images.setdefault(shard, []).append(image)
            of_shard = places.setdefault(shard, [])
            of_shard.append(_Place(folder, shard, len(of_shard), checksums))
            self._places.setdefault(image, of_shard[-1])
        for shard, ids in images.items():
            self._shards.setdefault(sha256_text(ids), places[shard])
        return len(self._places) > known or not set(manifest.shapes()) <= set(self._kinds)

    def __contains__(self, image: str) -> bool:
        """Whether features of the image with this id are registered; they may still turn out to be damaged."""
        return image in self._places

    def row(self, image: str) -> Row | None:
        """Returns the features of the image with this id, or None if there are none or they are damaged."""
        return self._read(self._places[image]) if image in self._places else None

    def whole(self, images: Sequence[str]) -> tuple[dict[Kind, Path], list[dict[Kind, int]]] | None:
        """Finds the files that hold the features of exactly these images, in this order.

        Returns:
            The file of each kind, and each image's checksums. None if there are no such files, or they are damaged.
        """
        places = self._shards.get(sha256_text(images))
        if places is None or any(self._read(place) is None for place in places):
            return None
        if any(file.rows != len(images) for file in self._files.values()):
            return None
        return {kind: file.path for kind, file in self._files.items()}, [place.checksums for place in places]

    def close(self) -> None:
        """Closes all open files."""
        for file in self._files.values():
            file.close()
        self._files, self._shard = {}, None

    def _read(self, place: _Place) -> Row | None:
        """Reads and verifies one image's features; None if they cannot be read or a checksum differs."""
        try:
            self._turn_to(place.folder, place.shard)
            data = {kind: file.read(place.position) for kind, file in self._files.items()}
        except (OSError, ValueError):
            return None
        if any(zlib.crc32(data[kind]) != place.checksums[kind] for kind in self._kinds):
            return None
        return {kind: np.frombuffer(data[kind], np.float16).reshape(self._files[kind].shape) for kind in self._kinds}

    def _turn_to(self, folder: Folder, shard: str) -> None:
        """Opens a shard's files. Images come shard by shard, so only one shard's files are open at a time."""
        if self._shard != (folder, shard):
            self.close()
            for kind in self._kinds:
                self._files[kind] = _File(folder.file(feature_file(Path(), shard, kind).name))
            self._shard = folder, shard


class _File:
    """A .npy file that is read row by row; it may be cut off."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path.open("rb")
        np.lib.format.read_magic(self._file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
        self.rows, self.shape = shape[0], shape[1:]
        self._start, self._bytes = self._file.tell(), int(np.prod(self.shape)) * dtype.itemsize

    def read(self, position: int) -> bytes:
        """Returns the bytes of one row, fewer where the file is cut off."""
        self._file.seek(self._start + position * self._bytes)
        return self._file.read(self._bytes)

    def close(self) -> None:
        self._file.close()


class Work:
    """A new folder to which features are written, image by image."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._shapes = folder, manifest.shapes()
        folder.mkdir()
        write_manifest(folder, manifest)
        write_text(folder / ROWS, f"id,shard,{','.join(self._shapes)}\n")

    def write(self, images: Sequence[str], shard: str, rows: Iterable[Row]) -> None:
        """Writes one shard's features.

        Args:
            images: the ids of the shard's images.
            shard: the name of the shard.
            rows: the features of these images, in the same order.

        Raises:
            OSError: the files cannot be written. A full disk raises this, too; it does not crash the process.
        """
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
                    file.flush()  # before the log lists the row
                log.write(self._line(image, shard, {kind: zlib.crc32(data[kind]) for kind in files}))

    def link(self, images: Sequence[str], shard: str, earlier: Earlier) -> bool:
        """Links the earlier files of a whole shard. Returns False if there are none."""
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
        """Formats an image's line of rows.csv."""
        return f"{image},{stem(shard)},{','.join(str(checksums[kind]) for kind in self._shapes)}\n"


@contextmanager
def unfinished(folder: Path, manifest: Manifest, images: Iterable[ImageRow]) -> Iterator[tuple[Work, Earlier]]:
    """Yields a new folder to write features to, and the earlier features of the `images`.

    If the block succeeds, the new features replace `folder`, and the leftovers of its earlier extractions are removed.
    If the process is killed, the next extraction finds the features that it computed. It also finds those of the last
    one that ended: if DVC is killed before it has recorded the stage, it removes the output and runs the stage again.
    `remove_recorded` removes them later.
    """
    # The work is kept in the main repository: no later command finds the folder of a killed `dvc exp run --temp`.
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=root))
    with ExitStack() as stack:
        stack.enter_context(FileLock(own / LOCK))
        found = Earlier(manifest)
        stack.callback(found.close)
        of_folder = (path for path in root.iterdir() if path.name.rpartition("-")[0] == folder.name)
        left = [path for path in of_folder if _is_abandoned(path, stack)]
        for path in sorted(left, key=_most_rows_first):
            if not found.add(Local(path / FEATURES)):  # so that repeated kills do not fill the disk
                shutil.rmtree(path, ignore_errors=True)
                left.remove(path)
        for rev in (None, "HEAD") if (repository() / "dvc.lock").exists() else ():
            if not all(row.pixels_id in found for row in images):
                found.add(Version(folder, rev, Path(tempfile.mkdtemp(dir=own))))
        yield Work(own / FEATURES, manifest), found
        write_sums(own / FEATURES, (MANIFEST, ROWS))
        with replacing(folder) as staging:
            shutil.copytree(own / FEATURES, staging, copy_function=_link)
        for path in left:
            shutil.rmtree(path, ignore_errors=True)  # some file systems keep the names of locked files


def remove_recorded() -> None:
    """Removes what ended extractions have kept, once DVC has written dvc.lock after them."""
    with ExitStack() as stack:
        for path in _root().glob("*"):
            if is_recorded(path) and _is_abandoned(path, stack):
                shutil.rmtree(path, ignore_errors=True)


def is_recorded(path: Path) -> bool:
    """Whether the extraction of this folder has ended, and DVC has written dvc.lock since."""
    lock, sums = repository() / "dvc.lock", path / FEATURES / SUMS
    return lock.exists() and sums.exists() and sums.stat().st_mtime < lock.stat().st_mtime


def _root() -> Path:
    """Returns the folder of unfinished extractions and of those that have just ended."""
    return repository() / ".dvc/tmp/bottletop/features"


def _is_abandoned(path: Path, stack: ExitStack) -> bool:
    """Whether no process writes to the folder any more. If so, it is locked against others until `stack` closes."""
    try:
        stack.enter_context(FileLock(path / LOCK, blocking=False))
    except Timeout:
        return False
    return True


def _most_rows_first(path: Path) -> tuple[int, str]:
    """A sort key: folders with a larger rows.csv come first, then by name."""
    rows = path / FEATURES / ROWS
    return -rows.stat().st_size if rows.exists() else 0, path.name


def _link(path: str | Path, target: str | Path) -> None:
    """Creates a hard link, or a copy where linking is impossible, such as between disks."""
    try:
        os.link(os.path.realpath(path), target)
    except OSError:
        shutil.copyfile(path, target)
