"""The ncnn engine: backbones in float32 on the CPU. TensorFlow is not imported here.

ncnn computes 3 x 3 convolutions with Winograd's algorithm (Lavin and Gray, 2016), which needs a quarter of the
multiplications. Each image is computed by one thread, and several threads compute several images at once. Therefore an
image's features depend only on the image and the weights, not on other images or on the number of threads.
"""

import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import ncnn
import numpy as np
from numpy.typing import NDArray

from bottletop.backbones.architectures import LAYERS, shapes
from bottletop.backbones.layers import Layer
from bottletop.backbones.networks import Forward, named
from bottletop.backbones.weights import Arrays
from bottletop.core.errors import ArtefactError
from bottletop.core.parallel import processors

ACTIVATIONS = {"linear": "9=0", "relu": "9=1", "relu6": "9=3 -23310=2,0.0,6.0"}
SAME = -233  # ncnn's code for "same" padding with the odd pixel at the right and the bottom, as in Keras
SCHEMES = {  # image preparation: ncnn's order of the channels, the means to subtract, and the factors to multiply by
    "caffe": (ncnn.Mat.PixelType.PIXEL_RGB2BGR, [103.939, 116.779, 123.68], [1.0] * 3),
    "lite": (ncnn.Mat.PixelType.PIXEL_RGB, [127.0] * 3, [1 / 128] * 3),
}


def forward(backbone: str, weights: Arrays, image_side_px: int) -> Forward:
    """Builds the network and returns it as a function; see `networks.Forward`.

    Raises:
        ArtefactError: ncnn fails, for which it gives no reason. The returned function raises this, too.
    """
    net = _network(backbone, weights, image_side_px)
    pixels, means, factors = SCHEMES[named(backbone).scheme]
    pool = ThreadPoolExecutor(processors())

    def compute(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = ncnn.Mat.from_pixels(np.ascontiguousarray(image), pixels, image_side_px, image_side_px)
        values.substract_mean_normalize(means, factors)
        extractor = net.create_extractor()
        extractor.input("images", values)
        failed, pooled = extractor.extract("pooled")
        failed_too, bottleneck = extractor.extract("bottleneck")
        if failed or failed_too:
            raise ArtefactError(
                "ncnn could not compute an image, maybe for lack of memory", "set BOTTLETOP_THREADS to 1"
            )
        return np.array(bottleneck).transpose(1, 2, 0), np.array(pooled)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        bottlenecks, pooled = zip(*pool.map(compute, images), strict=True)
        return np.stack(bottlenecks), np.stack(pooled)

    return run


def _network(backbone: str, weights: Arrays, image_side_px: int) -> ncnn.Net:
    """Builds the network with its weights.

    Raises:
        ArtefactError: ncnn fails.
    """
    net = ncnn.Net()
    net.opt.num_threads = 1
    # On ARM, ncnn would use float16 by default.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    failed = net.load_param_mem(_description(backbone, weights, image_side_px))
    # The weights are passed in a file: if ncnn read them from memory, it would refer to that memory for good.
    with tempfile.NamedTemporaryFile() as file:
        for layer in LAYERS[backbone]:
            if layer.has_weights:
                file.write(_parameters(layer, weights))
        file.flush()
        failed += net.load_model(file.name)
    if failed:
        raise ArtefactError(f"ncnn could not build {backbone}, maybe for lack of memory", "close other programs")
    return net


class _Step(NamedTuple):
    """A line of ncnn's description of a network: one operation."""

    kind: str
    name: str  # of the step and of its output
    inputs: tuple[str, ...]
    options: str = ""
    shape: tuple[int, int, int] | None = None  # height, width, channels; ncnn uses them to choose the algorithm


def _description(backbone: str, weights: Arrays, image_side_px: int) -> str:
    """Returns ncnn's text for a network with the outputs ``pooled`` and ``bottleneck``."""
    steps = [_Step("Input", "images", ()), *(_step(layer, weights) for layer in LAYERS[backbone])]
    found = shapes(backbone, image_side_px)
    steps = [step._replace(shape=found[step.name]) for step in steps]
    maps = (*named(backbone).earlier, LAYERS[backbone][-1].name)
    pools = []
    for each in maps:
        for name, kind in (("average", 1), ("maximum", 0)):
            steps.append(_Step("Pooling", f"{each}/{name}", (each,), f"0={kind} 4=1"))
            pools.append(steps[-1].name)
    steps += [_Step("Concat", "pooled", tuple(pools)), _Step("Noop", "bottleneck", (maps[-1],))]
    return _text(steps)


def _text(steps: list[_Step]) -> str:
    """Formats the steps as lines. ncnn requires that an output with several readers is split into one copy for each."""
    readers = Counter(name for step in steps for name in step.inputs)
    copies = {name: [f"{name}/copy{number}" for number in range(count)] for name, count in readers.items() if count > 1}
    unread = {name: iter(names) for name, names in copies.items()}
    lines: list[list[str]] = []
    blobs = len(steps) + sum(map(len, copies.values()))
    for kind, name, inputs, options, shape in steps:
        read = [next(unread[each]) if each in unread else each for each in inputs]
        lines.append([kind, name, str(len(read)), "1", *read, name, options, _shapes(shape, 1)])
        if name in copies:
            count = readers[name]
            lines.append(["Split", f"{name}/copies", "1", str(count), name, *copies[name], _shapes(shape, count)])
    return "\n".join(["7767517", f"{len(lines)} {blobs}", *(" ".join(filter(None, line)) for line in lines), ""])


def _shapes(shape: tuple[int, int, int] | None, count: int) -> str:
    """Returns the option that tells ncnn the shapes of a step's outputs."""
    if shape is None:
        return ""
    height, width, channels = shape
    return f"-23330={4 * count}" + count * f",3,{width},{height},{channels}"


def _step(layer: Layer, weights: Arrays) -> _Step:
    """Translates a layer into ncnn's operation."""
    size = f"1={layer.kernel_px} {'2' if layer.kind == 'max_pool' else '3'}={layer.stride}"
    if layer.kind == "add":
        return _Step("BinaryOp", layer.name, layer.inputs, "0=0")
    if layer.kind == "max_pool":
        return _Step("Pooling", layer.name, layer.inputs, f"0=0 {size} 5=1")  # a remainder at the edge is dropped
    count = weights[f"{layer.name}/kernel"].size
    options = f"0={layer.channels} {size} 4={SAME} 5=1 6={count} {ACTIVATIONS[layer.activation]}"
    if layer.kind == "depthwise":
        return _Step("ConvolutionDepthWise", layer.name, layer.inputs, f"{options} 7={layer.channels}")
    return _Step("Convolution", layer.name, layer.inputs, options)


def _parameters(layer: Layer, weights: Arrays) -> bytes:
    """Returns a layer's weights in ncnn's format: a tag for float32, the kernel (out, in, side, side), the bias."""
    kernel = weights[f"{layer.name}/kernel"]
    order = (2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1)
    return (
        b"\0\0\0\0"
        + kernel.transpose(order).astype("<f4").tobytes()
        + weights[f"{layer.name}/bias"].astype("<f4").tobytes()
    )
