"""The whole of params.yaml, as `sources` and the doctor check it."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import samples
from bottletop.core.errors import ParamsError
from bottletop.core.paths import CATALOGUE, PARAMS, WEIGHTS
from bottletop.core.settings import load, parse, read_yaml
from bottletop.params_file import SECTIONS, ParamsFile, ignored, read_params
from tests.project import set_param

SHIPPED = samples.ROOT / PARAMS


def params(changes: dict[str, Any]) -> ParamsFile:
    """The params of the repository with some settings changed."""
    values = read_yaml(SHIPPED)
    for name, value in changes.items():
        section, key = name.split(".")
        values[section][key] = value
    return parse(ParamsFile, values, "", PARAMS)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_repository_comes_with_the_defaults(section: str) -> None:
    given = {"backbone": "vgg16"} if section == "extract" else {}
    assert getattr(load(ParamsFile, "", SHIPPED), section) == SECTIONS[section](**given)


def test_a_setting_that_is_left_out_has_its_default() -> None:
    values = read_yaml(SHIPPED)
    del values["train"]["patience"]
    assert parse(ParamsFile, values, "", PARAMS).train.patience == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs: 60", "  epoch: 60", r"line \d+: train.epoch is unknown: did you mean epochs\?"),
        ("  bootstrap: 1000", "  bootstraps: 9", r"line \d+: evaluate.bootstraps is unknown: did you mean bootstrap\?"),
        ("  validation: 0.1", "  validation: 1.5", r"line \d+: split.validation must be a number, .*; got 1.5"),
        ("augment:", "augments:", r"line \d+: augments is unknown: did you mean augment\?"),
        ("\ntrain:", "\ntrian:", r"line \d+: trian is unknown: did you mean train\?"),
        ("\ncnn:", "\nepochs: 5\ncnn:", r"line \d+: epochs is unknown: did you mean train.epochs\?"),
        ("  backbone: vgg16", "  backbone: vgg61", r"line \d+: extract.backbone must .*: did you mean vgg1\d\?"),
        ("datasets: # the", "datasets: my-photos\n# the", r"must be a list .*; got my-photos: write \[my-photos\]"),
        ("datasets: # the", "datasets: []\n# the", r"must be a list that is not empty, each item text; got \[\]"),
        ("datasets: # the", "datasets: [a, b, a]\n# the", r"params.yaml: datasets has a more than once"),
        ("download:", "download: null\nx:", r"must have settings indented below it, max_rejected, .*; got null"),
    ],
)  # fmt: skip
def test_a_slip_anywhere_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SHIPPED.read_text().replace("\n- digits", "")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("datasets: #", "datasets: [digits] #", 1 - ("datasets" in old)).replace(old, new, 1))
    with pytest.raises(ParamsError, match=message):
        load(ParamsFile, "", path)


def test_the_defaults_all_have_an_effect_or_are_not_mentioned() -> None:
    assert ignored(params({})) == []


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"augment.flip": "both", "augment.zoom": 0.1}, ["augment.flip, augment.zoom with train.model: top"]),
        ({"cnn.filters": [8], "cnn.pooling": [2]}, ["cnn.filters, cnn.pooling with train.model: top"]),
        ({"finetune.epochs": 3, "train.model": "cnn"}, ["finetune.epochs with train.model: cnn"]),
        ({"augment.flip": "both", "train.model": "finetune"}, []),
        ({"extract.precision": "float32", "train.model": "cnn"}, ["extract.precision with train.model: cnn"]),
        ({"train.features": "bottleneck", "train.model": "cnn"}, ["train.features with train.model: cnn"]),
        ({"train.pooling": "avg"}, ["train.pooling with train.features: pooled"]),
        ({"train.pooling": "avg", "train.features": "bottleneck"}, []),
        ({"train.batch_size": 8}, ["train.batch_size with the logistic regression (docs/models.md)"]),
        ({"train.batch_size": 8, "train.optimiser": "adam"}, []),
        ({"train.dropout": 0.1, "train.activation": "relu"}, ["train.dropout, train.activation with train.hidden: []"]),
        ({"train.dropout": 0.1, "train.activation": "relu", "train.hidden": [9]}, []),
        (
            {"train.leaky_slope": 0.1, "train.activation": "relu", "train.hidden": [9]},
            ["train.leaky_slope with train.activation: relu"],
        ),
    ],
)
def test_a_changed_setting_that_nothing_reads_is_named_with_the_reason(
    changes: dict[str, Any], texts: list[str]
) -> None:
    assert ignored(params(changes)) == texts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this project's settings, as the working directory."""
    for name in (PARAMS, CATALOGUE, WEIGHTS):
        (tmp_path / name).write_bytes((samples.ROOT / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_checked_at_the_start_is_right_in_this_repository(project: Path, capsys: pytest.CaptureFixture) -> None:
    assert read_params() == load(ParamsFile, "", PARAMS)
    assert capsys.readouterr().out == ""


def test_a_setting_without_effect_is_printed_in_one_line(project: Path, capsys: pytest.CaptureFixture) -> None:
    set_param(project, "augment.flip", "both")
    read_params()
    assert capsys.readouterr().out == "no effect: augment.flip with train.model: top\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"extract.backbone": "xception", "extract.image_side_px": 32},
            "xception takes images of 71 px or more",
        ),
        ({"extract.backbone": "vgg19"}, r"weights.yaml, line \d+: vgg19.sources must be a list that is not empty"),
        ({"datasets.0": "digit"}, r"dataset 'digit' is not in datasets.yaml: did you mean digits\?"),
        ({"datasets.0": "food-101", "train.model": "cnn"}, "how large food-101's images should be is not said"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_the_start(
    project: Path, changes: dict[str, Any], message: str
) -> None:
    weights = Path(WEIGHTS).read_text()
    end = weights.index("vgg19:")
    Path(WEIGHTS).write_text(weights[:end] + "vgg19: {digest: null, sources: []}\n")
    for name, value in changes.items():
        if name == "datasets.0":
            samples.activate(project, [value])
        else:
            set_param(project, name, value)
    with pytest.raises(ParamsError, match=message):
        read_params()
