"""Keras' file format: files that are equal for equal models, and the file of a linear classifier without TensorFlow.

The import of TensorFlow takes 4 to 7 seconds, longer than the fit of a linear classifier. So this module writes the
file of such a classifier. A test compares it with the file that Keras writes.
"""

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Shape = list[int | None]  # the first is that of the batch

TRACES = ("date_saved", "shared_object_id")  # the time of saving, and memory addresses


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes the members of a .keras file, without the times and memory addresses that Keras puts there."""
    with zipfile.ZipFile(path, "w") as file:
        for name in sorted(members):
            data = members[name]
            if name.endswith(".json"):
                kept = json.loads(data, object_hook=lambda item: {k: v for k, v in item.items() if k not in TRACES})
                data = json.dumps(kept).encode()
            file.writestr(zipfile.ZipInfo(name), data)


def read(path: Path) -> dict[str, bytes]:
    """Returns the members of a .keras file by name."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write_linear(path: Path, kernel: NDArray[np.float32], bias: NDArray[np.float32], *, sqrt: bool) -> None:
    """Writes a network from features, (n, width), to class probabilities, (n, classes).

    Args:
        path: the new file.
        kernel: (width, classes).
        bias: (classes,).
        sqrt: whether the network begins with the signed square root of the features.
    """
    members = {
        "metadata.json": {"keras_version": importlib.metadata.version("keras")},
        "config.json": _config(kernel, sqrt),
    }
    weights = _weights({"input_layer": ("features", ()), "dense": ("classes", (kernel, bias))})
    write(path, {**{name: json.dumps(value).encode() for name, value in members.items()}, "model.weights.h5": weights})


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
