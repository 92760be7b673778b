"""Small weights, images, features and params that the tests share."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import made_up
from bottletop.backbones.extractor import BFLOAT16, NCNN, TENSORFLOW
from bottletop.backbones.networks import Kind, Pooling
from bottletop.backbones.weights import Arrays
from bottletop.core.settings import parse, read_yaml
from bottletop.download.shards import ShardWriter
from bottletop.download.weight_sources import LAYERS
from bottletop.features.manifest import ExtractParams, Manifest
from bottletop.features.reuse import Work
from bottletop.images.index import ImageRow
from bottletop.models.params import TopParams
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import SplitRow
from tests.pictures import png

ROOT = Path(__file__).parents[1]
ENGINES = (NCNN, TENSORFLOW, BFLOAT16)
MEANS_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as VGG16 was trained
POOLED_FEATURES = 2 * (256 + 512 + 512)  # of VGG16: averages and maxima of the three blocks' pools
SPLITS = ("train", "train", "train", "validation", "test")  # of a class's images in turn


@cache
def random_weights(seed: int = 0) -> Arrays:
    """Arrays of VGG16's shapes, scaled so that activations neither vanish nor explode (He et al., 2015)."""
    random = np.random.default_rng(seed)
    arrays, channels = {}, 3
    for layer in LAYERS:
        units = min(512, 32 << int(layer[5]))
        kernel = random.standard_normal((3, 3, channels, units), np.float32)
        arrays[f"{layer}/kernel"] = kernel * np.float32(np.sqrt(2 / (9 * channels)))
        arrays[f"{layer}/bias"] = random.standard_normal(units, np.float32)
        channels = units
    return arrays


def image_shards(folder: Path, pictures: Sequence[tuple[str, bytes]], shard_bytes: int = 1 << 20) -> list[ImageRow]:
    """Writes (label, bytes of an image file) to class tars; returns their index."""
    folder.mkdir(parents=True)
    writer = ShardWriter(folder, shard_bytes)
    rows = []
    for number, (label, data) in enumerate(pictures):
        name = f"{number:03}.png"
        shard, offset = writer.add(label, name, data)
        id_ = hashlib.sha256(data).hexdigest()
        rows.append(
            ImageRow(id_, label, shard, offset, len(data), 40, 30, "RGB", "", id_[:16], "", f"photos/{label}/{name}")
        )
    writer.finish()
    return sorted(rows, key=lambda row: (row.shard, row.offset))


def pictures(label: str, count: int, seed: int = 0) -> list[tuple[str, bytes]]:
    """Photos of 40 x 30 pixels, all different."""
    return [(label, png(1000 * seed + number, (40, 30))) for number in range(count)]


def split_rows(labels: Sequence[str]) -> list[SplitRow]:
    """A row per image, in shards of one class each; splits in turn as in `SPLITS`."""
    return [
        SplitRow(f"{i:064}", label, f"{label}-000.tar", f"{i:016}", SPLITS[i % len(SPLITS)], f"{label}/{i}.png")
        for i, label in enumerate(labels)
    ]


def write_features(folder: Path, rows: Sequence[SplitRow], bottleneck: np.ndarray, pooled: np.ndarray) -> Manifest:
    """Writes the features of `rows`, shard by shard, and their manifest."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    manifest = made_up.manifest(rows, pooled.shape[1:], bottleneck.shape[1:])
    work = Work(folder, manifest)
    for shard in dict.fromkeys(row.shard for row in rows):
        here = [i for i, row in enumerate(rows) if row.shard == shard]
        values = (
            {"pooled": pooled[i].astype(np.float16), "bottleneck": bottleneck[i].astype(np.float16)} for i in here
        )
        work.write([rows[i].id for i in here], shard, values)
    return manifest


def opened(folder: Path, rows: Sequence[SplitRow], kind: Kind = "pooled", pooling: Pooling = "flatten") -> FeatureSet:
    return open_features(folder, rows, kind, pooling)


def feature_folder(
    folder: Path, *, classes: int = 3, per_class: int = 30, signal: float = 6, seed: int = 0
) -> list[SplitRow]:
    """Features like a backbone's, never negative; `signal` 6 tells the classes apart, 0 leaves noise alone.

    Pooled: (n, 12). Bottleneck: (n, 2, 2, 12). Classes are named ``class 0`` and so on.
    """
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(classes), per_class)
    rows = split_rows([f"class {number}" for number in numbers])
    bottleneck = np.abs(random.standard_normal((len(rows), 2, 2, 12)))
    bottleneck[np.arange(len(rows)), :, :, numbers] += signal
    write_features(folder, rows, bottleneck, bottleneck.mean((1, 2)))
    return rows


def top_params(**changes: Any) -> TopParams:
    """The section ``train`` of params.yaml with changes."""
    path = ROOT / "params.yaml"
    return parse(TopParams, {**read_yaml(path)["train"], **changes}, "train", path)


EXTRACT = {
    "backbone": "vgg16",
    "image_side_px": "auto",
    "precision": "float32",
    "bottleneck": True,
}


def extract_params(**changes: Any) -> ExtractParams:
    """A section ``extract`` of params.yaml with changes."""
    return parse(ExtractParams, {**EXTRACT, **changes}, "extract", ROOT / "params.yaml")


SIMPLE = {
    "model": "top",
    "features": "pooled",
    "pooling": "flatten",
    "transform": "sqrt",
    "standardise": True,
    "input_dropout": 0.0,
    "hidden": [16],
    "dropout": [0.1],
    "activation": "relu",
    "optimiser": "adam",
    "learning_rate": 0.02,
    "epochs": 8,
    "batch_size": 16,
    "patience": None,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "l2": 0.0,
    "calibrate": False,
    "seed": 0,
}


def simple_params(**changes: Any) -> TopParams:
    """A small quick top with changes."""
    return top_params(**{**SIMPLE, **changes})
