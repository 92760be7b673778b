"""Finds the files that hold many images each: Parquet, IDX and the binary version of CIFAR."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from pathlib import Path, PurePosixPath

from bottletop.core.errors import DataError
from bottletop.core.files import EMPTY_FOLDER, files_below
from bottletop.download import cifar, idx
from bottletop.download.archives import MAX_MEMBER_BYTES, Member
from bottletop.download.archives import members as archive_members
from bottletop.download.kinds import is_image
from bottletop.download.layout import BESIDE
from bottletop.download.records import Record, members

PARQUET = b"PAR1"  # the first bytes of a Parquet file
IMAGE_BESIDE = "an image beside files that hold many"


def opened(path: Path) -> Iterator[Member] | None:
    """Returns the images of files that hold many, as the members of an archive ``split/class/number.ending``.

    Args:
        path: a Parquet file, or a folder or archive with Parquet, IDX or CIFAR files. The files of an archive are
            unpacked to a temporary folder while they are read.

    Returns:
        The images, then all other files with a `problem`, as they are not taken; None if there are no files that hold
        many images, so that these are images or an archive of images.

    Raises:
        DataError: the archive or a file is damaged, the files do not fit together, or they are pickles.
    """
    if path.is_dir():
        return images({file.relative_to(path).as_posix(): file for file in files_below(path)})
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(len(PARQUET)) == PARQUET:
            return images({f"{path.stem}.parquet": path})
    if is_container(path.name):
        return images({path.name: path})
    names = _names_in(path)
    cifar.refuse_pickles(names)
    return _unpacked(path) if any(map(is_container, names)) else None


def images(files: Mapping[str, Path]) -> Iterator[Member] | None:
    """Does for the files of one dataset what `opened` does for a folder.

    Args:
        files: paths by name, with forward slashes.
    """
    cifar.refuse_pickles(files)
    if any(idx.NAMES.search(name) for name in files):
        return chain(_named(idx.read(files)), _others(files, lambda name: bool(idx.NAMES.search(name))))
    if cifar.found(files):
        return chain(
            _named(cifar.read(files), cifar.class_names(files)),
            _others(files, lambda name: bool(cifar.NAMES.search(name))),
        )
    tables = {name: path for name, path in files.items() if name.endswith(".parquet")}
    if tables:
        from bottletop.download import parquet  # pyarrow takes half a second to import; few datasets need it

        if any(map(parquet.has_images, tables.values())):
            read = {path.resolve() for path in tables.values() if parquet.has_images(path)}  # and the images they name
            found = _named(parquet.read(tables, read), parquet.class_names(tables))
            return chain(found, _others(files, lambda name: files[name].resolve() in read))
    return None


def _others(files: Mapping[str, Path], is_read: Callable[[str], bool]) -> Iterator[Member]:
    """Yields the files that are not read, for the count of what is left out."""
    return (_left_out(name, path.stat().st_size) for name, path in files.items() if not is_read(name))


def _left_out(name: str, size: int, problem: str = "") -> Member:
    return Member(name, size, bytes, problem or (IMAGE_BESIDE if is_image(name) else BESIDE))


def _named(splits: Iterator[tuple[str, Iterator[Record]]], class_names: Iterable[str] = ()) -> Iterator[Member]:
    """Yields the images of all files, then an empty folder for each class that has none.

    The numbers of the images run through all files of a split.
    """
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
    empty = set(class_names)
    folder = ""  # the split of the last image of a class

    def noted(split: str, records: Iterator[Record]) -> Iterator[Record]:
        nonlocal folder
        for record in records:
            empty.discard(record.label)
            folder = split if record.label else folder
            yield record

    for split, records in splits:
        yield from members(split, noted(split, records), numbers[split])
    for label in sorted(empty):
        yield Member(f"{folder}/{label}".lstrip("/"), 0, bytes, EMPTY_FOLDER)


def _names_in(archive: Path) -> list[str]:
    """Returns the members' names; none if there are images among them, so that an archive of images is soon left."""
    names = []
    for member in archive_members(archive):
        if is_image(member.name):
            return []
        if not member.problem:
            names.append(member.name)
    return names


def is_container(name: str) -> bool:
    """Returns whether a file's name is that of a Parquet, IDX or CIFAR file."""
    if PurePosixPath(name).name.startswith("."):  # such as those that macOS adds to archives
        return False
    return name.endswith(".parquet") or bool(idx.NAMES.search(name) or cifar.NAMES.search(name))


def _unpacked(archive: Path) -> Iterator[Member]:
    """Yields the images from the files of an archive; error messages name the archive, too."""
    with tempfile.TemporaryDirectory() as folder:
        files, others = {}, []
        for member in archive_members(archive):
            if member.problem or not is_container(member.name):
                others.append(_left_out(member.name, member.size, member.problem))
                continue
            if member.size > MAX_MEMBER_BYTES:
                raise DataError(
                    f"{archive}: {member.name} is larger than {MAX_MEMBER_BYTES:,} bytes",
                    "unpack the archive, and let source.folder in datasets.yaml name the folder",
                )
            files[member.name] = Path(folder, archive.name, member.name)
            files[member.name].parent.mkdir(parents=True, exist_ok=True)
            files[member.name].write_bytes(member.read())
        yield from images(files) or ()
        yield from others
