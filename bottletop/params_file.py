"""The whole of params.yaml: its sections, and which of the settings have no effect."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bottletop.backbones.networks import side_px
from bottletop.core.catalogue import WeightsEntry, dataset, image_side_px
from bottletop.core.errors import exit_on_error
from bottletop.core.paths import PARAMS, WEIGHTS
from bottletop.core.settings import Params, load
from bottletop.core.terminal import say
from bottletop.download.params import DownloadParams
from bottletop.evaluation.scores import EvaluateParams
from bottletop.features.manifest import ExtractParams
from bottletop.models.network_params import AugmentParams, CnnParams, FinetuneParams
from bottletop.models.params import TopParams
from bottletop.split import SplitParams


class ParamsFile(Params, frozen=True, kw_only=True):
    """The content of params.yaml: the names of the active datasets, and a section for each stage or kind of model."""

    datasets: Annotated[tuple[str, ...], Meta(min_length=1)]
    download: DownloadParams
    split: SplitParams
    extract: ExtractParams
    train: TopParams
    cnn: CnnParams
    finetune: FinetuneParams
    augment: AugmentParams
    evaluate: EvaluateParams

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(self.datasets).items() if count > 1]
        if twice:
            raise ValueError(f"datasets has {', '.join(twice)} more than once")


SECTIONS: Mapping[str, type[Params]] = {
    field.name: field.type for field in msgspec.structs.fields(ParamsFile) if field.name != "datasets"
}


def read_params() -> ParamsFile:
    """Reads params.yaml, and prints which settings change nothing.

    Raises:
        ParamsError: there is a mistake anywhere in params.yaml, or in the entry of an active dataset or the backbone.
    """
    params = load(ParamsFile, "", PARAMS)
    for text in ignored(params):
        say(f"no effect: {text}")
    for name in params.datasets:
        if params.train.model == "cnn":
            image_side_px(name, params.cnn.image_side_px)
        else:
            side_px(params.extract.backbone, params.extract.image_side_px, dataset(name).image_side_px)
    if params.train.model != "cnn":
        load(WeightsEntry, params.extract.backbone, WEIGHTS)
    return params


def ignored(params: ParamsFile) -> list[str]:
    """Returns a text for each reason why nothing reads some of the settings that differ from their defaults.

    A text is such as ``augment.flip, augment.zoom with train.model: top``.
    """
    found = defaultdict(list)
    for reason, names in _unread(params):
        for name in names:
            if _is_changed(params, name):
                found[reason].append(name)
    return [f"{', '.join(names)} with {reason}" for reason, names in found.items()]


def _unread(params: ParamsFile) -> Iterator[tuple[str, list[str]]]:
    """Yields settings that nothing reads, by the reason."""
    train = params.train
    model = f"train.model: {train.model}"
    for section, readers in {
        "extract": ("top", "finetune"),
        "cnn": ("cnn",),
        "finetune": ("finetune",),
        "augment": ("cnn", "finetune"),
    }.items():
        if train.model not in readers:
            yield model, [f"{section}.{name}" for name in SECTIONS[section].__struct_fields__]
    if train.model == "cnn":
        yield model, ["train.features", "train.pooling", "train.transform", "train.standardise"]
    elif train.features == "pooled":
        yield "train.features: pooled", ["train.pooling"]
    if train.is_regression:
        unread = ("input_dropout", "learning_rate", "batch_size", "label_smoothing")
        yield "the logistic regression (docs/models.md)", [f"train.{name}" for name in unread]
    if not train.hidden:
        yield "train.hidden: []", ["train.dropout", "train.activation", "train.leaky_slope"]
    elif train.activation != "leaky_relu":
        yield f"train.activation: {train.activation}", ["train.leaky_slope"]


def _is_changed(params: ParamsFile, name: str) -> bool:
    """Returns whether a setting differs from its default, if it has one."""
    section, _, key = name.partition(".")
    default: Any = next(field.default for field in msgspec.structs.fields(SECTIONS[section]) if field.name == key)
    return default is not msgspec.NODEFAULT and getattr(getattr(params, section), key) != default


if __name__ == "__main__":  # says what is wrong with params.yaml, or nothing
    with exit_on_error("make run"):
        load(ParamsFile, "", PARAMS)
