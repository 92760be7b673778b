import numpy as np
import pytest
from scipy.special import softmax

from bottletop.models.calibration import best_temperature, cautious_temperature


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 4))
    labels = (softmax(logits, axis=1).cumsum(1) > random.uniform(size=(20_000, 1))).argmax(1)
    found = best_temperature(softmax(logits * temperature, axis=1), labels)
    assert found == pytest.approx(temperature, rel=0.05)


def test_a_few_images_that_are_all_right_do_not_ask_for_certainty():
    probabilities = np.tile([[0.9, 0.1]], (5, 1))
    assert 0.5 < best_temperature(probabilities, np.zeros(5, np.int64)) < 1.5


@pytest.mark.parametrize(("count", "least", "most"), [(30, 1.0, 1.2), (20_000, 1.3, 1.4)])
def test_a_cautious_temperature_is_nearer_to_1_for_fewer_images(count, least, most):
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (count, 4))
    labels = (softmax(logits, axis=1).cumsum(1) > random.uniform(size=(count, 1))).argmax(1)
    probabilities = softmax(logits * 1.4, axis=1)
    found = cautious_temperature(probabilities, labels)
    assert least <= found < most
    assert 1 <= found < best_temperature(probabilities, labels)
