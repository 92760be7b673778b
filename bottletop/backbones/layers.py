"""What a network is made of, for the engines that build it themselves; nothing here imports one."""

from typing import Literal, NamedTuple


class Layer(NamedTuple):
    """A layer and what it reads; those with weights have arrays called ``<name>/kernel`` and ``<name>/bias``."""

    name: str
    kind: Literal["convolution", "depthwise", "max_pool", "add"]
    inputs: tuple[str, ...]  # names of layers; "images" are the prepared images
    channels: int  # of what it puts out
    kernel_px: int = 1  # the side of its kernel; what it reads is padded as Keras' "same", but for max_pool
    stride: int = 1
    activation: Literal["linear", "relu", "relu6"] = "linear"

    @property
    def has_weights(self) -> bool:
        return self.kind in ("convolution", "depthwise")
