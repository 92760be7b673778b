"""The extractor: a frozen backbone that turns images into features."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import architectures
from bottletop.backbones.networks import Forward, Precision, named
from bottletop.backbones.weights import Arrays, digest
from bottletop.core.errors import ArtefactError
from bottletop.core.parallel import at_least_one, processors
from bottletop.images.decoding import REVISION

FLOAT16_MAX = 65504.0
LARGEST_SUM = 1e35  # float32 ends at 3e38; the rest is a margin: Winograd's intermediate sums exceed its results
LARGEST_WEIGHT = 1e18  # far larger than the weights of any real network
BATCH_PIXELS = 8 * 224 * 224  # total pixels of a batch; `benchmarks/batches.py` compares batch sizes
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
# Device files of NVIDIA's GPUs, of AMD's, and of GPUs in WSL. Without any, TensorFlow is not imported to look for GPUs.
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


class Engine(NamedTuple):
    """The library that computes a backbone, and its numerical precision."""

    name: Literal["ncnn", "tensorflow"]
    precision: Literal["float32", "bfloat16"]


NCNN = Engine("ncnn", "float32")
TENSORFLOW = Engine("tensorflow", "float32")
BFLOAT16 = Engine("tensorflow", "bfloat16")


class Extractor:
    """A frozen backbone for one image side. It turns a batch of images into their features.

    An image's features do not depend on the other images of its batch. Values beyond float16's range are clipped.
    """

    def __init__(self, backbone: str, arrays: Arrays, image_side_px: int, engine: Engine) -> None:
        """Stores the settings. The first batch builds the network, because that takes seconds.

        Args:
            backbone: a name in `networks.NETWORKS`.
            arrays: the backbone's weights.
            image_side_px: the image side in pixels.
            engine: the engine that computes the backbone.
        """
        self.backbone, self.image_side_px, self.engine = backbone, image_side_px, engine
        self._arrays = arrays

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Computes the features of up to `batch_size` images, in input order.

        Args:
            images: uint8 RGB, (n, side, side, 3).

        Returns:
            The bottleneck, which is the network's output: float16, (n, height, width, channels). The pooled features,
            which are the averages and maxima of the feature maps at 1/8, 1/16 and 1/32 of the image side, concatenated:
            float16, (n, features). See `shapes`.

        Raises:
            ArtefactError: a weight or a feature is not finite, or the weights are so large that features may overflow.
        """
        bottleneck, pooled = self._forward(images)
        if not np.isfinite(pooled).all():  # a non-finite value makes its map's average non-finite
            raise ArtefactError(
                "the backbone's features are not finite", "run dvc repro weights, or set extract.precision to float32"
            )
        return _float16(bottleneck), _float16(pooled)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one image's pooled features (features,) and of its bottleneck (height, width, channels)."""
        if self.backbone in architectures.LAYERS:  # avoids importing TensorFlow, which takes seconds
            *_, bottleneck = maps = architectures.maps(self.backbone, self.image_side_px)
            return (2 * sum(channels for _, _, channels in maps),), bottleneck
        from bottletop.backbones import tensorflow_engine

        return tensorflow_engine.shapes(self.backbone, self.image_side_px)

    @property
    def weights_digest(self) -> str:
        """The digest of the backbone's weights, for comparison with stored features."""
        return digest(self._arrays)

    @property
    def preprocessing(self) -> str:
        """An identifier of how images are prepared for the backbone, for comparison with stored features."""
        return f"rgb-exif-bilinear-{named(self.backbone).scheme}-{REVISION}"

    @property
    def batch_size(self) -> int:
        """The number of images computed at once.

        It is ``BOTTLETOP_BATCH_SIZE`` if that is set. Otherwise it is 8 to 64: the smaller the image side, the larger
        the batch. ncnn computes one image per thread, so its batches have at least four images per thread.

        Raises:
            ParamsError: ``BOTTLETOP_BATCH_SIZE`` is not a whole number of at least 1.
        """
        pinned = os.environ.get("BOTTLETOP_BATCH_SIZE")
        if pinned:
            return at_least_one("BOTTLETOP_BATCH_SIZE", pinned)
        size = min(LARGEST_BATCH, max(SMALLEST_BATCH, BATCH_PIXELS // self.image_side_px**2))
        return max(size, 4 * processors()) if self.engine == NCNN else size

    @cached_property
    def _forward(self) -> Forward:
        """The network as a function. Only the engine in use is imported: TensorFlow takes seconds and half a gigabyte.

        Raises:
            ArtefactError: a weight is missing or not finite, weights are so large that features may overflow, or ncnn
                fails.
        """
        try:
            return self._loaded()
        except KeyError as error:
            raise ArtefactError(f"the backbone's weights lack {error}", "run dvc repro weights") from error

    def _loaded(self) -> Forward:
        if not all(np.isfinite(array).all() for array in self._arrays.values()):  # ReLU would hide NaN as 0
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
    """Chooses the engine for a backbone on this machine.

    TensorFlow computes in bfloat16 where `best_precision` says so. In float32, ncnn computes the backbones in
    `architectures.LAYERS` on machines without a GPU. TensorFlow computes everything else.
    """
    if best_precision(wanted) == "bfloat16":
        return BFLOAT16
    return NCNN if backbone in architectures.LAYERS and _gpus_compute_in_bfloat16() is None else TENSORFLOW


def best_precision(wanted: Precision) -> Literal["float32", "bfloat16"]:
    """Resolves ``auto`` for this machine; other values are returned unchanged.

    ``auto`` means bfloat16 where every GPU supports it, or, without a GPU, where the CPU does. Otherwise it means
    float32.
    """
    if wanted != "auto":
        return wanted
    capable = _gpus_compute_in_bfloat16()
    if capable is None:
        cpu = Path("/proc/cpuinfo")
        flags = cpu.read_text() if cpu.exists() else ""
        capable = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if capable else "float32"


def _may_overflow(backbone: str, weights: Arrays) -> bool:
    """Whether features may overflow float32, judged by the weights: ReLU turns NaN into 0, so features may not show it.

    A bound is known only for the networks in `architectures.LAYERS`. In others, a weight over `LARGEST_WEIGHT` counts
    as damage.
    """
    if backbone in architectures.LAYERS:
        return architectures.largest(backbone, weights) > LARGEST_SUM
    return max(float(np.abs(array).max()) for array in weights.values()) > LARGEST_WEIGHT


def _gpus_compute_in_bfloat16() -> bool | None:
    """Whether every GPU supports bfloat16; None without a GPU."""
    if not any(Path(device).exists() for device in GPUS):
        return None
    from bottletop.backbones import tensorflow_engine

    return tensorflow_engine.gpus_compute_in_bfloat16()


def _float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Clips values to float16's range and converts them, so that none becomes infinite."""
    return values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
