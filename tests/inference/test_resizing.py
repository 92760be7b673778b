import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bottletop.backbones.runtime import keras, tf
from bottletop.images.decoding import square
from bottletop.inference import resizing

SIDES = (32, 96)


@pytest.fixture(scope="module")
def resize(tmp_path_factory):
    """By side, what a saved and loaded model makes of images."""
    found = {}
    for side in SIDES:
        inputs = keras.Input((None, None, 3), dtype="uint8")
        path = tmp_path_factory.mktemp("resize") / "resize.keras"
        keras.Model(inputs, resizing.square(inputs, side)).save(path)
        model = keras.saving.load_model(path, safe_mode=True)
        found[side] = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    return found


def noise(seed, width, height, *, extreme=False):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.where(pixels > 127, 255, 0).astype(np.uint8) if extreme else pixels


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SIDES), st.integers(1, 700), st.integers(1, 700), st.integers(0, 1000), st.booleans())
def test_pixels_are_pillows_bit_for_bit_at_any_size(resize, side, width, height, seed, extreme):
    pixels = noise(seed, width, height, extreme=extreme)
    expected = square(Image.fromarray(pixels), side)
    np.testing.assert_array_equal(resize[side](pixels[None])[0], expected)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (32, 32),
        (32, 33),
        (33, 34),
        (33, 35),
        (1, 700),
        (700, 1),
        (1, 1),
        (40, 48),
        (40, 49),
        (5, 33),
        (5, 31),
        (132, 232),
        (132, 233),
        (4000, 7),
    ],
)
def test_the_pass_that_comes_first_is_pillows_choice(resize, width, height):
    pixels = noise(0, width, height)
    np.testing.assert_array_equal(resize[32](pixels[None])[0], square(Image.fromarray(pixels), 32))


def test_images_of_a_batch_are_resized_each_on_its_own(resize):
    pixels = np.stack([noise(seed, 60, 50) for seed in range(3)])
    expected = [square(Image.fromarray(one), 32) for one in pixels]
    np.testing.assert_array_equal(resize[32](pixels), expected)
