from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

from bottletop.experiments.ranking import Candidate, scores, table, verdicts, without_effect


@dataclass(frozen=True)
class Run:
    """An experiment whose predictions are in memory."""

    metrics: dict[str, Any]
    right: str = ""  # a 1 for each test image that it got right, else 0

    @contextmanager
    def predictions(self, _dataset):
        guesses = ["cat" if hit == "1" else "dog" for hit in self.right]
        rows = [f"{number},{number}.jpg,{number},cat,{guess},0.5,0.5" for number, guess in enumerate(guesses)]
        yield StringIO("\n".join(["id,path,group,label,predicted,p(cat),p(dog)", *rows]))


def run(val_accuracy=0.9, val_log_loss=0.3, accuracy=0.8, right="", **others):
    metrics = {"val_accuracy": val_accuracy, "val_log_loss": val_log_loss, "accuracy": accuracy}
    return Run({"animals": metrics, **others}, right)


def lines(candidates):
    return table(candidates).splitlines()


def order(*candidates):
    return [candidate.name for candidate in sorted(candidates, key=lambda candidate: candidate.rank)]


def test_the_highest_validation_accuracy_comes_first_whatever_the_test_images_say():
    better, worse = run(val_accuracy=0.95, accuracy=0.1), run(val_accuracy=0.94, accuracy=0.99)
    assert order(Candidate("worse", [worse]), Candidate("better", [better])) == ["better", "worse"]


def test_among_equal_accuracies_the_lowest_log_loss_comes_first():
    assert order(Candidate("worse", [run(val_log_loss=0.4)]), Candidate("better", [run()])) == ["better", "worse"]


def test_several_seeds_rank_by_their_mean():
    lucky_once, steady = [run(0.99), run(0.80)], [run(0.92), run(0.93)]
    assert order(Candidate("lucky", lucky_once), Candidate("steady", steady)) == ["steady", "lucky"]


def test_several_datasets_rank_by_their_mean():
    food = {"val_accuracy": 0.5, "val_log_loss": 1.0, "accuracy": 0.5}
    good, bad = run(0.90, food={**food, "val_accuracy": 0.7}), run(0.95, food=food)
    assert order(Candidate("bad", [bad]), Candidate("good", [good])) == ["good", "bad"]


def test_the_table_has_a_line_for_each_candidate():
    assert lines([Candidate("epochs=5", [run(0.95, 0.25)]), Candidate("baseline", [run(1, 12.5)])]) == [
        "experiment      val accuracy    val log loss",
        "epochs=5              95.0 %           0.250",
        "baseline             100.0 %          12.500",
    ]


def test_several_seeds_show_their_mean_and_standard_deviation():
    [_, line] = lines([Candidate("epochs=5", [run(0.95, 0.25), run(0.97, 0.35)])])
    assert line.split() == ["epochs=5", "96.0", "±", "1.4", "%", "0.300", "±", "0.071"]


def test_several_datasets_have_columns_of_their_own():
    food = {"val_accuracy": 0.5, "val_log_loss": 1.0}
    head, line = lines([Candidate("epochs=5", [run(food=food)])])
    assert (
        " ".join(head.split())
        == "experiment animals val accuracy animals val log loss food val accuracy food val log loss"
    )
    assert line.split() == ["epochs=5", "90.0", "%", "0.300", "50.0", "%", "1.000"]


def test_scores_are_those_of_validation():
    assert list(scores(run(val_accuracy=0.95, accuracy=0.1))) == ["animals 95.0 %"]


def test_the_verdict_compares_the_same_test_images():
    best = Candidate("best", [run(accuracy=1.0, right="1" * 20)])
    other = Candidate("other", [run(accuracy=0.5, right="10" * 10)])
    [line] = verdicts(best, other)
    assert line.startswith("animals: 100.0 % against 50.0 % on 20 test images: +50.0 points (95 % interval +")
    assert line.endswith("p = 0.002: better")


def test_seeds_are_averaged_before_they_are_compared():
    best = Candidate("best", [run(right="1100"), run(right="1001")])
    other = Candidate("other", [run(right="1000"), run(right="1000")])
    [line] = verdicts(best, other)
    assert "+25.0 points" in line
    assert line.endswith("no difference shown")


def test_models_of_different_splits_are_not_compared():
    [line] = verdicts(Candidate("best", [run(right="111")]), Candidate("other", [run(right="1111")]))
    assert line.startswith("animals: the models were tested on different images")


def test_a_setting_whose_values_always_give_the_same_metrics_is_without_effect():
    results = [({"epochs": epochs, "batch_size": size}, run(epochs / 10)) for epochs in (2, 5) for size in (16, 32)]
    assert list(without_effect(results)) == ["batch_size"]


def test_a_setting_that_changes_one_of_the_experiments_has_an_effect():
    results = [({"epochs": epochs, "batch_size": size}, run()) for epochs in (2, 5) for size in (16, 32)]
    results[-1] = (results[-1][0], run(0.1))
    assert list(without_effect(results)) == []


def test_a_setting_with_one_value_is_not_said_to_be_without_effect():
    assert list(without_effect([({"epochs": 2, "batch_size": size}, run(size / 64)) for size in (16, 32)])) == []
