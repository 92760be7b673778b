import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_curve,
    recall_score,
    roc_auc_score,
    roc_curve,
    top_k_accuracy_score,
)

from bottletop.core.errors import ParamsError
from bottletop.core.settings import parse
from bottletop.evaluation import scores
from bottletop.evaluation.scores import EvaluateParams, Positive, Score, calibration, choose_threshold, evaluate


def predictions(count, classes, seed=0, skill=1.0):
    """Labels and probabilities that favour them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += skill
    odds = np.exp(logits)
    return odds / odds.sum(1, keepdims=True), labels


def scored(probabilities, labels, groups=None, *, bootstrap=100, seed=0, positive=None, threshold=0.5):
    groups = np.arange(len(labels)) if groups is None else groups
    params = EvaluateParams(bootstrap=bootstrap, seed=seed, positive_classes=())
    return evaluate(probabilities, labels, groups, params, None if positive is None else Positive(positive, threshold))


def binary(hits, count):
    """`hits` of `count` images right, all of the positive class."""
    probabilities = np.tile([0.8, 0.2], (count, 1))
    probabilities[:hits] = [0.2, 0.8]
    return probabilities, np.ones(count, np.int64)


@pytest.mark.parametrize("classes", [2, 5, 6, 20])
def test_scores_are_scikit_learns(classes):
    probabilities, labels = predictions(300, classes)
    predicted = probabilities.argmax(1)
    found = {name: score.value for name, score in scored(probabilities, labels).items()}
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "log_loss": log_loss(labels, probabilities),
    }
    if classes > 5:
        expected["top5_accuracy"] = top_k_accuracy_score(labels, probabilities, k=5)
    error = found.pop("calibration_error")
    assert found == pytest.approx(expected)
    assert 0 < error < 1


def test_classes_that_are_neither_there_nor_predicted_do_not_count():
    probabilities, labels = predictions(200, 4)
    padded = np.pad(probabilities, ((0, 0), (0, 1)))
    found = scored(padded, labels)
    assert found["macro_f1"].value == pytest.approx(f1_score(labels, probabilities.argmax(1), average="macro"))
    assert found["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("positive", [0, 1])
def test_binary_scores_are_scikit_learns_also_with_ties(positive, threshold):
    probabilities, labels = predictions(300, 2)
    probabilities = probabilities.round(1)  # many images share a probability
    probability, is_positive = probabilities[:, positive], labels == positive
    found = scored(probabilities, labels, positive=positive, threshold=threshold)
    assert len(np.unique(probability)) <= 11
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(is_positive, probability))
    called = probability >= threshold
    assert found["sensitivity"].value == pytest.approx(recall_score(is_positive, called))
    assert found["specificity"].value == pytest.approx(recall_score(~is_positive, ~called))


def test_a_sure_and_wrong_prediction_costs_a_finite_log_loss():
    found = scored(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    assert found["log_loss"].value == pytest.approx(-np.log(scores.MIN_PROBABILITY) / 2)


# Intervals


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (179, 179), (0, 1)])
def test_where_all_or_none_are_hits_the_interval_is_wilsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = scored(*binary(hits, count))["accuracy"]
    assert found == pytest.approx((hits / count, expected.low, expected.high), abs=1e-6)


def test_the_interval_of_the_sensitivity_counts_positives_alone_and_that_of_the_specificity_negatives():
    probabilities, labels = binary(18, 30)
    labels[10:] = 0  # 10 positives, all found; 8 of 20 negatives called positive
    found = scored(probabilities, labels, positive=1)
    expected = binomtest(10, 10).proportion_ci(method="wilson")
    assert found["sensitivity"] == pytest.approx((1, expected.low, expected.high), abs=1e-6)
    expected = binomtest(12, 20).proportion_ci(method="wilson")
    assert found["specificity"].value == 0.6
    assert found["specificity"].low <= expected.low + 1e-6


@pytest.mark.parametrize(("hits", "count"), [(3, 10), (90, 100), (999, 1000)])
def test_the_interval_of_a_rate_is_never_narrower_than_wilsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = scored(*binary(hits, count))["accuracy"]
    assert found.low <= expected.low + 1e-6
    assert found.high >= expected.high - 1e-6


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    probabilities, labels = predictions(400, 3)
    nats = -np.log(probabilities[np.arange(400), labels])
    found = scored(probabilities, labels, bootstrap=2000)["log_loss"]
    half = 1.96 * nats.std() / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((nats.mean() - half, nats.mean() + half), abs=0.15 * half)


def test_nineteen_of_twenty_intervals_cover_the_truth():
    truth = scored(*predictions(50_000, 3), bootstrap=1)
    covered = dict.fromkeys(("accuracy", "macro_f1", "log_loss"), 0)
    for seed in range(1, 101):
        found = scored(*predictions(200, 3, seed=seed))
        for name in covered:
            covered[name] += found[name].low <= truth[name].value <= found[name].high
    assert all(count >= 88 for count in covered.values()), covered


@pytest.mark.parametrize("classes", [2, 8])
def test_every_score_lies_in_its_interval(classes):
    for name, score in scored(*predictions(300, classes)).items():
        if name != "calibration_error":  # resampling adds noise, which this score counts as error
            assert score.low <= score.value <= score.high, name


def test_the_seed_decides_the_intervals_and_nothing_else():
    data = predictions(100, 3)
    one, two, other = scored(*data, seed=1), scored(*data, seed=1), scored(*data, seed=2)
    assert one == two
    assert one["log_loss"].value == other["log_loss"].value
    assert one["log_loss"].low != other["log_loss"].low


def test_groups_of_duplicates_are_resampled_together():
    """A hundred images four times over say no more than a hundred images."""
    probabilities, labels = predictions(100, 3)
    once = scored(probabilities, labels)
    probabilities, labels, groups = (np.repeat(values, 4, axis=0) for values in (probabilities, labels, np.arange(100)))
    together, apart = scored(probabilities, labels, groups), scored(probabilities, labels)
    for name in ("log_loss", "macro_f1"):
        assert together[name] == pytest.approx(once[name])
        assert apart[name].high - apart[name].low < 0.7 * (once[name].high - once[name].low)


def test_resamples_without_a_positive_image_do_not_spoil_the_interval():
    labels = np.array([1] + [0] * 9)
    probabilities = np.tile([0.9, 0.1], (10, 1))
    probabilities[0] = [0.1, 0.9]
    found = scored(probabilities, labels, positive=1)
    assert found["roc_auc"] == (1, 1, 1)
    assert np.isfinite([value for score in found.values() for value in score]).all()
    assert isinstance(found["roc_auc"], Score)


# Threshold, calibration, confusion


@pytest.mark.parametrize(
    ("probability", "positive", "expected"),
    [
        ([0.1, 0.2, 0.6, 0.8], [0, 0, 1, 1], 0.4),  # midway between the classes
        ([0.1, 0.4, 0.6, 0.8], [0, 1, 0, 1], 0.5),  # all within one image of the best: the nearest to one half
        ([0.1, 0.2, 0.3, 0.9], [0, 0, 0, 1], 0.6),
        ([0.1, 0.2, 0.2, 0.9], [0, 0, 1, 1], 0.55),  # tied images are called alike
        ([0.7, 0.7, 0.7], [0, 1, 1], 0.5),  # nothing to separate
        ([0.7], [1], 0.5),
    ],
)
def test_the_threshold_has_the_best_sum_of_sensitivity_and_specificity(probability, positive, expected):
    assert choose_threshold(np.array(probability), np.array(positive, bool)) == pytest.approx(expected)


def test_a_threshold_is_found_among_more_images_than_could_be_compared_in_pairs():
    probability = np.linspace(0, 1, 300_001)
    assert choose_threshold(probability, probability > 0.3) == pytest.approx(0.3, abs=1e-5)


def test_the_threshold_does_not_depend_on_how_rare_positives_are():
    random = np.random.default_rng(0)
    negative, positive = random.normal(0.4, 0.1, 20_000), random.normal(0.6, 0.1, 400)
    threshold = choose_threshold(np.concatenate([negative, positive]), np.arange(20_400) >= 20_000)
    assert threshold == pytest.approx(0.5, abs=0.03)


def test_a_thresholds_own_scores_are_within_one_image_of_the_best():
    probabilities, labels = predictions(300, 2)
    best = choose_threshold(probabilities[:, 1], labels == 1)
    sums = []
    for threshold in (best, *np.linspace(0, 1, 101)):
        found = scored(probabilities, labels, positive=1, threshold=threshold, bootstrap=1)
        sums.append(found["sensitivity"].value + found["specificity"].value)
    one_image = 1 / min((labels == 1).sum(), (labels == 0).sum())
    assert sums[0] >= max(sums) - one_image - 1e-9


def test_one_image_does_not_move_the_threshold_far_from_one_half():
    probability = np.concatenate([np.linspace(0.01, 0.3, 16), [0.84], np.linspace(0.7, 0.99, 16)])
    positive = np.arange(33) >= 17
    assert choose_threshold(probability, positive) == pytest.approx(0.5)


def test_calibration_is_confidence_accuracy_and_count_by_bin():
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0, 0])
    expected = [[0.5, 1, 1], [0.8, 1, 1], [(0.95 + 0.97 + 1) / 3, 2 / 3, 3]]
    np.testing.assert_allclose(calibration(probabilities, labels), expected)


def test_the_calibration_error_is_the_mean_gap_weighted_by_the_bins_images():
    probabilities, labels = predictions(500, 4, skill=2)
    confidence, accuracy, images = calibration(probabilities, labels).T
    expected = (np.abs(confidence - accuracy) * images).sum() / 500
    assert scored(probabilities, labels)["calibration_error"].value == pytest.approx(expected)
    assert images.sum() == 500


def test_the_confusion_matrix_is_scikit_learns():
    probabilities, labels = predictions(200, 5)
    predicted = probabilities.argmax(1)
    found = scores.confusion_matrix(predicted, labels, 6)  # a class that does not occur
    np.testing.assert_array_equal(found, confusion_matrix(labels, predicted, labels=range(6)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"bootstrap": 99}, "bootstrap"), ({"seed": -1}, "seed"), ({"positive_classes": 1}, "positive")],
)
def test_params_out_of_bounds_are_refused_by_name(tmp_path, changes, named):
    values = {"bootstrap": 100, "seed": 0, "positive_classes": [], **changes}
    with pytest.raises(ParamsError, match=named):
        parse(EvaluateParams, values, "evaluate", tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("matrix", "order"),
    [
        ([[9, 0, 0, 4], [0, 9, 2, 0], [0, 0, 9, 0], [0, 0, 0, 9]], [0, 3, 1, 2]),
        ([[9, 5, 4], [0, 9, 0], [0, 0, 9]], [1, 0, 2]),  # the first is beside both
        ([[1, 0], [0, 1]], [0, 1]),
        (np.ones((4, 4), int).tolist(), [2, 0, 1, 3]),
    ],
)
def test_classes_that_are_confused_stand_together(matrix, order):
    assert scores.order_by_confusion(np.array(matrix)) == order


def test_every_class_has_one_place_in_the_order():
    random = np.random.default_rng(0)
    assert sorted(scores.order_by_confusion(random.integers(0, 5, (101, 101)))) == list(range(101))


def test_the_curves_are_scikit_learns():
    random = np.random.default_rng(0)
    positive = random.uniform(size=300) < 0.3
    probability = (random.uniform(size=300) + positive / 2).round(1)  # many ties
    false, true, _ = roc_curve(positive, probability, drop_intermediate=False)
    np.testing.assert_allclose(scores.roc_curve(probability, positive), np.stack([false, true], 1))
    precision, recall, _ = precision_recall_curve(positive, probability)
    expected = np.stack([recall, precision], 1)[:-1][::-1]  # without its point at a recall of 0
    np.testing.assert_allclose(scores.precision_recall_curve(probability, positive), expected)


def test_the_calibration_error_of_the_bins_is_that_of_the_scores():
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet(np.ones(4), 200), random.integers(0, 4, 200)
    params = EvaluateParams(bootstrap=100, seed=0, positive_classes=())
    expected = evaluate(probabilities, labels, np.arange(200), params)["calibration_error"].value
    assert scores.calibration_error(calibration(probabilities, labels)) == pytest.approx(expected)
