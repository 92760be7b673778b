"""Heat maps of where in an image a class is seen: Grad-CAM (Selvaraju et al., 2017) on the last convolution.

The default top reads pooled features of three blocks. The gradient of a class's score is followed through block 5
alone, because only its cells see most of the image. What blocks 3 and 4 add to the score is not in the heat map.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bottletop.backbones import tensorflow_engine
from bottletop.backbones.runtime import keras, tf
from bottletop.backbones.weights import Arrays
from bottletop.models.record import TopRecord

BEFORE_POOLING = {"vgg16": "block5_conv3", "vgg19": "block5_conv4"}  # their maps are finer than the network's output

Heat = NDArray[np.float32]  # heat map of one image: (height, width), in [0, 1]
# Takes an image, uint8 RGB, (1, side, side, 3), and a class's position; returns the heat map of that class.
Explain = Callable[[NDArray[np.uint8], int], Heat]


def of_top(top: keras.Model, record: TopRecord, arrays: Arrays, image_side_px: int) -> Explain:
    """Builds the heat map function of a top on the backbone's features.

    It computes in float32, whatever the features' precision.

    Args:
        top: the trained top.
        record: the record of the top.
        arrays: the backbone's weights.
        image_side_px: side of the input images, in pixels.
    """
    name = record.contract["backbone"]
    network = tensorflow_engine.model(name, arrays, image_side_px, "float32")
    finer = BEFORE_POOLING.get(name)
    network = keras.Model(
        network.input, [*network.outputs, network.get_layer(finer).output if finer else network.outputs[-1]]
    )
    prepare = tensorflow_engine.preparation(name)
    last = top.get_layer("classes")
    # The last layer is left out: `_explain` takes its scores before softmax, which would mix in other classes' scores.
    before = keras.Model(top.input, last.input)
    kind, pooling = record.contract["kind"], record.contract["pooling"]

    def follow(image: tf.Tensor, tape: tf.GradientTape) -> tuple[tf.Tensor, tf.Tensor]:
        *maps, cells = network(prepare(tf.cast(image, tf.float32)), training=False)
        tape.watch(cells)
        maps[-1] = tf.nn.max_pool2d(cells, 2, 2, "VALID") if finer else tf.identity(cells)
        return cells, before(tensorflow_engine.vectors(maps, kind, pooling), training=False)

    return _explain(follow, last)


def of_network(network: keras.Model) -> Explain:
    """Builds the heat map function of a network that reads the images itself."""
    convolution = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    last = network.get_layer("classes")
    front = keras.Model(network.input, convolution.output)
    rest = keras.Model(convolution.output, last.input)

    def follow(image: tf.Tensor, tape: tf.GradientTape) -> tuple[tf.Tensor, tf.Tensor]:
        cells = front(image, training=False)
        tape.watch(cells)
        return cells, rest(cells, training=False)

    return _explain(follow, last)


def _explain(
    follow: Callable[[tf.Tensor, tf.GradientTape], tuple[tf.Tensor, tf.Tensor]], last: keras.layers.Dense
) -> Explain:
    """Builds the heat map function from the parts of a network.

    Args:
        follow: takes an image and a gradient tape; returns the last convolution's output, which the tape watches, and
            the input of the last layer.
        last: the layer that computes class scores, followed by softmax.
    """

    @tf.function  # type: ignore[untyped-decorator]
    def compute(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            cells, values = follow(image, tape)
            score = tf.gather(tf.matmul(values, last.kernel) + last.bias, number, axis=1)
        slopes = tape.gradient(score, cells)
        slopes = tf.where(tf.math.is_finite(slopes), slopes, 0)  # the gradient of sqrt at 0 is not finite
        share = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(share * cells, axis=-1))[0]

    def heat(image: NDArray[np.uint8], number: int) -> Heat:
        values = compute(tf.constant(image), tf.constant(number)).numpy()
        return np.asarray(values / max(float(values.max()), 1e-12), np.float32)

    return heat
