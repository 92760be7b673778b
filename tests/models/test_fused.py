import numpy as np
import pytest

from bottletop.backbones.runtime import keras, tf
from bottletop.models import fused


@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_an_optimiser_takes_the_steps_of_keras_own(name):
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal((5, 4)), random.standard_normal((20, 5, 4))
    ended = []
    for kind in (getattr(fused, name), getattr(keras.optimizers, name)):
        variable = keras.Variable(start, dtype="float32")
        optimiser = kind(0.1)
        optimiser.build([variable])
        for gradient in gradients:
            optimiser.apply([tf.constant(gradient, tf.float32)])
        ended.append(np.array(variable))
    np.testing.assert_allclose(*ended, atol=1e-4)  # 1 - beta is rounded otherwise
    assert np.abs(ended[0] - start).max() > 0.1
