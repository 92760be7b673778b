"""The datasets described in datasets.yaml: where their images come from and how they are labelled."""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta

from bottletop.core.errors import ParamsError
from bottletop.core.paths import CATALOGUE, repository
from bottletop.core.settings import Params, parse, read_yaml


class Source(Params, frozen=True, kw_only=True, dict=True):
    """Where a dataset's images come from: exactly one of `urls`, `folder` and `builtin`."""

    urls: tuple[str, ...] = ()  # of one archive, tried in order; http(s): or file:
    folder: str | None = None  # relative to the repository's root, absolute, or starting with ~
    builtin: Literal["digits"] | None = None  # scikit-learn's handwritten digits
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None  # checksum of the archive
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] | None = None  # used where sha256 is not set
    # Pattern of the members to take. {label}, {split}, {number} and * each match text within one path component.
    images: str = "{label}/*"
    # Folder name -> display name, where they differ.
    names: dict[str, str] = {}  # noqa: RUF012 (copied for each struct)
    numbered: tuple[str, ...] = ()  # class names in order, where {number} gives the class
    images_per_number: Annotated[int, Meta(ge=1)] = 1  # image n has class numbered[(n - 1) // images_per_number]
    test_list: str | None = None  # member that lists the official test images, one label/name per line
    classes: tuple[str, ...] | None = None  # display names of the classes to take; None takes all
    max_per_class: Annotated[int, Meta(ge=1)] | None = None  # maximum number of images per class, chosen by `seed`
    seed: int = 0

    def __post_init__(self) -> None:
        if (bool(self.urls) + (self.folder is not None) + (self.builtin is not None)) != 1:
            raise ValueError("exactly one of urls, folder and builtin must be set")
        if bool(self.numbered) != ("{number}" in self.images):
            raise ValueError("numbered and a {number} in images go together")
        if self.images.count("{label}") + self.images.count("{number}") != 1 or self.images.count("{split}") > 1:
            raise ValueError("images must hold {label} or {number} once, and {split} at most once")
        for url in self.urls:
            if not url.startswith(("https://", "http://", "file:")):
                raise ValueError(f"urls must begin with https://, http:// or file:, got {url!r}")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\{label\}|\{split\}|\{number\}|\*)", self.images)
        named = {"{label}": "(?P<label>[^/]+)", "{split}": "(?P<split>[^/]+)", "{number}": r"(?P<number>\d+)"}
        return re.compile("".join(named.get(part, "[^/]*" if part == "*" else re.escape(part)) for part in parts))

    def matches(self, member: str) -> bool:
        """Returns whether a member's name matches the pattern `images`."""
        return self._pattern.fullmatch(member) is not None

    def label(self, member: str) -> tuple[str, str] | None:
        """Returns the class and the official split of a member, or None if the member is not taken.

        Args:
            member: path within the archive or folder, with forward slashes.

        Returns:
            The class's display name, and ``"train"``, ``"test"`` or, if `images` has no {split}, an empty string. Every
            {split} other than ``test`` counts as training. None if the name does not match `images`, the file is
            hidden, or its class is not among those to take.
        """
        match = self._pattern.fullmatch(member)
        if match is None or Path(member).name.startswith("."):
            return None
        found = match.groupdict()
        if self.numbered:
            position = (int(found["number"]) - 1) // self.images_per_number
            if not 0 <= position < len(self.numbered):
                return None
            label = self.numbered[position]
        else:
            label = self.names.get(found["label"], found["label"])
        if self.classes is not None and label not in self.classes:
            return None
        split = found.get("split")
        return label, "" if split is None else "test" if split == "test" else "train"


class Dataset(Params, frozen=True, kw_only=True):
    """One entry of datasets.yaml."""

    title: str
    homepage: str = ""
    licence: str = ""
    # Side of the square that images are resized to; auto: the backbone's own.
    image_side_px: Annotated[int, Meta(ge=32, le=1024)] | Literal["auto"]
    source: Source


def dataset(name: str) -> Dataset:
    """Returns the entry of datasets.yaml with this name.

    Raises:
        ParamsError: the name is invalid, or the entry is missing or malformed.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ParamsError(f"a dataset's name is made of letters, digits, - and _, got {name!r}", "edit datasets.yaml")
    known = (read_yaml(CATALOGUE) or {}).get("datasets") or {}
    if name not in known:
        raise ParamsError(f"dataset {name!r} is not in {CATALOGUE}, which has {', '.join(known)}", "add an entry")
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
