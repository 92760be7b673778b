"""Section ``train`` of params.yaml.

It is kept apart from the code that builds the top: checking settings needs no TensorFlow.
"""

from typing import Annotated, Literal

from msgspec import Meta

from bottletop.backbones.networks import Kind, Pooling
from bottletop.core.settings import Params

Model = Literal["top", "cnn", "finetune"]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class TopParams(Params, frozen=True, kw_only=True):
    """Section ``train`` of params.yaml: the dense layers that every model ends with, and how the model is trained."""

    model: Model = "top"  # top: on the backbone's features; cnn: convolutions from scratch; finetune: the backbone too
    features: Kind = "pooled"  # pooled: averages and maxima of three blocks; bottleneck: the last maps
    pooling: Pooling = "flatten"  # of the bottleneck; has no effect on pooled features
    transform: Literal["none", "sqrt"] = "sqrt"  # sqrt: signed square root of the features, which reduces their skew
    standardise: bool = True  # scale features to zero mean and unit variance over the training images
    input_dropout: Fraction = 0.5  # fraction of the features dropped
    hidden: tuple[Annotated[int, Meta(ge=1)], ...] = ()  # units of each hidden layer; [] is a linear top
    dropout: Fraction | tuple[Fraction, ...] = 0.5  # fraction dropped after hidden layers: for all, or one for each
    activation: Literal["leaky_relu", "relu", "elu", "gelu", "selu", "silu", "tanh"] = "leaky_relu"
    leaky_slope: Annotated[float, Meta(ge=0, lt=1)] = 0.3  # slope of leaky_relu below zero
    optimiser: Literal["auto", "adam", "rmsprop", "sgd"] = "auto"  # auto: see `is_regression`; adam for other models
    learning_rate: Annotated[float, Meta(gt=0, le=1000)] = 0.0003
    epochs: Annotated[int, Meta(ge=1)] = 60  # maximum
    batch_size: Annotated[int, Meta(ge=1)] = 32
    patience: Annotated[int, Meta(ge=1)] | None = 8  # stop after so many epochs without a lower loss; null: never
    class_weights: Literal["none", "balanced"] = "none"  # balanced: weights inversely proportional to class shares
    label_smoothing: Fraction = 0.2
    # Penalty on the kernels of all layers; auto: by cross-validation for a regression, none for other models.
    l2: Annotated[float, Meta(ge=0, le=1000)] | Literal["auto"] = "auto"
    calibrate: bool = True  # divide the logits by one temperature
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if isinstance(self.dropout, tuple) and len(self.dropout) != len(self.hidden):
            raise ValueError(f"dropout needs a value per hidden layer, {len(self.hidden)}, got {len(self.dropout)}")

    @property
    def is_regression(self) -> bool:
        """Whether the model is a logistic regression, which `linear` fits; Keras trains all others."""
        return self.model == "top" and not self.hidden and self.optimiser == "auto"

    @property
    def layers(self) -> list[tuple[int, float]]:
        """For each hidden layer, its number of units and the fraction dropped after it."""
        dropout = self.dropout if isinstance(self.dropout, tuple) else (self.dropout,) * len(self.hidden)
        return list(zip(self.hidden, dropout, strict=True))
