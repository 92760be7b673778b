import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from bottletop.models import regression
from bottletop.models.regression import Examples, Schedule


def made_up(*, count=300, width=20, classes=3, signal=1.0, seed=0):
    """Centred examples of which a linear classifier gets most right; variances fall by a factor of 100."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = random.standard_normal((count, width)) + signal * random.standard_normal((classes, width))[labels]
    values = ((values - values.mean(0)) * np.logspace(0, -1, width)).astype(np.float32)
    values = values @ regression.principal_components(values)
    return Examples(values, labels, np.ones(count, np.float32), classes)


def objective(examples, kernel, bias, l2):
    losses = -log_softmax(examples.values @ kernel + bias, axis=1)[np.arange(len(examples.labels)), examples.labels]
    return float(losses.mean()) + l2 * float(np.square(kernel).sum())


def lowest(examples, l2):
    """The lowest value of the objective, by scipy."""
    width = examples.values.shape[1]

    def value(flat):
        weights = flat.reshape(width + 1, examples.classes)
        return objective(examples, weights[:-1], weights[-1], l2)

    return minimize(value, np.zeros((width + 1) * examples.classes)).fun


@pytest.mark.parametrize("l2", [0.001, 0.1])
def test_thirty_epochs_come_close_to_the_lowest_value_of_the_objective(l2):
    examples = made_up()
    found = regression.descend(examples, np.array([l2]), Schedule(30, 16, 0))
    assert objective(examples, found.kernel[:, 0], found.bias[0], l2) - lowest(examples, l2) < 0.005


def test_more_epochs_come_closer():
    examples = made_up()
    values = []
    for epochs in (2, 8, 30):
        found = regression.descend(examples, np.array([0.01]), Schedule(epochs, 32, 0))
        values.append(objective(examples, found.kernel[:, 0], found.bias[0], 0.01))
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_any_batch_size_finds_the_classes(batch_size):
    examples = made_up(signal=3)
    found = regression.descend(examples, np.array([0.01]), Schedule(20, batch_size, 0))
    assert (found.logits(examples.values)[:, 0].argmax(1) == examples.labels).mean() > 0.95


def test_strengths_side_by_side_are_fitted_as_they_are_alone():
    examples = made_up()
    strengths = np.array([0.001, 0.1])
    together = regression.descend(examples, strengths, Schedule(5, 32, 0))
    for position, strength in enumerate(strengths):
        alone = regression.descend(examples, np.array([strength]), Schedule(5, 32, 0))
        np.testing.assert_allclose(together.kernel[:, position], alone.kernel[:, 0], rtol=1e-3, atol=1e-5)


def test_weights_count_an_image_as_several():
    examples = made_up(signal=0)
    weights = np.where(examples.labels == 0, 2.0, 0.5).astype(np.float32)
    found = regression.descend(examples._replace(weights=weights), np.array([10.0]), Schedule(40, 32, 0))
    shares = np.exp(log_softmax(found.bias[0]))
    assert shares == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=0.02)


def test_the_principal_components_are_those_of_the_covariance_whichever_matrix_is_smaller():
    values = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32) * np.arange(1, 9, dtype=np.float32)
    wide = np.concatenate([values, np.zeros((30, 60), np.float32)], 1)
    tall, flat = regression.principal_components(values), regression.principal_components(wide)
    np.testing.assert_allclose(np.abs(flat[:8]), np.abs(tall), atol=1e-3)
    np.testing.assert_allclose(tall.T @ tall, np.eye(8), atol=1e-4)
    variances = np.square(values @ tall).mean(0)
    assert (np.diff(variances) < 0).all()


def test_directions_without_variance_are_left_out():
    values = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert regression.principal_components(np.concatenate([values, values], 1)).shape == (8, 4)


# Cross-validation


def test_copies_are_held_out_together_and_each_fold_gets_its_share_of_each_class():
    labels = np.repeat([0, 1], [100, 50])
    groups = np.arange(150) // 2
    fold = regression.folds(labels, groups, 0)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    for label, size in ((0, 20), (1, 10)):
        assert np.bincount(fold[labels == label]).tolist() == [size] * 5


def test_noise_gets_a_stronger_penalty_than_clear_classes():
    chosen = {}
    for signal in (0.0, 0.5):
        examples = made_up(count=120, width=60, signal=signal)
        groups = np.arange(len(examples.labels))
        chosen[signal] = regression.cross_validate(examples, groups, regression.STRENGTHS, Schedule(30, 32, 0)).l2
    assert chosen[0.0] > 10 * chosen[0.5]


def test_the_temperature_lowers_the_loss_of_held_out_images_where_the_fit_is_too_sure():
    examples = made_up(count=60, width=60, signal=0.3)
    choice = regression.cross_validate(examples, np.arange(60), np.array([1e-5]), Schedule(60, 16, 0))
    assert choice.temperature > 1.5


def test_classes_of_one_image_leave_a_typical_choice():
    examples = made_up(count=3)
    assert regression.cross_validate(examples, np.arange(3), regression.STRENGTHS, Schedule(5, 32, 0)) == (0.01, 1.0)


def test_a_class_of_one_image_does_not_decide():
    examples = made_up(count=90, signal=3)
    values = np.concatenate([examples.values, 5 + examples.values[:1]])
    labels = np.append(examples.labels, 3)
    rare = Examples(values, labels, np.ones(91, np.float32), 4)
    choice = regression.cross_validate(rare, np.arange(91), regression.STRENGTHS, Schedule(30, 32, 0))
    assert choice.l2 < 0.05


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_bytes_with_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", threads)
    examples = made_up()
    with threadpool_limits(1, "blas"):
        choice = regression.cross_validate(examples, np.arange(300), regression.STRENGTHS, Schedule(5, 32, 0))
        monkeypatch.setenv("BOTTLETOP_THREADS", "3")
        assert regression.cross_validate(examples, np.arange(300), regression.STRENGTHS, Schedule(5, 32, 0)) == choice
