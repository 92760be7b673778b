"""The backbones that there are, without their tops; nothing here imports Keras.

To add one of ``keras.applications``, add a line here and its weights to datasets.yaml.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import ParamsError

Side = int | Literal["auto"]
Precision = Literal["auto", "float32", "bfloat16"]
Kind = Literal["pooled", "bottleneck"]  # of features
Pooling = Literal["flatten", "avg", "max"]  # of a bottleneck
# From a batch of images, uint8 RGB, (n, side, side, 3), to the bottleneck, (n, height, width, channels), and the
# averages and maxima of three maps side by side, (n, pooled features): float32, neither clipped nor checked.
Forward = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class Network(NamedTuple):
    """One backbone."""

    application: str | None  # its name in keras.applications; None: it is not there, `architectures` has it
    module: str | None  # of keras.applications, whose `preprocess_input` prepares its images
    # What that does: caffe: BGR, less ImageNet's means; tf: RGB from -1 to 1; inside: nothing, its first layers do it.
    # lite, which is not Keras': RGB, less 127, over 128.
    scheme: Literal["caffe", "tf", "inside", "lite"]
    side_px: int  # what it was trained on
    min_side_px: int
    # The last maps, of 1/8 and of 1/16 of the image's side, that go on to the next block. Their averages and maxima are
    # the pooled features, together with those of the bottleneck, which is what the network puts out: 1/32.
    earlier: tuple[str, str]


NETWORKS = {
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
    """The network of that name.

    Raises:
        ParamsError: there is none.
    """
    if backbone not in NETWORKS:
        raise ParamsError(
            f"extract.backbone must be one of {', '.join(NETWORKS)}, got {backbone!r}", "edit params.yaml"
        )
    return NETWORKS[backbone]


def side_px(backbone: str, wanted: Side, of_dataset: Side) -> int:
    """The side of the images: what is wanted, else what the dataset asks for, else what the network was trained on.

    Raises:
        ParamsError: it is smaller than the network takes.
    """
    network = named(backbone)
    sides = [side for side in (wanted, of_dataset, network.side_px) if side != "auto"]
    if sides[0] < network.min_side_px:
        raise ParamsError(
            f"{backbone} takes images of {network.min_side_px} px or more, got {sides[0]}",
            f"set extract.image_side_px in params.yaml, such as to {network.side_px}",
        )
    return sides[0]
