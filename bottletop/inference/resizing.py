"""Pillow's antialiased resize as a graph of Keras' own operations, bit for bit.

For models that are saved: `keras.ops` alone, so the file loads without this package and without Pillow. Pillow resizes
8-bit images in two passes of a triangle filter, widened where the image shrinks. Its weights are whole numbers with
`BITS` bits after the point, and each pass rounds to whole levels. Here a pass is a product with a matrix of those
weights, in float64, which holds the sums exactly. Sizes are counted in the graph, as each image has another one.
"""

import numpy as np

from bottletop.backbones.runtime import keras

BITS = 22
ONE = float(1 << BITS)


def square(images: keras.KerasTensor, side_px: int) -> keras.KerasTensor:
    """Like `decoding.square`: uint8 RGB, (n, height, width, 3) of any size -> (n, side, side, 3)."""
    ops = keras.ops
    images = ops.cast(images, "float64")
    rows, columns = ops.ones_like(images[0, :, 0, 0]), ops.ones_like(images[0, 0, :, 0])
    narrower, shorter = ops.sum(columns) - side_px, ops.sum(rows) - side_px
    # Pillow, from 13 on, begins with the columns where that saves work: where the height shrinks by far the most.
    tall = ops.cast(shorter > ops.maximum(2.0 * narrower, 0.0), "float64")
    to_width, to_height = _weights(columns, side_px), _weights(rows, side_px)
    [kept] = ops.nonzero(rows * (1.0 - tall))  # all or none: what comes of nothing is zeros, at no cost
    wide = _round(ops.einsum("nhwc,sw->nhsc", ops.take(images, kept, axis=1), to_width))
    wide = _round(ops.einsum("nhsc,th->ntsc", wide, ops.take(to_height, kept, axis=1)))
    [kept] = ops.nonzero(columns * tall)
    high = _round(ops.einsum("nhwc,th->ntwc", ops.take(images, kept, axis=2), to_height))
    high = _round(ops.einsum("ntwc,sw->ntsc", high, ops.take(to_width, kept, axis=1)))
    return ops.cast(wide + high, "uint8")


def _weights(line: keras.KerasTensor, side_px: int) -> keras.KerasTensor:
    """How much each pixel of a line counts for each of the new ones: whole numbers in float64, (side, length).

    Args:
        line: ones, (length,).
    """
    ops = keras.ops
    position = ops.cumsum(line) - 1.0
    scale = ops.sum(line) / float(side_px)
    reach = ops.maximum(scale, 1.0)
    middle = scale * (np.arange(side_px, dtype=np.float64)[:, None] + 0.5)
    first, end = ops.floor(middle - reach + 0.5), ops.floor(middle + reach + 0.5)
    inside = ops.cast(ops.logical_and(position >= ops.maximum(first, 0.0), position < end), "float64")
    triangle = inside * ops.maximum(1.0 - ops.abs((position - middle + 0.5) * (1.0 / reach)), 0.0)
    return ops.floor(triangle / ops.sum(triangle, axis=1, keepdims=True) * ONE + 0.5)


def _round(sums: keras.KerasTensor) -> keras.KerasTensor:
    return keras.ops.clip(keras.ops.floor((sums + ONE / 2) / ONE), 0.0, 255.0)
