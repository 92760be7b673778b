"""Sections of params.yaml for models that read images.

They are kept apart from the code that builds the models: checking settings needs no TensorFlow.
"""

from typing import Annotated, Literal

from msgspec import Meta

from bottletop.core.settings import Params

Fraction = Annotated[float, Meta(ge=0, lt=1)]
Pool = Annotated[int, Meta(ge=1)]


class CnnParams(Params, frozen=True, kw_only=True):
    """Section ``cnn``: convolutions trained from scratch, in front of the layers that ``train`` describes."""

    image_side_px: Annotated[int, Meta(ge=8, le=1024)] | Literal["auto"] = "auto"  # auto: the dataset's
    # Number of filters of each 3 x 3 convolution.
    filters: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)] = (16, 32, 64, 128)
    pooling: Pool | tuple[Pool, ...] = 2  # side of the max pooling: one for all convolutions, or one for each
    dropout: Fraction = 0.0  # fraction dropped after each pooling
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the convolutions during training; see `cnn`

    def __post_init__(self) -> None:
        if isinstance(self.pooling, tuple) and len(self.pooling) != len(self.filters):
            raise ValueError(f"pooling needs a side per convolution, {len(self.filters)}, got {len(self.pooling)}")

    @property
    def layers(self) -> list[tuple[int, int]]:
        """For each convolution, its number of filters and the side of the pooling after it."""
        pooling = self.pooling if isinstance(self.pooling, tuple) else (self.pooling,) * len(self.filters)
        return list(zip(self.filters, pooling, strict=True))


class FinetuneParams(Params, frozen=True, kw_only=True):
    """Section ``finetune``: training the backbone's last layers, after the top has been trained."""

    from_layer: str = "block5_conv1"  # the first backbone layer to train; all layers after it are trained too
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.00001
    epochs: Annotated[int, Meta(ge=1)] = 10  # maximum, after the top's
    batch_size: Annotated[int, Meta(ge=1)] = 16


class AugmentParams(Params, frozen=True, kw_only=True):
    """Section ``augment``: random changes of the training images, drawn anew in each epoch."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    shift: Fraction = 0.0  # maximum in each direction, as a fraction of the side
    zoom: Fraction = 0.0  # maximum, in or out
    rotation_degrees: Annotated[float, Meta(ge=0, le=180)] = 0.0  # maximum, either way
    shear: Fraction = 0.0  # maximum, sideways per unit of height
    brightness: Fraction = 0.0  # maximum; 1 is the whole range of values
    contrast: Fraction = 0.0  # maximum
    saturation: Fraction = 0.0  # maximum
