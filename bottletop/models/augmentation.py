"""Augmentation of training images, as Keras layers.

The layers draw from Keras' global seed. They change nothing outside training.
"""

from bottletop.backbones.runtime import keras
from bottletop.models.network_params import AugmentParams

FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}


def layers(params: AugmentParams) -> list[keras.layers.Layer]:
    """Returns the layers that the settings ask for.

    The layers take and return float images, (n, side, side, 3), with values in [0, 1].
    """
    found = []
    if params.flip != "none":
        found.append(keras.layers.RandomFlip(FLIPS[params.flip]))
    if params.rotation_degrees:
        found.append(keras.layers.RandomRotation(params.rotation_degrees / 360, fill_mode="nearest"))
    if params.shear:
        found.append(keras.layers.RandomShear(params.shear, 0.0, fill_mode="nearest"))
    if params.zoom:
        found.append(keras.layers.RandomZoom(params.zoom, fill_mode="nearest"))
    if params.shift:
        found.append(keras.layers.RandomTranslation(params.shift, params.shift, fill_mode="nearest"))
    if params.brightness:
        found.append(keras.layers.RandomBrightness(params.brightness, value_range=(0, 1)))
    if params.contrast:
        found.append(keras.layers.RandomContrast(params.contrast, value_range=(0, 1)))
    if params.saturation:
        factor = (0.5 - params.saturation / 2, 0.5 + params.saturation / 2)  # a factor of 0.5 leaves colours unchanged
        found.append(keras.layers.RandomSaturation(factor, value_range=(0, 1)))
    return found
