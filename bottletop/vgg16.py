"""What is the same about VGG16's features whatever computes them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

POOLED_BLOCKS = (3, 4, 5)
MEANS_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as VGG16 was trained

# From a batch of images, uint8 RGB, (n, side, side, 3), to the bottleneck, (n, side // 32, side // 32, 512), and the
# averages and maxima of the blocks' pools side by side, (n, 2560): float32, neither clipped nor checked.
Forward = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
