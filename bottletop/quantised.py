"""VGG16 in 8-bit integers on the CPU, by ONNX Runtime; nothing here imports TensorFlow.

Weights are symmetric int8 with a scale per output channel; what a layer puts out is uint8 with one scale, from
`LARGEST`. Images go in as they are, exactly: the means are taken off in the first layer's bias.
"""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bottletop.errors import ParamsError
from bottletop.networks import Forward
from bottletop.threads import processors
from bottletop.vgg16 import MEANS_BGR, POOLED_BLOCKS
from bottletop.weights import Arrays, digest

FIRST = "block1_conv1"
OPSET, IR_VERSION = 17, 8  # of the ONNX format: fixed, so that a newer package changes nothing
MEASURED_WITH = "a72a2735161573acfc8ca824f2470bea0dfb503a366e5f5d9d0a0cd19346bf47"  # digest of the weights
LARGEST = {  # of what each layer put out for 64 pictures, after ReLU; `benchmarks/activation_ranges.py` makes the table
    "block1_conv1": 718,
    "block1_conv2": 3416,
    "block2_conv1": 5640,
    "block2_conv2": 9057,
    "block3_conv1": 13219,
    "block3_conv2": 12067,
    "block3_conv3": 13658,
    "block4_conv1": 9225,
    "block4_conv2": 5613,
    "block4_conv3": 2868,
    "block5_conv1": 2076,
    "block5_conv2": 1353,
    "block5_conv3": 412,
}


def forward(weights: Arrays, image_side_px: int, largest: Mapping[str, float] | None = None) -> Forward:
    """The model as a function; see `networks.Forward`. What is larger than a layer's `largest` becomes that.

    Raises:
        ParamsError: there is no `largest`, and the weights are others than those that `LARGEST` was measured with.
    """
    if largest is None:
        if digest(weights) != MEASURED_WITH:
            raise ParamsError(
                "extract.precision is int8, whose ranges were measured with the pinned weights, got weights with "
                f"digest {digest(weights)}: set it to bfloat16 or float32 in params.yaml"
            )
        largest = LARGEST
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave decoding the cores
    if not has_vnni():  # sums of products of bytes overflow there, unless computed in a slower way
        options.add_session_config_entry("session.x64quantprecision", "1")
    graph = _graph(weights, image_side_px, largest).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    means = np.rint(MEANS_BGR[::-1]).astype(np.uint8)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        count, side, _, _ = images.shape
        padded = np.empty((count, side + 2, side + 2, 3), np.uint8)  # 0 once the means are taken off, to half a level
        padded[:] = means
        padded[:, 1:-1, 1:-1] = images
        bottleneck, pooled = session.run(None, {"images": padded})
        return bottleneck, pooled

    return run


def has_vnni() -> bool:
    """Whether the processor multiplies and adds up bytes in one instruction (VNNI)."""
    cpu = Path("/proc/cpuinfo")
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(cpu.read_text().split() if cpu.exists() else ())


class _Graph:
    """Nodes and constants, as they are added; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.zero = self.constant("zero", np.uint8(0))

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def rounded(self, name: str, values: str, step: np.float32) -> str:
        """The values in steps, 0 to 255 of them; ONNX Runtime computes what is between such pairs in integers."""
        scale = self.constant(f"{name}/step", step)
        integers = self.add("QuantizeLinear", [values, scale, self.zero], f"{name}/integers")
        return self.add("DequantizeLinear", [integers, scale, self.zero], f"{name}/rounded")

    def stored(self, name: str, integers: NDArray[Any], steps: NDArray[np.float32]) -> str:
        """Integers that stand for their multiples of `steps`, one for each output channel."""
        zeros = np.zeros(len(steps), integers.dtype)
        inputs = {"integers": integers, "steps": steps, "zeros": zeros}
        names = [self.constant(f"{name}/{each}", value) for each, value in inputs.items()]
        return self.add("DequantizeLinear", names, name, axis=0)


def _graph(weights: Arrays, image_side_px: int, largest: Mapping[str, float]) -> onnx.ModelProto:
    graph = _Graph()
    pixels = graph.add("Transpose", ["images"], "channels_first", perm=[0, 3, 1, 2])
    step = np.float32(1)
    values = graph.add("DequantizeLinear", [pixels, graph.constant("one", step), graph.zero], "pixels")
    layers = sorted(name.removesuffix("/kernel") for name in weights if name.endswith("/kernel"))
    pooled = []
    for block, names in groupby(layers, key=lambda layer: int(layer.removeprefix("block")[0])):
        for layer in names:
            values = _layer(graph, layer, values, _parameters(layer, weights, step))
            step = np.float32(largest[layer] / 255)
            values = graph.rounded(layer, values, step)
        values = graph.add("MaxPool", [values], f"block{block}_pool", kernel_shape=[2, 2], strides=[2, 2])
        values = graph.rounded(f"block{block}_pool", values, step)
        if block in POOLED_BLOCKS:
            pooled += [graph.add(f"Global{kind}Pool", [values], f"block{block}/{kind}") for kind in ("Average", "Max")]
    graph.add("Transpose", [values], "bottleneck", perm=[0, 2, 3, 1])
    graph.add("Flatten", [graph.add("Concat", pooled, "averages_and_maxima", axis=1)], "pooled")
    padded = image_side_px + 2
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", padded, padded, 3])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("bottleneck", "pooled")]
    body = helper.make_graph(graph.nodes, "vgg16", inputs, outputs, graph.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _layer(graph: _Graph, layer: str, values: str, parameters: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> str:
    kernel, bias = (graph.stored(f"{layer}/{name}", *stored) for name, stored in parameters.items())
    pads = [0 if layer == FIRST else 1] * 4
    values = graph.add("Conv", [values, kernel, bias], f"{layer}/sums", kernel_shape=[3, 3], pads=pads)
    return graph.add("Relu", [values], f"{layer}/relu")


def _parameters(layer: str, weights: Arrays, step: np.float32) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """A layer's kernel and bias as integers and their steps; `step` is that of the layer's input."""
    kernel = weights[f"{layer}/kernel"].astype(np.float64).transpose(3, 2, 0, 1)  # ONNX: out, in, height, width
    steps = (np.abs(kernel).max((1, 2, 3)) / 127).clip(1e-9).astype(np.float32)
    integers = np.rint(kernel / steps[:, None, None, None])
    bias = weights[f"{layer}/bias"].astype(np.float64)
    if layer == FIRST:  # its input is RGB, and the means are still there
        bias = bias - steps * (integers.sum((2, 3)) @ MEANS_BGR)
        integers = integers[:, ::-1]
    bias_integers = np.rint(bias / (step * steps)).astype(np.int32)
    return {"kernel": (integers.astype(np.int8), steps), "bias": (bias_integers, step * steps)}
