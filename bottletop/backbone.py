"""The frozen VGG16: from images to its features (Simonyan and Zisserman, 2015)."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottletop.errors import ArtefactError
from bottletop.manifest import Precision
from bottletop.runtime import keras, tf
from bottletop.weights import Arrays

POOLED_BLOCKS = (3, 4, 5)
POOLED_FEATURES = 2 * (256 + 512 + 512)  # averages and maxima of the three blocks' pools
PREPROCESSING = (
    "rgb-exif-bilinear-caffe-1"  # raise the number when `images.decode`, `images.square` or the means change
)
MEANS_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as VGG16 was trained
FLOAT16_MAX = 65504.0
BATCH_SIZE = 8  # fixed, the last batch is padded: so an image's features do not depend on its neighbours

Extract = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float16], NDArray[np.float16]]]


def build(weights: Arrays, image_side_px: int, precision: Literal["float32", "bfloat16"]) -> Extract:
    """A function from a batch of images to its features.

    It takes uint8 RGB, (n, side, side, 3) with n up to `BATCH_SIZE`, and returns, rows in input order:

    - the bottleneck, block5_pool: float16, (n, side // 32, side // 32, 512)
    - averages and maxima of block3, block4 and block5 pools, side by side: float16, (n, 2560)

    Values over float16's range are clipped. Raises ArtefactError where one, or a weight, is not finite.
    """
    if not all(np.isfinite(array).all() for array in weights.values()):  # ReLU turns NaN into 0: unseen later on
        raise ArtefactError("the backbone's weights are not finite: run dvc repro weights")
    model = _model(weights, image_side_px, precision)

    @tf.function  # type: ignore[untyped-decorator]
    def forward(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        blocks = model(tf.cast(images[..., ::-1], tf.float32) - tf.constant(MEANS_BGR), training=False)
        blocks = [tf.cast(block, tf.float32) for block in blocks]
        pooled = [pool(block, axis=(1, 2)) for block in blocks for pool in (tf.reduce_mean, tf.reduce_max)]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(block)) for block in blocks])
        return finite, _float16(blocks[-1]), _float16(tf.concat(pooled, axis=-1))

    def extract(images: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        count = len(images)
        batch = np.pad(images, ((0, BATCH_SIZE - count), (0, 0), (0, 0), (0, 0)))
        finite, bottleneck, pooled = forward(tf.constant(batch))
        if not finite:
            raise ArtefactError("the backbone's features are not finite: the weights are damaged, or use float32")
        return bottleneck.numpy()[:count], pooled.numpy()[:count]

    return extract


def best_precision(wanted: Precision) -> Literal["float32", "bfloat16"]:
    """What ``auto`` means here: bfloat16 where the CPU or every GPU computes in it, else float32."""
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:  # not measured: no GPU was at hand
        capable = all(
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0,)) >= (8,) for gpu in gpus
        )
        return "bfloat16" if capable else "float32"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


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


def _float16(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, -FLOAT16_MAX, FLOAT16_MAX), tf.float16)
