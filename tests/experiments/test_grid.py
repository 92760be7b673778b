import re
import subprocess

import pytest

from bottletop.core.errors import ParamsError
from bottletop.experiments.grid import points, with_overrides


def names(*settings):
    return [point.name for point in points(settings)]


def test_every_combination_is_a_point_the_last_setting_changing_fastest():
    found = points(["train.epochs=5,10", "train.batch_size=16,32"])
    assert [dict(point.overrides) for point in found] == [
        {"train.epochs": 5, "train.batch_size": 16},
        {"train.epochs": 5, "train.batch_size": 32},
        {"train.epochs": 10, "train.batch_size": 16},
        {"train.epochs": 10, "train.batch_size": 32},
    ]


def test_a_point_is_named_after_its_settings():
    assert names("train.epochs=5", "split.seed=1") == ["epochs=5,split.seed=1"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.hidden=[],[256],[100, 50]", ["hidden=none", "hidden=256", "hidden=100-50"]),
        ("train.patience=null,3", ["patience=none", "patience=3"]),
        ("train.standardise=true,false", ["standardise=true", "standardise=false"]),
        ("train.learning_rate=1e-4,0.001", ["learning_rate=0.0001", "learning_rate=0.001"]),
        ("train.features=pooled", ["features=pooled"]),
        ("evaluate.positive_classes=[a / b]", ["evaluate.positive_classes=a-b"]),
    ],
)
def test_values_are_written_as_in_params_yaml(setting, expected):
    assert names(setting) == expected


def test_git_takes_every_name_as_that_of_a_reference():
    for name in names(
        "train.hidden=[],[100, 50]", "train.learning_rate=1e-5", "evaluate.positive_classes=[a b, '~^:?*.\\[']"
    ):
        subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)


def test_a_value_given_twice_is_one_point():
    assert names("train.epochs=5,5,10") == ["epochs=5", "epochs=10"]


def test_points_that_differ_have_different_names():
    found = names("evaluate.positive_classes=[a b],[a-b],[a.b]")
    assert len(set(found)) == 3


def test_overrides_leave_the_rest_as_it_is():
    params = {"datasets": ["digits"], "train": {"epochs": 60, "seed": 0}, "split": {"seed": 0}}
    changed = with_overrides(params, {"train.epochs": 5})
    assert changed == {"datasets": ["digits"], "train": {"epochs": 5, "seed": 0}, "split": {"seed": 0}}
    assert params["train"]["epochs"] == 60


def test_points_that_differ_in_training_alone_share_their_features():
    assert len({point.features for point in points(["train.epochs=5,10", "evaluate.seed=0,1"])}) == 1
    assert len({point.features for point in points(["train.epochs=5,10", "extract.image_side_px=64,96"])}) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epoch=5"], "no setting 'train.epoch': did you mean train.epochs"),
        (["epochs=5"], "no setting 'epochs': did you mean train.epochs"),
        (["datasets=digits"], "no setting 'datasets'"),
        (["train.epochs"], "'train.epochs' is not a setting with values"),
        (["train.epochs="], "'train.epochs=' is not a setting with values"),
        (["train.epochs=5,ten"], "the sweep's epochs=ten: train.epochs must be a whole number from 1 on; got ten"),
        (["train.epochs=5,0"], "train.epochs.*got 0"),
        (["train.hidden=[256"], "can't be read"),
        (["train.epochs=5", "train.epochs=10"], "given twice"),
        (["train.hidden=[256]", "train.dropout=[0.5],[0.5,0.3]"], "a value per hidden layer, 1, got 2"),
    ],
)
def test_what_a_stage_would_refuse_is_refused_before_anything_runs(settings, message):
    with pytest.raises(ParamsError, match=message):
        points(settings)


def test_an_unlike_setting_names_all_there_are():
    with pytest.raises(ParamsError) as error:
        points(["xyzzy=1"])
    assert re.search(r"train\.epochs.*evaluate\.bootstrap", str(error.value))
