import numpy as np

from bottletop.inference.explain import draw
from tests.pictures import photo

HEAT = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)


def test_the_photo_stands_beside_its_heat_map_with_a_scale():
    picture = photo(0, (120, 90))
    figure = draw(picture, HEAT, "cat", 0.876)
    left, right, scale = figure.axes
    assert np.array_equal(left.images[0].get_array(), np.asarray(picture))
    assert right.images[1].get_array().shape == (180, 240)  # finer than the photo, which is small
    assert [label.get_text() for label in scale.get_yticklabels()] == ["0%", "25%", "50%", "75%", "100%"]
    assert figure.get_suptitle() == "cat  87.6%"


def test_more_heat_is_lighter_and_less_transparent_in_even_steps():
    heat = draw(photo(0), HEAT, "cat", 0.9).axes[1].images[1]
    red, green, blue, opacity = heat.cmap(np.linspace(0, 1, 11)).T
    assert np.ptp(np.diff(opacity)) < 0.02
    assert opacity[0] == 0
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()
