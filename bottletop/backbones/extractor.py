"""A frozen backbone: from images to its features."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import architectures
from bottletop.backbones.networks import Forward, Precision, named
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import ArtefactError
from bottletop.core.parallel import at_least_one, processors
from bottletop.images.decoding import REVISION

FLOAT16_MAX = 65504.0
LARGEST_SUM = 1e35  # float32 ends at 3e38; Winograd's sums are larger than what they come to
LARGEST_WEIGHT = 1e18  # far beyond any network's
BATCH_PIXELS = 8 * 224 * 224  # of all images of a batch; `benchmarks/batches.py` compares
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, of AMD, and in WSL: without one, nobody asks TensorFlow


class Engine(NamedTuple):
    """What computes a backbone, and in which numbers."""

    name: Literal["ncnn", "tensorflow"]
    precision: Literal["float32", "bfloat16"]


NCNN = Engine("ncnn", "float32")
TENSORFLOW = Engine("tensorflow", "float32")
BFLOAT16 = Engine("tensorflow", "bfloat16")


class Extractor:
    """A frozen backbone for images of one side: from a batch of images to their features.

    An image's features do not depend on the other images of its batch. Values over float16's range are clipped.
    """

    def __init__(self, backbone: str, arrays: Arrays, image_side_px: int, engine: Engine) -> None:
        """Builds nothing yet: that takes seconds, and is done with the first batch.

        Args:
            arrays: the backbone's weights.
        """
        self.backbone, self.image_side_px, self.engine = backbone, image_side_px, engine
        self._arrays = arrays

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """The features of up to `batch_size` images, rows in input order.

        Args:
            images: uint8 RGB, (n, side, side, 3).

        Returns:
            The bottleneck, what the network puts out: float16, (n, height, width, channels). The averages and maxima of
            the maps of 1/8, 1/16 and 1/32 of the side, side by side: float16, (n, features). See `shapes`.

        Raises:
            ArtefactError: a weight or a feature is not finite, or weights are so large that features may not be.
        """
        bottleneck, pooled = self._forward(images)
        if not np.isfinite(pooled).all():  # an average shows whatever is not finite in its block
            raise ArtefactError(
                "the backbone's features are not finite", "run dvc repro weights, or set extract.precision to float32"
            )
        return _float16(bottleneck), _float16(pooled)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one image's pooled features, (features,), and of its bottleneck, (height, width, channels)."""
        if self.backbone in architectures.LAYERS:  # known without TensorFlow, which takes seconds to import
            *_, bottleneck = maps = architectures.maps(self.backbone, self.image_side_px)
            return (2 * sum(channels for _, _, channels in maps),), bottleneck
        from bottletop.backbones import tensorflow_engine

        return tensorflow_engine.shapes(self.backbone, self.image_side_px)

    @property
    def preprocessing(self) -> str:
        """What is done to images before the backbone sees them."""
        return f"rgb-exif-bilinear-{named(self.backbone).scheme}-{REVISION}"

    @property
    def batch_size(self) -> int:
        """How many images are computed at once: ``BOTTLETOP_BATCH_SIZE``, else more of them the smaller they are.

        ncnn gives each image to a thread: there are at least four for each.
        """
        pinned = os.environ.get("BOTTLETOP_BATCH_SIZE")
        if pinned:
            return at_least_one("BOTTLETOP_BATCH_SIZE", pinned)
        size = min(LARGEST_BATCH, max(SMALLEST_BATCH, BATCH_PIXELS // self.image_side_px**2))
        return max(size, 4 * processors()) if self.engine == NCNN else size

    @cached_property
    def _forward(self) -> Forward:
        """Imports what it needs alone: TensorFlow takes seconds and half a gigabyte."""
        if not all(np.isfinite(array).all() for array in self._arrays.values()):  # ReLU turns NaN into 0: unseen later
            raise ArtefactError("the backbone's weights are not finite", "run dvc repro weights")
        if _may_overflow(self.backbone, self._arrays):
            raise ArtefactError(
                "the backbone's weights are so large that features may overflow float32", "run dvc repro weights"
            )
        if self.engine.name == "ncnn":
            from bottletop.backbones import ncnn_engine

            return ncnn_engine.forward(self.backbone, self._arrays, self.image_side_px)
        from bottletop.backbones import tensorflow_engine

        precision = self.engine.precision
        return tensorflow_engine.forward(self.backbone, self._arrays, self.image_side_px, precision, self.batch_size)


def best_engine(backbone: str, wanted: Precision) -> Engine:
    """What computes the backbone here: in bfloat16 where that is wanted, or ``auto`` finds that it is fast.

    In float32, ncnn on the CPU for the backbones that it knows, else TensorFlow.
    """
    if best_precision(wanted) == "bfloat16":
        return BFLOAT16
    return NCNN if backbone in architectures.LAYERS and _gpus_compute_in_bfloat16() is None else TENSORFLOW


def best_precision(wanted: Precision) -> Literal["float32", "bfloat16"]:
    """What ``auto`` means here: bfloat16 where the CPU or every GPU computes in it, else float32."""
    if wanted != "auto":
        return wanted
    capable = _gpus_compute_in_bfloat16()
    if capable is None:
        cpu = Path("/proc/cpuinfo")
        flags = cpu.read_text() if cpu.exists() else ""
        capable = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if capable else "float32"


def _may_overflow(backbone: str, weights: Arrays) -> bool:
    """Looked for in the weights: where ReLU makes 0 of NaN, features do not show it.

    Only of networks in `architectures` a bound is known. In others, a weight over `LARGEST_WEIGHT` is taken for damage.
    """
    if backbone in architectures.LAYERS:
        return architectures.largest(backbone, weights) > LARGEST_SUM
    return max(float(np.abs(array).max()) for array in weights.values()) > LARGEST_WEIGHT


def _gpus_compute_in_bfloat16() -> bool | None:
    """Whether every GPU does; None without a GPU."""
    if not any(Path(device).exists() for device in GPUS):
        return None
    from bottletop.backbones import tensorflow_engine

    return tensorflow_engine.gpus_compute_in_bfloat16()


def _float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
