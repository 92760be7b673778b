"""Where in an image a class is seen: Grad-CAM (Selvaraju et al., 2017), on the backbone's last convolution.

The default top sees pools of three blocks. A class's score is followed back through block 5 alone, the only one whose
cells see most of the image: what blocks 3 and 4 add to the score is not in the picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bottletop import floating
from bottletop.networks import named
from bottletop.runtime import keras, tf
from bottletop.trained import TopRecord
from bottletop.weights import Arrays

BEFORE_POOLING = {"vgg16": "block5_conv3", "vgg19": "block5_conv4"}  # finer than what the network puts out


def build(
    top: keras.Model, record: TopRecord, arrays: Arrays, image_side_px: int
) -> Callable[[NDArray[np.uint8], int], NDArray[np.float32]]:
    """A function from an image and a class's number to how much each place of the image speaks for the class.

    It takes uint8 RGB, (1, side, side, 3), and returns float32, (height, width) of its maps, in [0, 1]. It computes in
    float32, whatever the features' precision.
    """
    contract = record.contract
    name = contract["backbone"]
    network = floating.model(name, arrays, image_side_px, "float32")
    finer = BEFORE_POOLING.get(name)
    network = keras.Model(
        network.input, [*network.outputs, network.get_layer(finer).output if finer else network.outputs[-1]]
    )
    prepare = getattr(keras.applications, named(name).module).preprocess_input
    last = top.get_layer("classes")
    before = keras.Model(top.input, last.input)  # scores before softmax, which would mix those of other classes in

    @tf.function  # type: ignore[untyped-decorator]
    def compute(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        *blocks, cells = network(prepare(tf.cast(image, tf.float32)), training=False)
        with tf.GradientTape() as tape:
            tape.watch(cells)
            blocks[-1] = tf.nn.max_pool2d(cells, 2, 2, "VALID") if finer else tf.identity(cells)
            features = before(floating.vectors(blocks, contract["kind"], contract["pooling"]), training=False)
            score = tf.gather(tf.matmul(features, last.kernel) + last.bias, number, axis=1)
        slopes = tape.gradient(score, cells)
        slopes = tf.where(tf.math.is_finite(slopes), slopes, 0)  # sqrt has none at 0
        share = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(share * cells, axis=-1))[0]

    def heat(image: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
        values = compute(tf.constant(image), tf.constant(number)).numpy()
        return np.asarray(values / max(float(values.max()), 1e-12), np.float32)

    return heat
