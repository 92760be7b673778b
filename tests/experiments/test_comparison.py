import io

import numpy as np
import pytest
from scipy.stats import binomtest

from bottletop.core.errors import ArtefactError
from bottletop.experiments.comparison import Outcome, average, compare, read_outcome


def outcome(correct, groups=None):
    correct = np.asarray(correct, np.float64)
    images = tuple((f"id{number}", f"{number}.jpg") for number in range(len(correct)))
    return Outcome(images, np.arange(len(correct)) if groups is None else np.array(groups), correct)


def models(both, first, second, neither):
    """Two models, and how many images each got right alone."""
    counts = (both, first, second, neither)
    return outcome(np.repeat([1, 1, 0, 0], counts)), outcome(np.repeat([1, 0, 1, 0], counts))


def test_the_difference_is_that_of_the_accuracies():
    first, second = models(both=80, first=12, second=3, neither=5)
    assert compare(first, second).value == pytest.approx(0.09)
    assert compare(second, first).value == pytest.approx(-0.09)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (5, 0), (6, 1), (4, 4), (9, 2)])
def test_of_two_single_models_the_p_value_is_mcnemars_exact_one(gained, lost):
    first, second = models(both=50, first=gained, second=lost, neither=10)
    assert compare(first, second).p_value == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_with_many_differing_images_it_is_close_to_that():
    first, second = models(both=50, first=40, second=22, neither=10)
    assert compare(first, second).p_value == pytest.approx(binomtest(40, 62).pvalue, abs=0.01)


def test_models_that_agree_everywhere_show_no_difference():
    first, _ = models(both=9, first=0, second=0, neither=1)
    found = compare(first, first)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("gained", "lost", "verdict"), [(30, 5, "better"), (5, 30, "worse"), (6, 4, "no difference shown")]
)
def test_the_verdict_needs_a_p_value_below_five_percent(gained, lost, verdict):
    assert compare(*models(100, gained, lost, 10)).verdict == verdict


def test_the_interval_holds_the_true_difference_in_about_95_of_100_samples():
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        easy = random.random(150)
        first, second = outcome(easy + 0.2 * random.standard_normal(150) > 0.2), outcome(easy > 0.3)
        found = compare(first, second, seed)
        truth = _truth()
        hits += found.low <= truth <= found.high
    assert hits / 60 >= 0.87


def _truth():
    random = np.random.default_rng(1)
    easy = random.random(2_000_000)
    return np.mean(easy + 0.2 * random.standard_normal(len(easy)) > 0.2) - np.mean(easy > 0.3)


def test_copies_of_an_image_count_as_one_piece_of_evidence():
    gained = np.repeat([1, 0], [6, 30])
    apart = compare(outcome(gained), outcome(gained * 0))
    copies = compare(outcome(gained, groups=[0] * 6 + list(range(1, 31))), outcome(gained * 0))
    assert apart.p_value == pytest.approx(2 / 2**6)
    assert copies.p_value == 1
    assert copies.value == apart.value


def test_several_seeds_count_as_the_share_that_got_an_image_right():
    found = average([outcome([1, 1, 0]), outcome([1, 0, 0])])
    assert list(found.correct) == [1, 0.5, 0]


def test_different_images_are_refused():
    with pytest.raises(ArtefactError, match="different images"):
        compare(outcome([1, 0]), outcome([1, 0, 1]))
    with pytest.raises(ArtefactError, match="different images"):
        average([outcome([1, 0]), outcome([1, 0, 1])])


def test_the_column_predicted_counts_where_rounded_probabilities_tie():
    text = """\
id,path,group,label,predicted,p(benign),p(malignant)
a,1.jpg,a,malignant,malignant,0.500000,0.500000
b,2.jpg,b,malignant,benign,0.700000,0.300000
c,3.jpg,b,malignant,malignant,0.200000,0.800000
"""
    found = read_outcome(io.StringIO(text))
    assert list(found.correct) == [1, 0, 1]
    assert list(found.groups) == [0, 1, 1]
    assert found.images[2] == ("c", "3.jpg")


def test_names_that_begin_like_a_formula_are_read_as_they_were():
    text = "id,path,group,label,predicted\n1,'=1.jpg,g,'=cat,'=cat\n2,=1.jpg,h,cat,'=cat\n"
    found = read_outcome(io.StringIO(text))
    assert found.images == (("1", "=1.jpg"), ("2", "=1.jpg"))
    assert found.correct.tolist() == [1, 0]
