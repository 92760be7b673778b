import pytest

from bottletop.tracking.records import Record


@pytest.mark.parametrize(
    ("experiment", "expected"), [("abcdef1", True), ("abcdef12", True), ("uncommitted", True), ("a", False)]
)
def test_a_plain_repro_is_known_by_its_commit_and_not_by_a_letter_of_it(experiment, expected):
    baseline = "abcdef12" + 32 * "0"
    record = Record(
        experiment=experiment, dataset="cats", baseline=baseline, started=0.0, params={}, metrics={}, tags={}
    )
    assert record.is_repro is expected
