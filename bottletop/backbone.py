"""A frozen backbone: from images to its features."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottletop.errors import ArtefactError
from bottletop.images import REVISION
from bottletop.manifest import Precision
from bottletop.networks import Forward, named
from bottletop.threads import at_least_one
from bottletop.weights import Arrays

POOLED_FEATURES = 2 * (256 + 512 + 512)  # of VGG16: averages and maxima of the three blocks' pools
FLOAT16_MAX = 65504.0
BATCH_PIXELS = 8 * 224 * 224  # of all images of a batch; `benchmarks/batches.py` compares
SMALLEST_BATCH, LARGEST_BATCH = 8, 64

Computed = Literal["float32", "bfloat16", "int8"]
Extract = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float16], NDArray[np.float16]]]


def build(weights: Arrays, image_side_px: int, precision: Computed, backbone: str = "vgg16") -> Extract:
    """A function from a batch of images to its features.

    It takes uint8 RGB, (n, side, side, 3) with n up to `batch_size(side)`, and returns, rows in input order:

    - the bottleneck, what the network puts out: float16, (n, height, width, channels), see `shapes`
    - averages and maxima of the maps of 1/8, 1/16 and 1/32 of the side, side by side: float16, (n, features)

    Values over float16's range are clipped. Raises ArtefactError where one, or a weight, is not finite.
    """
    if not all(np.isfinite(array).all() for array in weights.values()):  # ReLU turns NaN into 0: unseen later on
        raise ArtefactError("the backbone's weights are not finite: run dvc repro weights")
    forward = _forward(weights, image_side_px, precision, backbone)
    size = batch_size(image_side_px)

    def extract(images: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        count = len(images)
        # Padded to one size: an image's features do not depend on its neighbours.
        bottleneck, pooled = forward(np.pad(images, ((0, size - count), (0, 0), (0, 0), (0, 0))))
        if not np.isfinite(pooled).all():  # an average shows whatever is not finite in its block
            raise ArtefactError("the backbone's features are not finite: the weights are damaged, or use float32")
        return _float16(bottleneck[:count]), _float16(pooled[:count])

    return extract


def shapes(backbone: str, image_side_px: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of one image's pooled features, (features,), and of its bottleneck, (height, width, channels)."""
    if backbone == "vgg16":  # known without TensorFlow, which takes seconds to import
        return (POOLED_FEATURES,), (image_side_px // 32, image_side_px // 32, 512)
    from bottletop import floating

    return floating.shapes(backbone, image_side_px)


def preprocessing(backbone: str) -> str:
    """What is done to images before the backbone sees them."""
    return f"rgb-exif-bilinear-{named(backbone).scheme}-{REVISION}"


def batch_size(image_side_px: int) -> int:
    """How many images are computed at once: ``BOTTLETOP_BATCH_SIZE``, else more of them the smaller they are."""
    pinned = os.environ.get("BOTTLETOP_BATCH_SIZE")
    if pinned:
        return at_least_one("BOTTLETOP_BATCH_SIZE", pinned)
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, BATCH_PIXELS // image_side_px**2))


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


def _forward(weights: Arrays, image_side_px: int, precision: Computed, backbone: str) -> Forward:
    """Imports what it needs alone: TensorFlow takes seconds and half a gigabyte."""
    if precision == "int8":
        from bottletop import quantised

        return quantised.forward(weights, image_side_px)
    from bottletop import floating

    return floating.forward(backbone, weights, image_side_px, precision)


def _float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
