"""A convolutional network trained from scratch, for comparison with a backbone's features.

Where the processor computes in bfloat16, the convolutions are trained in bfloat16, with weights in float32
(Micikevicius et al., 2018, "Mixed precision training"). The trained network computes in float32, so that its
predictions are the same on every machine.
"""

from collections.abc import Callable
from functools import partial

from bottletop.backbones.extractor import best_precision
from bottletop.backbones.runtime import keras
from bottletop.core.errors import ParamsError
from bottletop.models import augmentation
from bottletop.models.network_params import AugmentParams, CnnParams
from bottletop.models.params import TopParams
from bottletop.models.pictures import PictureSet
from bottletop.models.top import classifier
from bottletop.models.trained import Entry
from bottletop.models.training import Network, finish, fit


def train(
    pictures: PictureSet,
    params: CnnParams,
    augment: AugmentParams,
    train: TopParams,
    on_epoch: Callable[[Entry], None] = lambda _: None,
) -> Network:
    """Trains a network on the training images and returns it at its best epoch; see `training.fit`.

    Raises:
        DataError: there is only one class.
        ParamsError: the images are too small for the poolings, or training diverges.
    """
    network = partial(build, pictures.side_px, len(pictures.class_names), params, augment, train)
    precision = best_precision(params.precision)
    mixed = partial(network, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    fitted, epochs = fit(pictures, mixed, train, on_epoch, sections=(params, augment))
    keras.utils.clear_session(free_memory=False)  # restart Keras' layer numbering: equal models get equal layer names
    model = network()
    model.set_weights(fitted.get_weights())
    return finish(model, pictures, train, epochs, precision=precision)


def build(
    side_px: int,
    classes: int,
    params: CnnParams,
    augment: AugmentParams,
    train: TopParams,
    policy: str = "float32",
) -> keras.Model:
    """Builds the untrained network: from uint8 RGB, (n, side, side, 3), to class probabilities, (n, classes).

    Args:
        policy: Keras' dtype policy for the convolutions.

    Raises:
        ParamsError: the images are too small for the poolings.
    """
    inputs = keras.Input((side_px, side_px, 3), dtype="uint8", name="images")
    values = keras.layers.Rescaling(1 / 255)(inputs)
    for layer in augmentation.layers(augment):
        values = layer(values)
    for filters, pool in params.layers:
        if values.shape[1] < pool:
            raise ParamsError(
                f"cnn.pooling leaves nothing of {side_px} pixels after {len(params.filters)} convolutions",
                "raise cnn.image_side_px or shorten cnn.filters in params.yaml",
            )
        values = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", dtype=policy)(values)
        values = keras.layers.MaxPooling2D(pool, dtype=policy)(values)
        values = keras.layers.Dropout(params.dropout, dtype=policy)(values)
    return keras.Model(inputs, classifier(keras.layers.Flatten()(values), classes, train), name="cnn")
