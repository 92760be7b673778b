"""A trained model as a function from images to class probabilities, for predicting, exporting and serving."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image

from bottletop.backbones import weights
from bottletop.backbones.extractor import Engine, Extractor
from bottletop.backbones.networks import Kind, Pooling
from bottletop.core.errors import ArtefactError
from bottletop.evaluation.scores import Probabilities
from bottletop.images.decoding import decode, square
from bottletop.models import linear_network
from bottletop.models.pictures import PREPROCESSING, PictureSet
from bottletop.models.record import TopRecord, read_record
from bottletop.models.vectors import vectors

if TYPE_CHECKING:
    import keras

    from bottletop.inference import heatmaps

Images = NDArray[np.uint8]  # RGB, (n, side, side, 3)


class Files(NamedTuple):
    """The files of a trained model, wherever they came from."""

    dataset: str  # name of the dataset; for a registered model, of the folder
    model: Path  # folder with top.keras and top.json
    weights: Path | None  # the backbone's weights; None if the model reads the images itself
    source: str = ""  # where the model is from and how good it is, for people


@dataclass(frozen=True)
class Classifier:
    """A trained model, ready to use."""

    class_names: tuple[str, ...]  # in the order of the probabilities
    image_side_px: int  # side of the square input images; see `decoding.square`
    batch_size: int  # largest number of images per call of `probabilities`
    probabilities: Callable[[Images], Probabilities]
    explain: "Callable[[], heatmaps.Explain]"  # builds the heat map function; takes seconds

    def look(self, data: bytes) -> tuple[Image.Image, NDArray[np.uint8]]:
        """Decodes an image file.

        Args:
            data: the bytes of the file.

        Returns:
            The decoded image, of which a JPEG may come at a reduced size, and the model's input: uint8 RGB,
            (side, side, 3).

        Raises:
            DataError: the file is not an image; the message holds the reason alone, without a file name.
        """
        picture = decode(data, self.image_side_px)
        return picture, square(picture, self.image_side_px)


class Model(Protocol):
    """The trained part of a model, a `keras.Model` or a `LinearNetwork`: from features or images to probabilities."""

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...

    def predict_on_batch(self, inputs: NDArray[Any], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Whole:
    """A trained model, with the frozen backbone that computes its features if it reads features.

    `load_whole` makes it, and checks that the two fit together.
    """

    folder: Path  # with top.keras and top.json
    model: Model
    record: TopRecord
    arrays: weights.Arrays | None  # the backbone's weights; None if the model reads the images itself

    @property
    def network(self) -> str:
        """The backbone's name, for a model that reads features."""
        return str(self.record.contract.get("backbone"))

    @property
    def image_side_px(self) -> int:
        """Side of the square input images, in pixels."""
        return int(self.record.contract["image_side_px"])

    @property
    def engine(self) -> Engine:
        """The engine and precision that computed the model's features; TensorFlow if the record names no engine."""
        return Engine(self.record.contract.get("engine", "tensorflow"), self.record.contract["precision"])

    @property
    def extractor(self) -> Extractor:
        """The backbone as a function, for a model that reads features."""
        return Extractor(self.network, self.arrays or {}, self.image_side_px, self.engine)

    def explain(self) -> "heatmaps.Explain":
        """Builds the heat map function."""
        from bottletop.inference import heatmaps

        if self.arrays is None:
            return heatmaps.of_network(load_keras(self.folder))
        return heatmaps.of_top(load_keras(self.folder), self.record, self.arrays, self.image_side_px)


def load(files: Files) -> Classifier:
    """Loads the model from these files; see `load_whole`."""
    return wrap(load_whole(files))


def wrap(whole: Whole) -> Classifier:
    """Wraps a loaded model as a function from images to probabilities."""
    names, side_px = whole.record.class_names, whole.image_side_px
    if whole.arrays is None:
        return Classifier(names, side_px, PictureSet.at_once, partial(_predict, whole.model), whole.explain)
    contract, extractor = whole.record.contract, whole.extractor

    def probabilities(images: Images) -> Probabilities:
        bottleneck, pooled = extractor(images)
        kind = contract["kind"]
        return _predict(whole.model, vectors(pooled if kind == "pooled" else bottleneck, kind, contract["pooling"]))

    return Classifier(names, side_px, extractor.batch_size, probabilities, whole.explain)


def load_whole(files: Files) -> Whole:
    """Loads the model and its backbone's weights, and checks that they fit together.

    Raises:
        ArtefactError: a file cannot be read, or the files do not fit together; the message names what differs.
    """
    record = read_record(files.model)
    _check_contract(files, record)
    model = linear_network.read(files.model / "top.keras") or load_keras(files.model)
    if files.weights is None:
        _require(files, record, {"preprocessing": PREPROCESSING})
        whole = Whole(files.model, model, record, None)
        _require_shapes(files, whole, (whole.image_side_px, whole.image_side_px, 3))
        return whole
    arrays = weights.load(files.weights)
    whole = Whole(files.model, model, record, arrays)
    extractor = whole.extractor
    _require(files, record, {"preprocessing": extractor.preprocessing, "weights_digest": weights.digest(arrays)})
    pooled, bottleneck = extractor.shapes
    kind = record.contract["kind"]
    features = np.zeros((1, *(pooled if kind == "pooled" else bottleneck)), np.float16)
    _require_shapes(files, whole, vectors(features, kind, record.contract["pooling"]).shape[1:])
    return whole


class _Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the contract that predictions use as they are; the others are compared with what is here."""

    image_side_px: Annotated[int, Meta(ge=1, le=1024)]


class _FeatureContract(_Contract, frozen=True, kw_only=True):
    """The same for a model that reads features."""

    engine: Literal["ncnn", "tensorflow"] = "tensorflow"
    precision: Literal["float32", "bfloat16"]
    kind: Kind
    pooling: Pooling


def _check_contract(files: Files, record: TopRecord) -> None:
    try:
        msgspec.convert(record.contract, _Contract if files.weights is None else _FeatureContract)
    except msgspec.ValidationError as error:
        raise ArtefactError(f"{files.model}/top.json is damaged, in its contract: {error}", "run dvc repro") from error


def _require(files: Files, record: TopRecord, expected: dict[str, str]) -> None:
    for name, value in expected.items():
        if record.contract.get(name) != value:
            raise ArtefactError(
                f"the model in {files.model} was trained with {name} {record.contract.get(name)!r}, here "
                f"it is {value!r}",
                "run dvc repro, or take the files of one version (--rev)",
            )


def _require_shapes(files: Files, whole: Whole, inputs: tuple[int, ...]) -> None:
    expected = (inputs, len(whole.record.class_names))
    found = whole.model.input_shape[1:], whole.model.output_shape[-1]
    if found != expected:
        raise ArtefactError(
            f"{files.model} does not fit together: top.json tells of inputs {expected[0]} from images "
            f"of {whole.image_side_px} px and {expected[1]} classes, top.keras takes {found[0]} and "
            f"gives {found[1]}",
            "run dvc repro",
        )


def load_keras(folder: Path) -> "keras.Model":
    """Loads the model in a folder by Keras; code in its file is never run.

    Raises:
        ArtefactError: the file cannot be read.
    """
    from bottletop.models import top  # TensorFlow takes seconds to import

    return top.load(folder)[0]


def _predict(model: Model, inputs: NDArray[Any]) -> Probabilities:
    return np.asarray(model.predict_on_batch(inputs), np.float64).reshape(len(inputs), -1)
