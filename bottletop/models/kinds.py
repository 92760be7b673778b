"""Trains the kind of model that ``train.model`` names, on features, images or both."""

from collections.abc import Callable

from bottletop.backbones import weights
from bottletop.core.catalogue import image_side_px
from bottletop.core.paths import Paths, weights_file
from bottletop.core.settings import load
from bottletop.images.index import Index, read_index
from bottletop.models import linear
from bottletop.models.network_params import AugmentParams, CnnParams, FinetuneParams
from bottletop.models.params import TopParams
from bottletop.models.pictures import PictureSet, open_pictures
from bottletop.models.trained import Entry, Trained
from bottletop.models.vectors import FeatureSet, open_features
from bottletop.split import read_split


def train(params: TopParams, paths: Paths, on_epoch: Callable[[Entry], None]) -> Trained:
    """Trains the model that the params ask for on one dataset; see `training.fit`.

    Raises:
        ArtefactError: features or images do not match the split, or are damaged.
        DataError: there is only one class.
        ParamsError: a setting is wrong, or training diverges.
    """
    if params.is_regression:
        return linear.train(_features(params, paths), params, on_epoch)
    from bottletop.models import cnn, finetuning, training  # a regression does not wait for TensorFlow's import

    if params.model == "top":
        return training.train(_features(params, paths), params, on_epoch)
    augment = load(AugmentParams, "augment")
    if params.model == "cnn":
        layers = load(CnnParams, "cnn")
        pictures = _pictures(paths, image_side_px(paths.dataset, layers.image_side_px))
        return cnn.train(pictures, layers, augment, params, on_epoch)
    features = _features(params, paths)
    pictures = _pictures(paths, features.manifest.image_side_px)
    arrays = weights.load(weights_file(features.manifest.backbone))
    return finetuning.train(features, pictures, arrays, load(FinetuneParams, "finetune"), augment, params, on_epoch)


def _features(params: TopParams, paths: Paths) -> FeatureSet:
    return open_features(paths.features, read_split(paths.split, Index(paths.index)), params.features, params.pooling)


def _pictures(paths: Paths, side_px: int) -> PictureSet:
    images = read_index(paths.index)
    return open_pictures(paths.images, images, read_split(paths.split, images), side_px)
