"""A training that is broken off goes on where it was, and ends as if nothing had happened."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from bottletop.models import cnn, epochs, training
from bottletop.models.epochs import WEEK_S, unfinished
from tests.models.test_cnn import AUGMENT, LAYERS, pictures  # noqa: F401 (a fixture)
from tests.tiny import simple_params


class KilledError(Exception):
    pass


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(epochs, "SAVE_EVERY_S", 0.0)
    return tmp_path / ".dvc/tmp/bottletop/training"


def broken_off(train, epoch):
    """Trains until an epoch's end, and once more; returns what the second reported, and its result."""

    def kill(entry):
        if entry["epoch"] == epoch:
            raise KilledError

    with pytest.raises(KilledError):
        train(kill)
    seen = []
    return seen, train(seen.append)


def assert_same(one, other):
    assert one.history == other.history
    assert one.record == other.record
    for mine, theirs in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("patience", [None, 2])
def test_a_top_ends_with_the_same_weights(easy, home, patience):
    params = simple_params(epochs=7, patience=patience, input_dropout=0.3)
    seen, resumed = broken_off(lambda on_epoch: training.train(easy, params, on_epoch), epoch=4)
    assert_same(resumed, training.train(easy, params))
    assert [entry["epoch"] for entry in seen] == list(range(1, len(resumed.history) + 1))
    assert not list(home.iterdir())


def test_so_does_a_network_with_augmentation(pictures):  # noqa: F811
    params = simple_params(model="cnn", epochs=4, input_dropout=0.3)
    _, resumed = broken_off(lambda on_epoch: cnn.train(pictures, LAYERS, AUGMENT, params, on_epoch), epoch=3)
    assert_same(resumed, cnn.train(pictures, LAYERS, AUGMENT, params))


def test_only_what_was_missing_is_trained(easy, monkeypatch):
    trained = []
    monkeypatch.setattr(epochs.Epochs, "on_epoch_begin", lambda _, epoch, logs: trained.append(epoch))  # noqa: ARG005
    broken_off(lambda on_epoch: training.train(easy, simple_params(epochs=6), on_epoch), epoch=4)
    assert trained == [0, 1, 2, 3, 3, 4, 5]


def test_other_settings_start_anew(easy, home):
    def kill(entry):
        raise KilledError

    with pytest.raises(KilledError):
        training.train(easy, simple_params(epochs=3), kill)
    seen = []
    training.train(easy, simple_params(epochs=2), seen.append)
    assert [entry["epoch"] for entry in seen] == [1, 2]


def test_one_of_two_equal_trainings_at_once_keeps_the_state(home):
    with unfinished("same") as first, unfinished("same") as second:
        assert first is not None
        assert second is None


def test_what_was_left_a_week_ago_is_removed(home):
    old, new = home / "old/state", home / "new/state"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - WEEK_S - 1,) * 2)
    with unfinished("another"):
        assert new.exists()
        assert not old.parent.exists()


@pytest.mark.parametrize(("file", "kept"), [("cli.py", True), ("tracking/columns.py", True), ("models/top.py", False)])
def test_the_state_follows_from_the_code_that_trains_alone(home, tmp_path, monkeypatch, file, kept):
    library = Path(shutil.copytree(Path(epochs.__file__).parents[1], tmp_path / "bottletop"))
    monkeypatch.setattr(epochs, "__file__", str(library / "models/epochs.py"))
    with unfinished("same") as before:
        pass
    with (library / file).open("a") as opened:
        opened.write("# a remark\n")
    with unfinished("same") as after:
        assert (after == before) is kept
