"""The description of a layer, for the engines that build networks themselves. No engine is imported here."""

from typing import Literal, NamedTuple


class Layer(NamedTuple):
    """A layer and its inputs. The weights of a layer are the arrays ``<name>/kernel`` and ``<name>/bias``."""

    name: str
    kind: Literal["convolution", "depthwise", "max_pool", "add"]
    inputs: tuple[str, ...]  # names of layers; "images" stands for the prepared images
    channels: int  # of the output
    kernel_px: int = 1  # side of the kernel; inputs are padded as with Keras' "same", except for max_pool: no padding
    stride: int = 1
    activation: Literal["linear", "relu", "relu6"] = "linear"

    @property
    def has_weights(self) -> bool:
        """Whether the layer has a kernel and a bias."""
        return self.kind in ("convolution", "depthwise")
