"""The datasets that datasets.yaml describes: where images come from and which label each has."""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta

from bottletop.core.errors import ParamsError
from bottletop.core.paths import CATALOGUE, repository
from bottletop.core.settings import Params, load, read_yaml


class Source(Params, frozen=True, kw_only=True, dict=True):
    """Where a dataset's images come from: exactly one of `urls`, `folder` and `builtin`."""

    urls: tuple[str, ...] = ()  # an archive's addresses, tried in order: http(s): or file:
    folder: str | None = None  # relative to the repository's root, or absolute
    builtin: Literal["digits"] | None = None  # scikit-learn's
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None  # of the archive
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] | None = None
    images: str = "{label}/*"  # which members: {label}, {split} and {number} stand for one path part, * too
    names: dict[str, str] = {}  # noqa: RUF012 (copied for each struct); folder name -> display name, where they differ
    numbered: tuple[str, ...] = ()  # class names in order, for {number}
    images_per_number: Annotated[int, Meta(ge=1)] = 1  # image n is of class (n - 1) // images_per_number
    test_list: str | None = None  # the member that lists the official test images: a line each, label/name
    classes: tuple[str, ...] | None = None  # only these, by display name
    max_per_class: Annotated[int, Meta(ge=1)] | None = None  # at most this many, chosen by `seed`
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
        """Whether `images` describes this name."""
        return self._pattern.fullmatch(member) is not None

    def label(self, member: str) -> tuple[str, str] | None:
        """The class and official split (``"train"``, ``"test"`` or empty) of a member; None if it is not taken."""
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
    image_side_px: Annotated[int, Meta(ge=32, le=1024)] | Literal["auto"]  # square; auto: the backbone's own
    source: Source


def dataset(name: str) -> Dataset:
    """The entry of that name.

    Raises:
        ParamsError: there is none, or it is malformed.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ParamsError(f"a dataset's name is made of letters, digits, - and _, got {name!r}", "edit datasets.yaml")
    known = (read_yaml(CATALOGUE) or {}).get("datasets") or {}
    if name not in known:
        raise ParamsError(f"dataset {name!r} is not in {CATALOGUE}, which has {', '.join(known)}", "add an entry")
    return load(Dataset, f"datasets.{name}", CATALOGUE)


def image_side_px(name: str, wanted: int | Literal["auto"]) -> int:
    """The wanted side in pixels; for ``auto``, that of the dataset's entry.

    Raises:
        ParamsError: neither says.
    """
    side = dataset(name).image_side_px if wanted == "auto" else wanted
    if side == "auto":
        raise ParamsError(f"how large {name}'s images should be is not said", "set cnn.image_side_px in params.yaml")
    return side


def local_path(path: str) -> Path:
    """A path or ``file:`` address of the catalogue, resolved against the main repository's root."""
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file:").removeprefix("//"))
    return repository() / Path(path).expanduser()
