import numpy as np
import pytest

from bottletop.images import crops

NAMES = [f"{number:064x}" for number in range(300)]


def views(*, flip=True, number=1):
    return [crops.name(image, number, flip=flip) for image in NAMES]


def boxes(names, width=1.0, height=1.0):
    return np.array([crops.box(name, width, height) for name in names])


def test_the_first_view_is_the_whole_image_under_its_own_name():
    assert crops.name("a" * 64, 0, flip=True) == "a" * 64
    assert crops.box("a" * 64, 40, 30) is None
    assert not crops.is_mirrored("a" * 64)


def test_a_views_name_says_what_it_is():
    assert crops.name("abc", 2, flip=True) == "abc#2-crop-flip-1"
    assert crops.name("abc", 2, flip=False) == "abc#2-crop-1"


def test_a_crop_is_inside_the_image_and_of_70_to_100_percent_of_its_area():
    left, top, right, bottom = boxes(views(), 40, 30).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 40
    assert bottom.max() <= 30
    areas = (right - left) * (bottom - top) / (40 * 30)
    assert 0.7 - 1e-9 <= areas.min() < 0.72
    assert 0.97 < areas.max() <= 1
    stretch = (right - left) / (bottom - top) / (40 / 30)
    assert 3 / 4 - 1e-9 <= stretch.min() < 0.8
    assert 1.25 < stretch.max() <= 4 / 3 + 1e-9


def test_crops_are_as_ever():
    """Features that were computed before are found under these names."""
    assert crops.box("abc#1-crop-1", 100, 100) == pytest.approx(
        (0.0, 0.7730694840044823, 100.0, 84.77668360260341), abs=1e-9
    )
    assert [crops.is_mirrored(f"abc#{number}-crop-flip-1") for number in range(1, 7)] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]


def test_views_of_an_image_and_images_differ():
    one, two = boxes(views(number=1)), boxes(views(number=2))
    assert not np.isclose(one, two).all(1).any()
    assert len(np.unique(one, axis=0)) == len(one)


def test_half_of_the_crops_are_mirrored_where_that_is_wanted():
    assert 120 < sum(crops.is_mirrored(view) for view in views(flip=True)) < 180
    assert not any(crops.is_mirrored(view) for view in views(flip=False))


def test_mirroring_leaves_the_crops_as_they_are():
    np.testing.assert_array_equal(boxes(views(flip=True)), boxes(views(flip=False)))
