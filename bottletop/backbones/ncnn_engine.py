"""Backbones in float32 on the CPU, by ncnn; nothing here imports TensorFlow.

ncnn computes convolutions of 3 x 3 by Winograd's algorithm (Lavin and Gray, 2016), with a quarter of the products. One
thread computes one image, several threads several images at once. So an image's features follow from the image and the
weights; they depend neither on other images nor on the number of threads.
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
SAME = -233  # padding, the odd pixel at the right and the bottom as Keras has it
SCHEMES = {  # of preparing images: ncnn's order of the channels, their means, and what they are multiplied with
    "caffe": (ncnn.Mat.PixelType.PIXEL_RGB2BGR, [103.939, 116.779, 123.68], [1.0] * 3),
    "lite": (ncnn.Mat.PixelType.PIXEL_RGB, [127.0] * 3, [1 / 128] * 3),
}


def forward(backbone: str, weights: Arrays, image_side_px: int) -> Forward:
    """The network as a function; see `networks.Forward`.

    Raises:
        ArtefactError: ncnn fails, which it does not explain.
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
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False  # ARM's default
    failed = net.load_param_mem(_description(backbone, weights, image_side_px))
    with tempfile.NamedTemporaryFile() as file:  # read from memory, ncnn would refer to it for good
        for layer in LAYERS[backbone]:
            if layer.has_weights:
                file.write(_parameters(layer, weights))
        file.flush()
        failed += net.load_model(file.name)
    if failed:
        raise ArtefactError(f"ncnn could not build {backbone}, maybe for lack of memory", "close other programs")
    return net


class _Step(NamedTuple):
    """A line of ncnn's description of a network."""

    kind: str
    name: str  # of the step and of what it puts out
    inputs: tuple[str, ...]
    options: str = ""
    shape: tuple[int, int, int] | None = None  # height, width, channels: ncnn chooses each layer's algorithm by them


def _description(backbone: str, weights: Arrays, image_side_px: int) -> str:
    """ncnn's text for a network that puts out ``pooled`` and ``bottleneck``."""
    steps = [_Step("Input", "images", ()), *(_step(layer, weights) for layer in LAYERS[backbone])]
    steps = [step._replace(shape=shapes(backbone, image_side_px)[step.name]) for step in steps]
    maps = (*named(backbone).earlier, LAYERS[backbone][-1].name)
    pools = []
    for each in maps:
        for name, kind in (("average", 1), ("maximum", 0)):
            steps.append(_Step("Pooling", f"{each}/{name}", (each,), f"0={kind} 4=1"))
            pools.append(steps[-1].name)
    steps += [_Step("Concat", "pooled", tuple(pools)), _Step("Noop", "bottleneck", (maps[-1],))]
    return _text(steps)


def _text(steps: list[_Step]) -> str:
    """The steps as lines. What several steps read is split into as many copies first, as ncnn wants it."""
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
    """The option that tells ncnn the shape of each of a step's outputs."""
    if shape is None:
        return ""
    height, width, channels = shape
    return f"-23330={4 * count}" + count * f",3,{width},{height},{channels}"


def _step(layer: Layer, weights: Arrays) -> _Step:
    size = f"1={layer.kernel_px} {'2' if layer.kind == 'max_pool' else '3'}={layer.stride}"
    if layer.kind == "add":
        return _Step("BinaryOp", layer.name, layer.inputs, "0=0")
    if layer.kind == "max_pool":
        return _Step("Pooling", layer.name, layer.inputs, f"0=0 {size} 5=1")  # what is left over is dropped
    count = weights[f"{layer.name}/kernel"].size
    options = f"0={layer.channels} {size} 4={SAME} 5=1 6={count} {ACTIVATIONS[layer.activation]}"
    if layer.kind == "depthwise":
        return _Step("ConvolutionDepthWise", layer.name, layer.inputs, f"{options} 7={layer.channels}")
    return _Step("Convolution", layer.name, layer.inputs, options)


def _parameters(layer: Layer, weights: Arrays) -> bytes:
    """A layer's weights as ncnn's files have them: a mark for float32, the kernel (out, in, side, side), the bias."""
    kernel = weights[f"{layer.name}/kernel"]
    order = (2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1)
    return (
        b"\0\0\0\0"
        + kernel.transpose(order).astype("<f4").tobytes()
        + weights[f"{layer.name}/bias"].astype("<f4").tobytes()
    )
