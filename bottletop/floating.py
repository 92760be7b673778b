"""VGG16 in float32 or bfloat16, by TensorFlow and Keras."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottletop.runtime import keras, tf
from bottletop.vgg16 import MEANS_BGR, POOLED_BLOCKS, Forward
from bottletop.weights import Arrays


def forward(weights: Arrays, image_side_px: int, precision: Literal["float32", "bfloat16"]) -> Forward:
    """The model as a function; see `vgg16.Forward`."""
    model = _model(weights, image_side_px, precision)

    @tf.function  # type: ignore[untyped-decorator]
    def compute(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        blocks = model(tf.cast(images[..., ::-1], tf.float32) - tf.constant(MEANS_BGR), training=False)
        blocks = [tf.cast(block, tf.float32) for block in blocks]
        pooled = [pool(block, axis=(1, 2)) for block in blocks for pool in (tf.reduce_mean, tf.reduce_max)]
        return blocks[-1], tf.concat(pooled, axis=-1)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        bottleneck, pooled = compute(tf.constant(images))
        return bottleneck.numpy(), pooled.numpy()

    return run


def gpus_compute_in_bfloat16() -> bool | None:
    """Whether every GPU does; None without a GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]  # not measured: no GPU was at hand
    return all(each.get("compute_capability", (0,)) >= (8,) for each in details)


def _model(weights: Arrays, image_side_px: int, precision: str) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(image_side_px, image_side_px, 3))
    finally:
        keras.config.set_dtype_policy(before)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return keras.Model(model.input, [model.get_layer(f"block{block}_pool").output for block in POOLED_BLOCKS])
