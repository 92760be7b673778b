"""Features on disk: ``.npy`` files for each shard, one per kind of features, and a manifest that describes them.

``rows.csv``, beside the features, has one line per image, in order: the image's `pixels_id`, its shard, and a CRC-32
for each kind of features. The checksums reveal rows that a crash left half-written, or that were changed later.
"""

import csv
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from bottletop.backbones.networks import Backbone, Kind, Precision
from bottletop.core.errors import RESTORE, ArtefactError
from bottletop.core.files import read_json, verified, write_json
from bottletop.core.settings import Params, parse

MANIFEST, ROWS = "manifest.json", "rows.csv"


class ExtractParams(Params, frozen=True, kw_only=True):
    """Section ``extract`` of params.yaml."""

    # No default: dvc.yaml reads the name from params.yaml.
    backbone: Backbone
    # Side of the square images; auto: the dataset's, else the backbone's.
    image_side_px: Annotated[int, Meta(ge=32, le=1024)] | Literal["auto"] = "auto"
    precision: Precision = "auto"  # auto: bfloat16 where the CPU or every GPU supports it, else float32
    bottleneck: bool = True  # also keep the bottleneck, for tops on it: 49 KB per image with VGG16 at 224 px


class ShardShape(Params, frozen=True, kw_only=True):
    """The label, number and ids of one shard's images."""

    label: str
    rows: int
    ids_sha256: str  # of the images' ids, in order


class Manifest(Params, frozen=True, kw_only=True, omit_defaults=True):
    """The content of ``manifest.json``: how the features were computed, and of which images."""

    backbone: str
    weights_digest: str
    preprocessing: str
    image_side_px: int
    precision: Literal["float32", "bfloat16"]
    dtype: str
    pooled_shape: tuple[int, ...]  # of one image
    bottleneck_shape: tuple[int, ...] | None  # of one image; None: the bottleneck is not kept
    rows: int
    ids_sha256: str  # of all images' ids, in index order
    shards: dict[str, ShardShape]  # by file stem, in index order
    versions: dict[str, str]
    at_once: dict[str, int] = msgspec.field(default_factory=dict)  # "images": batch size; "threads"
    engine: Literal["ncnn", "tensorflow"] = "tensorflow"  # the engine that computed the features

    def shapes(self) -> dict[Kind, tuple[int, ...]]:
        """Returns the shape of one image's features for each kind that is kept."""
        bottleneck: dict[Kind, tuple[int, ...]] = {"bottleneck": self.bottleneck_shape} if self.bottleneck_shape else {}
        return {"pooled": self.pooled_shape, **bottleneck}

    def contract(self) -> dict[str, object]:
        """Returns the properties that features must share with those that a top was trained on."""
        return {
            "backbone": self.backbone,
            "weights_digest": self.weights_digest,
            "preprocessing": self.preprocessing,
            "image_side_px": self.image_side_px,
            "engine": self.engine,
            "precision": self.precision,
        }

    def recipe(self) -> dict[str, object]:
        """Returns everything that determines an image's features, apart from the image."""
        return {**self.contract(), "dtype": self.dtype}


def stem(shard: str) -> str:
    """Returns a shard's name without its ending: ``cat-000`` for ``cat-000.tar``."""
    return shard.removesuffix(".tar")


def feature_file(folder: Path, shard: str, kind: Kind) -> Path:
    """Returns the path of the ``.npy`` file with one kind of features of a shard."""
    return folder / (stem(shard) + (".pooled.npy" if kind == "pooled" else ".npy"))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes ``manifest.json`` to a features folder."""
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Reads ``manifest.json`` from a features folder.

    Raises:
        ArtefactError: the file is missing or damaged.
        ParamsError: a key is missing or unknown, or a value has the wrong type.
    """
    path = verified(folder / MANIFEST)
    try:
        return parse(Manifest, read_json(path), "manifest", path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing", f"run dvc repro extract@{folder.name}") from error


def read_checksums(folder: Path, kind: Kind) -> NDArray[np.uint32]:
    """Reads the CRC-32 of each image's features of one kind, in index order: uint32, (rows,).

    Raises:
        ArtefactError: ``rows.csv`` is missing or damaged.
    """
    path = verified(folder / ROWS)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return np.array([int(row[kind]) for row in csv.DictReader(file)], np.uint32)
    except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtefactError(f"{path} can't be read ({error})", RESTORE) from error
