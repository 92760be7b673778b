"""A linear top, which predicts, and is read and written as a Keras file, without TensorFlow.

The import of TensorFlow takes 4 to 7 seconds, longer than the fit of a linear top, and than the prediction of a photo.
So this module has Keras' description of such a network. Tests compare it with Keras.
"""

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from bottletop.core.files import verified
from bottletop.models import keras_file
from bottletop.models.standardisation import signed_sqrt

Array = NDArray[np.float32]
Shape = list[int | None]  # the first is that of the batch


class LinearNetwork(NamedTuple):
    """A top as a function from features, as they were extracted, to class probabilities.

    It has the parts of a Keras model that predictions need.
    """

    kernel: Array  # (width, classes)
    bias: Array  # (classes,)
    sqrt: bool  # whether the features' signed square roots are taken first

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape of the features: (None, width)."""
        return (None, len(self.kernel))

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the probabilities: (None, classes)."""
        return (None, len(self.bias))

    def predict_on_batch(self, features: NDArray[Any]) -> Array:
        """Computes the class probabilities of each row of features: float32, (n, classes)."""
        values = features.astype(np.float32)
        logits = (signed_sqrt(values) if self.sqrt else values) @ self.kernel + self.bias
        return np.asarray(softmax(logits, axis=1))

    def write(self, path: Path) -> None:
        """Writes the network as a Keras file."""
        members = {
            "metadata.json": {"keras_version": importlib.metadata.version("keras")},
            "config.json": _config(self.kernel, self.sqrt),
        }
        layers = {"input_layer": ("features", ()), "dense": ("classes", (self.kernel, self.bias))}
        described = {name: json.dumps(value).encode() for name, value in members.items()}
        keras_file.write(path, {**described, "model.weights.h5": _weights(layers)})


def read(path: Path) -> LinearNetwork | None:
    """Reads a file that `LinearNetwork.write` has written.

    Returns:
        None if the file holds another network, or cannot be read. Keras loads it, or says what is wrong with it.

    Raises:
        ArtefactError: the file was changed after its stage wrote it.
    """
    verified(path)
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
            with file.open("model.weights.h5") as weights, h5py.File(weights) as stored:
                kernel, bias = (stored[f"layers/dense/vars/{number}"] for number in range(2))
                if any(array.id.get_offset() is None for array in (kernel, bias)):  # compressed, or in another file
                    return None
                kernel, bias = kernel[()], bias[()]
        sqrt = next((sqrt for sqrt in (True, False) if config == _config(kernel, sqrt)), None)
    except Exception:  # zipfile, zlib, json and h5py raise errors of their own for damaged files
        return None
    fits = kernel.dtype == bias.dtype == np.float32 and bias.shape == kernel.shape[1:]
    return LinearNetwork(kernel, bias, sqrt) if fits and sqrt is not None else None


def _weights(layers: Mapping[str, tuple[str, tuple[NDArray[np.float32], ...]]]) -> bytes:
    """Returns an HDF5 file with the name and the arrays of each layer."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for group, (name, arrays) in layers.items():
            variables = file.create_group(f"layers/{group}/vars")
            variables.attrs["name"] = name
            for number, values in enumerate(arrays):
                variables[str(number)] = values
        file.create_group("vars").attrs["name"] = "top"
    return data.getvalue()


def _config(kernel: NDArray[np.float32], sqrt: bool) -> dict[str, Any]:
    width, classes = kernel.shape
    shape: Shape = [None, width]
    layers = [_features(shape)]
    if sqrt:
        layers += [
            _operation("Absolute", shape, "features"),
            _operation("Sign", shape, "features"),
            _operation("Sqrt", shape, "absolute"),
            _operation("Multiply", shape, "sign", "sqrt"),
        ]
    layers.append(_classes(shape, classes, layers[-1]["name"]))
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "top",
            "trainable": True,
            "layers": layers,
            "input_layers": ["features", 0, 0],
            "output_layers": ["classes", 0, 0],
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": None},
        "compile_config": {},
    }


def _features(shape: Shape) -> dict[str, Any]:
    kept = {"batch_shape": shape, "dtype": "float32", "sparse": False, "ragged": False, "optional": False}
    return _layer("keras.layers.InputLayer", {"name": "features", **kept})


def _operation(kind: str, shape: Shape, *inputs: str) -> dict[str, Any]:
    layer = _layer(f"keras.src.ops.numpy.{kind}", {"name": kind.lower()}, shape, *inputs)
    return {**layer, "registered_name": kind}


def _classes(shape: Shape, classes: int, source: str) -> dict[str, Any]:
    zeros: dict[str, Any] = {
        "module": "keras.initializers",
        "class_name": "Zeros",
        "config": {},
        "registered_name": None,
    }
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    none = ("kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint", "quantization_config")
    config = {
        "name": "classes",
        "trainable": True,
        "dtype": policy,
        "units": classes,
        "activation": "softmax",
        "use_bias": True,
        "kernel_initializer": zeros,
        "bias_initializer": zeros,
        **dict.fromkeys(none),
    }
    return {**_layer("keras.layers.Dense", config, shape, source), "build_config": {"input_shape": shape}}


def _layer(kind: str, config: dict[str, Any], shape: Shape | None = None, *inputs: str) -> dict[str, Any]:
    """Describes a layer whose inputs are the outputs, of this shape, of the layers with these names."""
    module, _, name = kind.rpartition(".")
    tensors = [{"shape": shape, "dtype": "float32", "keras_history": [source, 0, 0]} for source in inputs]
    arguments = [{"class_name": "__keras_tensor__", "config": tensor} for tensor in tensors]
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": None,
        "name": config["name"],
        "inbound_nodes": [{"args": arguments, "kwargs": {}}] if inputs else [],
    }
