"""EfficientNet-Lite0: its layers, and their weights from those that its authors trained.

Tan and Le (2019), in the variant for small devices: no squeeze and excitation, ReLU6 for swish. The batch normalisation
after each convolution is folded into its kernel and bias.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.layers import Layer
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import DataError

EPSILON = 1e-3  # of batch normalisation


class _Stage(NamedTuple):
    """Blocks of the same width; the first of them has the stride."""

    blocks: int
    kernel_px: int
    stride: int
    expansion: int  # how many times wider a block is inside
    channels: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


def layers() -> Iterator[Layer]:
    """``stem``, ``block1a_depthwise``, ``block1a_project``, ``block2a_expand`` … ``head``."""
    yield Layer("stem", "convolution", ("images",), STEM_CHANNELS, 3, 2, "relu6")
    above, channels = "stem", STEM_CHANNELS
    for number, stage in enumerate(STAGES, 1):
        for position in range(stage.blocks):
            block = f"block{number}{'abcd'[position]}"
            *_, last = found = list(_block(block, stage, stage.stride if position == 0 else 1, above, channels))
            yield from found
            above, channels = last.name, stage.channels
    yield Layer("head", "convolution", (above,), HEAD_CHANNELS, activation="relu6")


def _block(name: str, stage: _Stage, stride: int, above: str, channels: int) -> Iterator[Layer]:
    wide, inside = channels * stage.expansion, above
    if stage.expansion > 1:
        yield Layer(f"{name}_expand", "convolution", (above,), wide, activation="relu6")
        inside = f"{name}_expand"
    yield Layer(f"{name}_depthwise", "depthwise", (inside,), wide, stage.kernel_px, stride, "relu6")
    yield Layer(f"{name}_project", "convolution", (f"{name}_depthwise",), stage.channels)
    if stride == 1 and channels == stage.channels:
        yield Layer(f"{name}_add", "add", (f"{name}_project", above), stage.channels)


def folded(tensors: Mapping[str, NDArray[Any]]) -> Arrays:
    """The layers' kernels and biases.

    Args:
        tensors: of the PyTorch model, by name.

    Raises:
        DataError: a tensor is missing, or of another shape.
    """
    arrays: Arrays = {}
    for layer, convolution, normalisation in _sources():
        try:
            kernel = tensors[f"{convolution}.weight"].astype(np.float64)
            gamma, beta, mean, variance = (
                tensors[f"{normalisation}.{name}"].astype(np.float64)
                for name in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gamma / np.sqrt(variance + EPSILON)
            arrays[f"{layer.name}/bias"] = (beta - mean * scale).astype(np.float32)
            kernel = kernel * scale[:, None, None, None]  # (out, in, height, width)
        except (KeyError, ValueError) as error:
            raise DataError(f"not the weights of EfficientNet-Lite0: {convolution}: {error}") from error
        order = (2, 3, 0, 1) if layer.kind == "depthwise" else (2, 3, 1, 0)
        arrays[f"{layer.name}/kernel"] = np.ascontiguousarray(kernel.transpose(order), np.float32)
    return arrays


def _sources() -> Iterator[tuple[Layer, str, str]]:
    """Each layer with weights, and what the PyTorch model calls its convolution and the normalisation after it."""
    ends = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    blocks = list(dict.fromkeys(layer.name.partition("_")[0] for layer in layers() if layer.name not in ends))
    for layer in layers():
        block, _, part = layer.name.partition("_")
        if layer.name in ends:
            yield layer, *ends[layer.name]
        elif part != "add":
            inside = f"_blocks.{blocks.index(block)}"
            yield layer, f"{inside}._{part}_conv", f"{inside}._bn{('expand', 'depthwise', 'project').index(part)}"
