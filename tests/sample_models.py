"""A trained model in files, at 32 pixels, with weights that are random but the same in every run."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bottletop.backbones import extractor, weights
from bottletop.backbones.runtime import keras
from bottletop.backbones.weights import Arrays
from bottletop.core.files import read_json
from bottletop.core.settings import load
from bottletop.inference.classifier import Files
from bottletop.models import cnn, top, training
from bottletop.models.network_params import AugmentParams, CnnParams
from bottletop.models.params import TopParams
from bottletop.models.pictures import PREPROCESSING
from bottletop.models.record import TopRecord
from tests.pictures import photo
from tests.tiny import POOLED_FEATURES, random_weights, simple_params, top_params

SIDE = 32
CLASSES = ("Gänseblümchen", "rose, red", "tulip")
WIDTHS = {"pooled": POOLED_FEATURES, "bottleneck": 512}  # at 32 px, whatever the pooling


def write_model(
    folder: Path,
    *,
    engine: extractor.Engine = extractor.NCNN,
    contract: dict[str, Any] | None = None,
    arrays: Arrays | None = None,
    **changes: Any,
) -> Files:
    """Writes a model whose top has the `changes` of params.

    Args:
        contract: replaces parts of what the top expects of the backbone.
        arrays: of the backbone; random ones if left out.
    """
    params = simple_params(**{"hidden": [], "dropout": 0.0, "features": "pooled", **changes})
    width, random = WIDTHS[params.features], np.random.default_rng(0)
    moments = _moments(params) if params.standardise else None
    keras.utils.set_random_seed(0)  # for the hidden layers
    model = top.build(width, len(CLASSES), params, moments)
    last = model.get_layer("classes")
    last.set_weights([random.normal(0, 0.05, last.kernel.shape), random.normal(0, 0.1, len(CLASSES))])
    arrays = random_weights() if arrays is None else arrays
    expected = {
        "backbone": "vgg16",
        "weights_digest": weights.digest(arrays),
        "preprocessing": extractor.Extractor("vgg16", {}, SIDE, engine).preprocessing,
        "image_side_px": SIDE,
        "engine": engine.name,
        "precision": engine.precision,
        "dtype": "float16",
        "kind": params.features,
        "pooling": params.pooling,
    }
    _save(folder, model, {**expected, **(contract or {})}, params)
    weights.save(folder / "vgg16.npz", arrays)
    return Files("flowers", folder / "flowers", folder / "vgg16.npz")


def write_network(folder: Path) -> Files:
    """A model that reads the images themselves."""
    params = top_params(model="cnn", hidden=[], dropout=0.0)
    keras.utils.set_random_seed(0)
    network = cnn.build(SIDE, len(CLASSES), load(CnnParams, "cnn"), load(AugmentParams, "augment"), params)
    last, random = network.get_layer("classes"), np.random.default_rng(0)
    last.set_weights([random.normal(0, 1, last.kernel.shape), np.zeros(len(CLASSES))])
    _save(folder, network, {"preprocessing": PREPROCESSING, "image_side_px": SIDE}, params)
    return Files("flowers", folder / "flowers", None)


def _save(folder: Path, model: keras.Model, contract: dict[str, Any], params: TopParams) -> None:
    record = TopRecord(
        class_names=CLASSES,
        contract=contract,
        data_digest="0" * 64,
        split="0" * 64,
        best_epoch=1,
        params=params,
    )
    history = ({"loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5},)
    training.Network(record, {}, history, model).save(folder / "flowers", folder / "history.csv")


@cache
def _features() -> tuple[np.ndarray, np.ndarray]:
    pictures = np.stack([np.asarray(photo(number, (SIDE, SIDE))) for number in range(8)])
    bottleneck, pooled = extractor.Extractor("vgg16", random_weights(), SIDE, extractor.NCNN)(pictures)
    return bottleneck.reshape(len(pictures), -1), pooled


def _moments(params: TopParams) -> tuple[np.ndarray, np.ndarray]:
    values = _features()[params.features == "pooled"].astype(np.float64)
    values = np.sqrt(values) if params.transform == "sqrt" else values
    return values.mean(0), values.var(0) + 1


def write_workspace(folder: Path, **changes: Any) -> Files:
    """The model, and the params.yaml that it was trained with, where a project has them; see `write_model`."""
    written = write_model(folder / "made", **changes)
    (folder / "data/models").mkdir(parents=True)
    (folder / "data/weights").mkdir(parents=True)
    written.model.rename(folder / "data/models/flowers")
    written.weights.rename(folder / "data/weights/vgg16.npz")
    params = {"datasets": ["flowers"], "train": read_json(folder / "data/models/flowers/top.json")["params"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return Files("flowers", folder / "data/models/flowers", folder / "data/weights/vgg16.npz")
