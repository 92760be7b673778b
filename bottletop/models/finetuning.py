"""Fine-tuning: the top is trained on features, then the top and the backbone's last layers on images."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import tensorflow_engine
from bottletop.backbones.extractor import Engine, Extractor
from bottletop.backbones.runtime import keras
from bottletop.backbones.weights import Arrays, digest
from bottletop.core.errors import ParamsError
from bottletop.models import augmentation
from bottletop.models.examples import Examples, Rows
from bottletop.models.network_params import AugmentParams, FinetuneParams
from bottletop.models.params import TopParams
from bottletop.models.pictures import PictureSet
from bottletop.models.trained import Entry
from bottletop.models.training import Network, finish, fit
from bottletop.models.training import train as train_top
from bottletop.models.vectors import FeatureSet, vectors

BACKBONE = "backbone"  # the backbone's layer name in the fine-tuned network


def train(
    features: FeatureSet,
    pictures: PictureSet,
    weights: Arrays,
    params: FinetuneParams,
    augment: AugmentParams,
    train: TopParams,
    on_epoch: Callable[[Entry], None] = lambda _: None,
) -> Network:
    """Trains a top, then the top and the backbone's last layers; returns the best epoch of both phases.

    The history is the top's up to its best epoch, followed by that of fine-tuning. See `training.fit`.

    Args:
        features: the dataset's features, from the backbone before fine-tuning.
        pictures: the same dataset's images.
        weights: the backbone's weights before fine-tuning.
        params: section ``finetune``; its learning rate and batch size replace those of `train` in the second phase.
        augment: changes of the training images in the second phase.
        train: section ``train``.
        on_epoch: called after each epoch with its history entry, plus the epoch's number under "epoch".

    Raises:
        DataError: there is only one class.
        ParamsError: the backbone has no layer of the name in ``finetune.from_layer``, or training diverges.
    """
    top = train_top(features, msgspec.structs.replace(train, calibrate=False))
    earlier = top.history[: top.record.best_epoch]
    for number, entry in enumerate(earlier, 1):
        on_epoch({"epoch": number, **entry})

    def network() -> keras.Model:
        return build(features, weights, top.model, params, augment)

    changed = {"learning_rate": params.learning_rate, "batch_size": params.batch_size}
    slowly = msgspec.structs.replace(train, **changed, epochs=len(earlier) + params.epochs)
    tuned, epochs = fit(pictures, network, slowly, on_epoch, sections=(params, augment), earlier=earlier)
    arrays = {variable.path: variable.numpy() for variable in tuned.get_layer(BACKBONE).weights}
    return finish(tuned.get_layer("top"), Recomputed.of(features, pictures, arrays), train, epochs, arrays)


@dataclass(frozen=True)
class Recomputed(Examples):
    """Features of a dataset's images from the fine-tuned backbone, computed when they are read."""

    at_once = 32

    pictures: PictureSet
    features: FeatureSet
    weights_digest: str
    extractor: Extractor

    @classmethod
    def of(cls, features: FeatureSet, pictures: PictureSet, arrays: Arrays) -> "Recomputed":
        """Returns the images' features from a backbone with these weights; all else is as in `features`."""
        made = features.manifest
        extractor = Extractor(made.backbone, arrays, made.image_side_px, Engine(made.engine, made.precision))
        return cls(features.rows, features.class_names, pictures.labels, pictures, features, digest(arrays), extractor)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's features."""
        return self.features.shape

    def recipe(self) -> dict[str, object]:
        """The settings of `features`, with the digest of the fine-tuned weights."""
        return {**self.features.recipe(), "weights_digest": self.weights_digest}

    def read(self, rows: Rows) -> NDArray[np.float16]:
        """Computes the features of these images, in this order: float16, (len(rows), features)."""
        size = self.extractor.batch_size
        batches = [self.extractor(self.pictures.read(rows[i : i + size])) for i in range(0, len(rows), size)]
        kind, pooling = self.features.kind, self.features.pooling
        chosen = [pooled if kind == "pooled" else bottleneck for bottleneck, pooled in batches]
        return vectors(np.concatenate(chosen), kind, pooling)


def build(
    features: FeatureSet, weights: Arrays, top: keras.Model, params: FinetuneParams, augment: AugmentParams
) -> keras.Model:
    """Joins backbone and top in one network: from uint8 RGB, (n, side, side, 3), to class probabilities, (n, classes).

    The backbone's layers from ``finetune.from_layer`` on are trainable. Batch normalisation stays frozen.

    Raises:
        ParamsError: the backbone has no layer of that name.
    """
    made = features.manifest
    network = tensorflow_engine.model(made.backbone, weights, made.image_side_px, made.precision)
    network.name = BACKBONE
    names = [layer.name for layer in network.layers]
    if params.from_layer not in names:
        raise ParamsError(
            f"finetune.from_layer must be a layer of {made.backbone}, such as {', '.join(names[-4:])}, "
            f"got {params.from_layer!r}",
            "edit params.yaml",
        )
    for position, layer in enumerate(network.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = position >= names.index(params.from_layer) and not normalises
    inputs = keras.Input((made.image_side_px, made.image_side_px, 3), dtype="uint8", name="images")
    values = keras.layers.Rescaling(1 / 255)(inputs)
    for layer in augmentation.layers(augment):
        values = layer(values)
    prepare = tensorflow_engine.preparation(made.backbone)
    maps = [keras.ops.cast(each, "float32") for each in network(prepare(keras.layers.Rescaling(255.0)(values)))]
    values = tensorflow_engine.vectors(maps, features.kind, features.pooling)
    return keras.Model(inputs, top(values), name="finetuned")
