"""The tensorflow engine: backbones in float32 or bfloat16, with Keras."""

import math
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.architectures import LAYERS
from bottletop.backbones.layers import Layer
from bottletop.backbones.networks import Forward, Kind, Pooling, named
from bottletop.backbones.runtime import keras, tf
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import DataError

CPU = ["CPU:0"]


def forward(
    backbone: str, weights: Arrays, image_side_px: int, precision: Literal["float32", "bfloat16"], at_once: int
) -> Forward:
    """Builds the network and returns it as a function; see `networks.Forward`.

    An image's features must not depend on its batch. Batches are therefore padded to `at_once` images, so that their
    size makes no difference. With oneDNN, the other images in the batch make no difference either; this was observed
    with AVX2 and with AMX, and not tested on a GPU. TensorFlow's own convolutions, which are used where there is only
    AVX2, sum in an order that depends on an image's position in the batch. They get one image at a time.

    Args:
        backbone: a name in `networks.NETWORKS`.
        weights: the backbone's arrays.
        image_side_px: the image side in pixels.
        precision: the type to compute in.
        at_once: the batch size, which is also the largest number of images that the function accepts.

    Raises:
        DataError: the arrays do not match the network.
    """
    compute = _compiled(model(backbone, weights, image_side_px, precision), preparation(backbone))
    devices = _devices()

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if devices == CPU and not _has_onednn():
            found = [compute(tf.constant(image[None])) for image in images]
        else:
            found = []
            full = np.pad(images, ((0, at_once - len(images)), (0, 0), (0, 0), (0, 0)))
            for device, part in zip(devices, np.array_split(full, min(len(devices), at_once)), strict=False):
                with tf.device(device):  # each GPU computes while the next one receives its part
                    found.append(compute(tf.constant(part)))
        bottleneck, pooled = (np.concatenate(parts)[: len(images)] for parts in zip(*found, strict=True))
        return bottleneck, pooled

    return run


