"""Sections of params.yaml for models that read the images themselves, apart from what builds them."""

from typing import Annotated, Literal

from msgspec import Meta

from bottletop.core.settings import Params

Fraction = Annotated[float, Meta(ge=0, lt=1)]
Pool = Annotated[int, Meta(ge=1)]


class CnnParams(Params, frozen=True, kw_only=True):
    """Section ``cnn``: convolutions trained from scratch, in front of the layers that ``train`` describes."""

    image_side_px: Annotated[int, Meta(ge=8, le=1024)] | Literal["auto"]  # auto: the dataset's own, in datasets.yaml
    filters: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)]  # of each 3 x 3 convolution
    pooling: Pool | tuple[Pool, ...]  # side of the max pooling after every convolution, or after each
    dropout: Fraction  # fraction dropped after each pooling
    precision: Literal["auto", "float32", "bfloat16"]  # of the convolutions while they are trained; see `cnn`

    def __post_init__(self) -> None:
        if isinstance(self.pooling, tuple) and len(self.pooling) != len(self.filters):
            raise ValueError(f"pooling needs a side per convolution, {len(self.filters)}, got {len(self.pooling)}")

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Filters of each convolution and the side of the pooling after it."""
        pooling = self.pooling if isinstance(self.pooling, tuple) else (self.pooling,) * len(self.filters)
        return list(zip(self.filters, pooling, strict=True))


class FinetuneParams(Params, frozen=True, kw_only=True):
    """Section ``finetune``: training the backbone's last layers too, once the top is trained."""

    from_layer: str  # the first of the backbone's layers to train; all after it are trained too
    learning_rate: Annotated[float, Meta(gt=0, le=1)]
    epochs: Annotated[int, Meta(ge=1)]  # at most
    batch_size: Annotated[int, Meta(ge=1)]


class AugmentParams(Params, frozen=True, kw_only=True):
    """Section ``augment``: random changes of the training images, other ones in each epoch."""

    flip: Literal["none", "horizontal", "vertical", "both"]
    shift: Fraction  # of the side, in each direction, at most
    zoom: Fraction  # in or out, at most
    rotation_degrees: Annotated[float, Meta(ge=0, le=180)]  # either way, at most
    shear: Fraction  # sideways per unit of height, at most
    brightness: Fraction  # at most; 1 is the whole range of values
    contrast: Fraction  # at most
    saturation: Fraction  # at most
