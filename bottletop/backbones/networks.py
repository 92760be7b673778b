"""The available backbones, without their tops. Keras is not imported here.

To add a backbone from ``keras.applications``, add its name and a line here, and its weights to weights.yaml.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ParamsError

Backbone = Literal[
    "vgg16",
    "vgg19",
    "efficientnet_lite0",
    "resnet50",
    "xception",
    "inception_v3",
    "efficientnet_v2_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
]
Side = int | Literal["auto"]
Precision = Literal["auto", "float32", "bfloat16"]
Kind = Literal["pooled", "bottleneck"]  # of features
Pooling = Literal["flatten", "avg", "max"]  # of a bottleneck
# Turns a batch of images, uint8 RGB, (n, side, side, 3), into the bottleneck, (n, height, width, channels), and the
# pooled features, (n, features): the averages and maxima of three feature maps, concatenated. Both are float32, neither
# clipped nor checked.
Forward = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class Network(NamedTuple):
    """One backbone."""

    application: str | None  # its name in keras.applications; None: defined in `architectures` instead
    module: str | None  # of keras.applications; its `preprocess_input` prepares the images
    # How images are prepared. caffe: BGR, with ImageNet's means subtracted; tf: RGB scaled to -1 to 1; inside: not at
    # all, because the network's first layers do it; lite, which is not part of Keras: RGB, (value - 127) / 128.
    scheme: Literal["caffe", "tf", "inside", "lite"]
    side_px: int  # side of the images that it was trained on
    min_side_px: int  # smallest image side that it accepts
    # Two layers: their outputs are the last feature maps at 1/8 and at 1/16 of the image side, and feed the next block.
    # The pooled features are their averages and maxima, and those of the bottleneck, the network's output at 1/32.
    earlier: tuple[str, str]


NETWORKS: dict[str, Network] = {  # by the names in `Backbone`
    "vgg16": Network("VGG16", "vgg16", "caffe", 224, 32, ("block3_pool", "block4_pool")),
    "vgg19": Network("VGG19", "vgg19", "caffe", 224, 32, ("block3_pool", "block4_pool")),
    "efficientnet_lite0": Network(None, None, "lite", 224, 32, ("block3b_add", "block5c_add")),
    "resnet50": Network("ResNet50", "resnet50", "caffe", 224, 32, ("conv3_block4_out", "conv4_block6_out")),
    "xception": Network("Xception", "xception", "tf", 299, 71, ("block4_sepconv1_act", "block13_sepconv1_act")),
    "inception_v3": Network("InceptionV3", "inception_v3", "tf", 299, 75, ("mixed2", "mixed7")),
    "efficientnet_v2_b0": Network(
        "EfficientNetV2B0", "efficientnet_v2", "inside", 224, 32, ("block3b_add", "block5e_add")
    ),
    "efficientnet_v2_s": Network(
        "EfficientNetV2S", "efficientnet_v2", "inside", 384, 32, ("block3d_add", "block5i_add")
    ),
    "convnext_tiny": Network(
        "ConvNeXtTiny", "convnext", "inside", 224, 32,
        ("convnext_tiny_stage_1_block_2_identity", "convnext_tiny_stage_2_block_8_identity"),
    ),
}  # fmt: skip


def named(backbone: str) -> Network:
    """Returns the network of that name.

    Raises:
        ParamsError: there is no such network.
    """
    if backbone not in NETWORKS:
        raise ParamsError(
            f"extract.backbone must be one of {', '.join(NETWORKS)}, got {backbone!r}", "edit params.yaml"
        )
    return NETWORKS[backbone]


def side_px(backbone: str, wanted: Side, of_dataset: Side) -> int:
    """Returns the image side in pixels: the first of the following that is not ``auto``.

    Args:
        backbone: the network, whose training side comes last.
        wanted: the user's choice, ``extract.image_side_px``.
        of_dataset: the dataset's value.

    Raises:
        ParamsError: the side is smaller than the network accepts, or there is no such network.
    """
    network = named(backbone)
    sides = [side for side in (wanted, of_dataset, network.side_px) if side != "auto"]
    if sides[0] < network.min_side_px:
        raise ParamsError(
            f"{backbone} takes images of {network.min_side_px} px or more, got {sides[0]}",
            f"set extract.image_side_px in params.yaml, such as to {network.side_px}",
        )
    return sides[0]
