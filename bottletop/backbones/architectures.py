"""Layer-by-layer descriptions of the backbones that the engines build themselves."""

from collections.abc import Iterator

import numpy as np

from bottletop.backbones import efficientnet_lite0
from bottletop.backbones.layers import Layer
from bottletop.backbones.networks import named
from bottletop.backbones.weights import Arrays


def _vgg(convolutions: tuple[int, ...]) -> Iterator[Layer]:
    """Yields the layers of VGG (Simonyan and Zisserman, 2015, configurations D and E).

    Args:
        convolutions: the number of convolutions in each of the five blocks.
    """
    above = "images"
    for block, count in enumerate(convolutions, 1):
        channels = min(512, 32 << block)
        for number in range(1, count + 1):
            yield Layer(f"block{block}_conv{number}", "convolution", (above,), channels, 3, 1, "relu")
            above = f"block{block}_conv{number}"
        yield Layer(f"block{block}_pool", "max_pool", (above,), channels, 2, 2)
        above = f"block{block}_pool"


LAYERS = {
    "vgg16": tuple(_vgg((2, 2, 3, 3, 3))),
    "vgg19": tuple(_vgg((2, 2, 4, 4, 4))),
    "efficientnet_lite0": tuple(efficientnet_lite0.layers()),
}


def shapes(backbone: str, image_side_px: int) -> dict[str, tuple[int, int, int]]:
    """Returns the output shape (height, width, channels) of each layer by name, and that of ``images``."""
    found = {"images": (image_side_px, image_side_px, 3)}
    for layer in LAYERS[backbone]:
        side = found[layer.inputs[0]][0]
        side = side // layer.stride if layer.kind == "max_pool" else -(-side // layer.stride)
        found[layer.name] = (side, side, layer.channels)
    return found


def maps(backbone: str, image_side_px: int) -> list[tuple[int, int, int]]:
    """Returns the shapes (height, width, channels) of the feature maps that are pooled, the bottleneck last."""
    found = shapes(backbone, image_side_px)
    return [found[name] for name in (*named(backbone).earlier, LAYERS[backbone][-1].name)]


def largest(backbone: str, weights: Arrays) -> float:
    """Returns an upper bound on the absolute values of any layer before its activation, for any image.

    A convolution's outputs are at most the largest input times the sum of the kernel's absolute values, plus the
    absolute value of the bias.
    """
    bounds, overall = {"images": 255.0}, 255.0
    for layer in LAYERS[backbone]:
        bound = sum(bounds[name] for name in layer.inputs)
        if layer.has_weights:
            kernel, bias = (np.abs(weights[f"{layer.name}/{each}"]).astype(np.float64) for each in ("kernel", "bias"))
            bound = float((bound * kernel.sum((0, 1, 3 if layer.kind == "depthwise" else 2)) + bias).max())
        overall = max(overall, bound)
        bounds[layer.name] = min(bound, 6.0) if layer.activation == "relu6" else bound
    return overall
