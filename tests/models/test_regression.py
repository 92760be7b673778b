import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from bottletop.models import regression
from bottletop.models.regression import STRENGTHS, Schedule, TrainingSet


def made_up(*, count=300, width=20, classes=3, signal=1.0, seed=0):
    """Centred examples of which a linear classifier gets most right; variances fall by a factor of 100."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = random.standard_normal((count, width)) + signal * random.standard_normal((classes, width))[labels]
    values = ((values - values.mean(0)) * np.logspace(0, -1, width)).astype(np.float32)
    values = values @ regression.principal_components(values)
    return TrainingSet(values, labels, np.ones(count, np.float32), classes)


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
def test_sixty_epochs_reach_the_lowest_value_of_the_objective(l2):
    examples = made_up()
    found = regression.fit(examples, l2, 60)
    assert objective(examples, found.kernel, found.bias, l2) - lowest(examples, l2) < 1e-4


def test_each_epoch_comes_closer():
    examples = made_up()
    values = []
    regression.fit(examples, 0.01, 8, lambda found: values.append(objective(examples, *found, 0.01)))
    assert len(values) == 8
    assert values == sorted(values, reverse=True)


def test_it_ends_when_nothing_changes_any_more():
    examples = made_up()
    epochs = []
    regression.fit(examples, 0.1, 1000, epochs.append)
    assert len(epochs) < 100


def test_weights_count_an_image_as_several():
    examples = made_up(signal=0)
    weights = np.where(examples.labels == 0, 2.0, 0.5).astype(np.float32)
    found = regression.fit(examples._replace(weights=weights), 10.0, 40)
    shares = np.exp(log_softmax(found.bias))
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
    fold = regression.folds(labels, groups, 5, 0)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    for label, size in ((0, 20), (1, 10)):
        assert np.bincount(fold[labels == label]).tolist() == [size] * 5


def choose(examples, strengths=STRENGTHS, epochs=60, patience=8):
    groups = np.arange(len(examples.labels))
    return regression.cross_validate(examples, groups, strengths, Schedule(epochs, patience, 0))


def test_noise_gets_a_stronger_penalty_than_clear_classes():
    noise, clear = (choose(made_up(count=120, width=60, signal=signal)).l2 for signal in (0.0, 0.5))
    assert noise > 10 * clear


def test_too_weak_a_penalty_is_stopped_early():
    examples = made_up(count=120, width=100, signal=0.3)
    assert choose(examples, np.array([1e-6])).epochs < 30
    assert choose(examples, np.array([1e-6]), epochs=5).epochs == 5


def without_each_fold(examples):
    fold = regression.folds(examples.labels, np.arange(len(examples.labels)), 5, 0)
    return fold[:, None] != np.arange(5)


def test_patience_ends_fits_that_get_worse():
    examples = made_up(count=120, width=100, signal=0.3)
    fitted = without_each_fold(examples)
    impatient, patient = (
        regression.held_out(examples, fitted, 1e-6, Schedule(60, patience, 0)) for patience in (5, None)
    )
    assert 25 <= len(impatient.losses) < len(patient.losses)
    assert impatient.losses == patient.losses[: len(impatient.losses)]


def test_classifiers_fitted_side_by_side_are_those_fitted_alone():
    examples = made_up()
    fold = np.arange(300) // 3 % 2
    halves = np.stack([fold == 0, fold == 1], 1) / np.float32(150)
    together = regression._fit_side_by_side(examples, halves, 0.01, 200, lambda _: None)
    for number, found in enumerate(together):
        alone = regression.fit(examples.take(fold == number), 0.01, 200)
        np.testing.assert_allclose(found.kernel, alone.kernel, atol=0.02)
        np.testing.assert_allclose(found.bias, alone.bias, atol=0.02)


def test_held_out_images_are_scored_by_the_classifier_that_has_not_seen_them():
    examples = made_up(count=120, width=100, signal=0)
    fitted = without_each_fold(examples)
    held = regression.held_out(examples, fitted, 1e-4, Schedule(60, None, 0))
    assert len(held.labels) == 120
    assert held.lowest > np.log(3)  # noise: seen images would have a loss of almost 0
    assert (held.logits.argmax(1) == held.labels).mean() < 0.5


def test_the_classifier_of_the_best_epoch_is_kept():
    examples = made_up(count=120, width=100, signal=0.3)
    fitted = np.arange(120)[:, None] >= 40
    epochs = []
    found = regression.held_out(examples, fitted, 1e-6, Schedule(60, 5, 0), epochs.append)
    assert found.choice(1e-6).epochs == found.best + 1 < len(epochs) == len(found.losses)
    assert found.classifiers is epochs[found.best]
    held = examples.take(~fitted[:, 0])
    np.testing.assert_array_equal(found.logits, found.classifiers[0].logits(held.values))


def test_the_temperature_lowers_the_loss_of_held_out_images_where_the_fit_is_too_sure():
    assert choose(made_up(count=60, width=60, signal=0.3), np.array([1e-5])).temperature > 1.5


def test_classes_of_one_image_leave_a_typical_choice():
    examples = made_up(count=3)
    assert choose(examples) == (0.01, 60, 1.0)
    assert choose(examples, np.array([0.5])) == (0.5, 60, 1.0)


def test_a_class_of_one_image_does_not_decide():
    examples = made_up(count=90, signal=3)
    values = np.concatenate([examples.values, 5 + examples.values[:1]])
    labels = np.append(examples.labels, 3)
    assert choose(TrainingSet(values, labels, np.ones(91, np.float32), 4)).l2 < 0.05


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_choice_with_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", threads)
    examples = made_up()
    with threadpool_limits(1, "blas"):
        choice = choose(examples, epochs=10)
        monkeypatch.setenv("BOTTLETOP_THREADS", "3")
        assert choose(examples, epochs=10) == choice
