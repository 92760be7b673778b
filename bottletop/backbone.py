"""The frozen VGG16: from images to its features (Simonyan and Zisserman, 2015)."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottletop.errors import ArtefactError
from bottletop.manifest import Precision
from bottletop.vgg16 import Forward
from bottletop.weights import Arrays

POOLED_FEATURES = 2 * (256 + 512 + 512)  # averages and maxima of the three blocks' pools
PREPROCESSING = (
    "rgb-exif-bilinear-caffe-1"  # raise the number when `images.decode`, `images.square` or the means change
)
FLOAT16_MAX = 65504.0
BATCH_SIZE = 8  # fixed, the last batch is padded: so an image's features do not depend on its neighbours

Computed = Literal["float32", "bfloat16", "int8"]
Extract = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float16], NDArray[np.float16]]]


def build(weights: Arrays, image_side_px: int, precision: Computed) -> Extract:
    """A function from a batch of images to its features.

    It takes uint8 RGB, (n, side, side, 3) with n up to `BATCH_SIZE`, and returns, rows in input order:

    - the bottleneck, block5_pool: float16, (n, side // 32, side // 32, 512)
    - averages and maxima of block3, block4 and block5 pools, side by side: float16, (n, 2560)

    Values over float16's range are clipped. Raises ArtefactError where one, or a weight, is not finite.
    """
    if not all(np.isfinite(array).all() for array in weights.values()):  # ReLU turns NaN into 0: unseen later on
        raise ArtefactError("the backbone's weights are not finite: run dvc repro weights")
    forward = _forward(weights, image_side_px, precision)

    def extract(images: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        count = len(images)
        bottleneck, pooled = forward(np.pad(images, ((0, BATCH_SIZE - count), (0, 0), (0, 0), (0, 0))))
        if not np.isfinite(pooled).all():  # an average shows whatever is not finite in its block
            raise ArtefactError("the backbone's features are not finite: the weights are damaged, or use float32")
        return _float16(bottleneck[:count]), _float16(pooled[:count])

    return extract


def best_precision(wanted: Precision) -> Computed:
    """What ``auto`` means here: bfloat16 where the CPU or every GPU computes in it, else float32.

    Never int8: with AMX, bfloat16 is faster and closer to float32, and other processors were not measured.
    """
    if wanted != "auto":
        return wanted
    from bottletop import floating

    capable = floating.gpus_compute_in_bfloat16()
    if capable is None:
        cpu = Path("/proc/cpuinfo")
        flags = cpu.read_text() if cpu.exists() else ""
        capable = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if capable else "float32"


def _forward(weights: Arrays, image_side_px: int, precision: Computed) -> Forward:
    """Imports what it needs alone: TensorFlow takes seconds and half a gigabyte."""
    if precision == "int8":
        from bottletop import quantised

        return quantised.forward(weights, image_side_px)
    from bottletop import floating

    return floating.forward(weights, image_side_px, precision)


def _float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