def _compiled(
    network: keras.Model, prepare: Callable[[keras.KerasTensor], keras.KerasTensor]
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Compiles a network into a function from images, uint8, to their bottleneck and pooled features in float32."""
    groups = (network.trainable_variables, network.non_trainable_variables)

    def maps_of(pixels: tf.Tensor) -> list[tf.Tensor]:
        if network.outputs[-1].dtype == "float32":
            return list(network(pixels, training=False))
        # bfloat16 convolutions rearrange constant kernels in memory once, but variables in each call, which would take
        # a tenth of the call's time.
        constants = [[_constant(variable) for variable in group] for group in groups]
        return list(network.stateless_call(*constants, pixels, training=False)[0])

    @tf.function  # type: ignore[untyped-decorator]
    def compute(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        maps = [tf.cast(each, tf.float32) for each in maps_of(prepare(tf.cast(images, tf.float32)))]
        return maps[-1], _averages_and_maxima(maps)

    return cast(Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], compute)


def _constant(variable: keras.Variable) -> tf.Tensor:
    """Turns a variable into a constant.

    Kernels become bfloat16, the type that they are computed in. This saves memory: TensorFlow copies the graph several
    times.
    """
    with tf.init_scope():
        array = variable.numpy()
    return tf.constant(array, "bfloat16" if variable.path.endswith("/kernel") else variable.dtype)


def _has_onednn() -> bool:
    """Whether oneDNN computes convolutions on the CPU: TensorFlow's choice, or that of ``TF_ENABLE_ONEDNN_OPTS``."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())  # there is no public function for this


def preparation(backbone: str) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Returns the function that turns images, float32 RGB from 0 to 255, into the network's input."""
    network = named(backbone)
    if network.module is None:
        return lambda pixels: (pixels - 127.0) / 128.0
    prepare = getattr(keras.applications, network.module).preprocess_input
    return cast(Callable[[keras.KerasTensor], keras.KerasTensor], prepare)


def _devices() -> list[str]:
    """Returns every GPU, or the CPU if there is none.

    Several devices were tested only as logical parts of one CPU, because no GPU was available.
    """
    return [gpu.name for gpu in tf.config.list_logical_devices("GPU")] or CPU


def vectors(
    maps: Sequence[keras.KerasTensor],
    kind: Kind,
    pooling: Pooling,
    store: Callable[[keras.KerasTensor], keras.KerasTensor] = lambda values: values,
) -> keras.KerasTensor:
    """Builds a top's input from feature maps, as part of a network; `models.vectors` does the same for stored features.

    Args:
        maps: the float32 feature maps that are pooled, the bottleneck last.
        kind: the kind of features that the top reads.
        pooling: how the bottleneck is pooled.
        store: applied where an extraction rounds values to store them; by default they are not rounded.

    Returns:
        One vector per image, (n, width).
    """
    if kind == "pooled":
        return store(_averages_and_maxima(maps))
    bottleneck = store(maps[-1])
    if pooling == "flatten":
        return keras.ops.reshape(bottleneck, (-1, math.prod(bottleneck.shape[1:])))
    if pooling == "max":
        return keras.ops.max(bottleneck, axis=(1, 2))
    return store(keras.ops.mean(bottleneck, axis=(1, 2)))


def shapes(backbone: str, image_side_px: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shapes of one image's pooled features (features,) and bottleneck (height, width, channels)."""
    maps = _maps(backbone, _network(backbone, image_side_px, "float32"))
    return (2 * sum(each.shape[-1] for each in maps),), tuple(maps[-1].shape[1:])


def read_weights(backbone: str, path: Path) -> Arrays:
    """Reads the arrays of a file that Keras wrote: ``.keras``, ``.weights.h5``, or ``.h5`` like the official files.

    Raises:
        DataError: the file cannot be read or belongs to another network.
    """
    network = _network(backbone, named(backbone).side_px, "float32")
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):  # Keras only warns of arrays it skips
            network.load_weights(path)
    except (UserWarning, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"not the weights of {backbone} without its top: {str(error).strip()[:300]}") from error
    return {variable.path: variable.numpy() for variable in network.weights}


def require_match(backbone: str, arrays: Arrays) -> None:
    """Checks that the arrays have the names and shapes of the network's weights.

    Raises:
        DataError: they differ.
    """
    _fill(_network(backbone, named(backbone).side_px, "float32"), arrays)


def gpus_compute_in_bfloat16() -> bool | None:
    """Whether every GPU supports bfloat16, judged by its compute capability; None without a GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]  # not tested: no GPU available
    return all(each.get("compute_capability", (0,)) >= (8,) for each in details)


def model(backbone: str, weights: Arrays, image_side_px: int, precision: Literal["float32", "bfloat16"]) -> keras.Model:
    """Builds the network with its weights, from prepared images, (n, side, side, 3), to the maps that are pooled.

    Raises:
        DataError: the arrays do not match the network.
    """
    network = _network(backbone, image_side_px, precision)
    _fill(network, weights)
    return keras.Model(network.input, _maps(backbone, network))


def _network(backbone: str, image_side_px: int, precision: str) -> keras.Model:
    """Builds the network without its trained weights, from prepared images to the bottleneck."""
    application, shape = named(backbone).application, (image_side_px, image_side_px, 3)
    before = keras.config.dtype_policy()
    # Resets the counter that names unnamed layers, so that arrays keep their names. To free memory as well would take
    # Python some tenths of a second.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        if application is None:
            return _from_layers(LAYERS[backbone], shape)
        return getattr(keras.applications, application)(weights=None, include_top=False, input_shape=shape)
    finally:
        keras.config.set_dtype_policy(before)


def _from_layers(layers: Sequence[Layer], shape: tuple[int, int, int]) -> keras.Model:
    """Builds a network that consists of convolutions and sums only."""
    found = {"images": keras.Input(shape)}
    for layer in layers:
        inputs = [found[name] for name in layer.inputs]
        options = {"strides": layer.stride, "padding": "same", "activation": layer.activation, "name": layer.name}
        if layer.kind == "add":
            found[layer.name] = keras.layers.Add(name=layer.name)(inputs)
        elif layer.kind == "depthwise":
            found[layer.name] = keras.layers.DepthwiseConv2D(layer.kernel_px, **options)(inputs[0])
        else:
            found[layer.name] = keras.layers.Conv2D(layer.channels, layer.kernel_px, **options)(inputs[0])
    return keras.Model(found["images"], found[layers[-1].name])


def _averages_and_maxima(maps: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Returns the pooled features, (n, features): each map's averages, then its maxima, map by map."""
    pools = (keras.ops.mean, keras.ops.max)
    return keras.ops.concatenate([pool(each, axis=(1, 2)) for each in maps for pool in pools], axis=-1)


def _maps(backbone: str, network: keras.Model) -> list[keras.KerasTensor]:
    """Returns the feature maps that are pooled, the bottleneck last."""
    return [*(network.get_layer(name).output for name in named(backbone).earlier), network.output]


def _fill(network: keras.Model, arrays: Arrays) -> None:
    """Assigns the arrays to the network's variables.

    Raises:
        DataError: a name or a shape differs.
    """
    wanted = {variable.path: tuple(variable.shape) for variable in network.weights}
    found = {name: array.shape for name, array in arrays.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise DataError(f"{name}: expected an array of shape {wanted.get(name)}, got {found.get(name)}")
    for variable in network.weights:
        variable.assign(arrays[variable.path])
