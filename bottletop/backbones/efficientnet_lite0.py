"""EfficientNet-Lite0: its layers, and the conversion of the weights that its authors trained.

This is EfficientNet (Tan and Le, 2019) in its variant for small devices: without squeeze-and-excitation, and with ReLU6
instead of swish. The batch normalisation after each convolution is folded into the convolution's kernel and bias.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.layers import Layer
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import DataError

EPSILON = 1e-3  # of the batch normalisation


class _Stage(NamedTuple):
    """Blocks of the same width. The stride applies to the first block; the others have stride 1."""

    blocks: int
    kernel_px: int
    stride: int
    expansion: int  # ratio of a block's inner channels to its input channels
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
    """Yields the layers from first to last.

    Their names are ``stem``, ``block1a_depthwise``, ``block1a_project``, ``block2a_expand`` … ``head``.
    """
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
    """Yields one inverted residual block.

    It consists of an expansion, a depthwise convolution, a projection, and a skip connection where input and output
    have the same shape.

    Args:
        name: the prefix of the layers' names.
        stage: the stage that the block belongs to.
        stride: the stride of this block.
        above: the name of the layer that the block reads.
        channels: the number of channels of that layer.
    """
    wide, inside = channels * stage.expansion, above
    if stage.expansion > 1:
        yield Layer(f"{name}_expand", "convolution", (above,), wide, activation="relu6")
        inside = f"{name}_expand"
    yield Layer(f"{name}_depthwise", "depthwise", (inside,), wide, stage.kernel_px, stride, "relu6")
    yield Layer(f"{name}_project", "convolution", (f"{name}_depthwise",), stage.channels)
    if stride == 1 and channels == stage.channels:
        yield Layer(f"{name}_add", "add", (f"{name}_project", above), stage.channels)


def folded(tensors: Mapping[str, NDArray[Any]]) -> Arrays:
    """Folds the batch normalisations into the convolutions.

    Args:
        tensors: the tensors of the PyTorch model, by name.

    Returns:
        The layers' kernels and biases, float32. Kernels have the shape (height, width, in, out), those of depthwise
        convolutions (height, width, channels, 1).

    Raises:
        DataError: a tensor is missing or has an unexpected shape.
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
    """Yields each layer with weights, and the PyTorch model's names of its convolution and batch normalisation."""
    ends = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    blocks = list(dict.fromkeys(layer.name.partition("_")[0] for layer in layers() if layer.name not in ends))
    for layer in layers():
        block, _, part = layer.name.partition("_")
        if layer.name in ends:
            yield layer, *ends[layer.name]
        elif part != "add":
            inside = f"_blocks.{blocks.index(block)}"
            yield layer, f"{inside}._{part}_conv", f"{inside}._bn{('expand', 'depthwise', 'project').index(part)}"
