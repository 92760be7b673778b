import base64
import json
import zlib

from bottletop.tracking import columns


def view(tags: dict[str, str], key: str) -> dict[str, object]:
    packed = json.loads(tags[f"mlflow.sharedViewState.{key}"])["state"].removeprefix("deflate;")
    return dict(json.loads(zlib.decompress(base64.b64decode(packed))))


def test_a_view_shows_the_scores_and_each_param_that_runs_have_changed() -> None:
    first = columns.tags(["train.epochs"], {})
    both = columns.tags(["train.batch_size"], first)
    for key in (columns.NEWEST, columns.BEST):
        assert view(both, key)["selectedColumns"] == [
            *("metrics.`val_accuracy`", "metrics.`accuracy`", "metrics.`log_loss`"),
            *("params.`train.epochs`", "params.`train.batch_size`", "tags.`experiment`"),
        ]


def test_views_that_show_a_param_already_are_not_written_again() -> None:
    assert columns.tags(["train.epochs"], columns.tags(["train.epochs"], {})) == {}


def test_the_first_dozen_of_params_is_shown() -> None:
    shown = view(columns.tags([f"p{number}" for number in range(20)], {}), columns.NEWEST)["selectedColumns"]
    assert [name for name in shown if name.startswith("params.")] == [f"params.`p{number}`" for number in range(12)]


def test_a_view_that_somebody_has_damaged_is_written_anew() -> None:
    whole = columns.tags(["train.epochs"], {})
    for text in ("", "[]", "{}", '{"state": "deflate;AAAA"}', '{"state": 3}'):
        broken = {**whole, "mlflow.sharedViewState.bottletop-best": text}
        assert "selectedColumns" in view(columns.tags([], broken), columns.BEST)


def test_training_and_validation_are_in_one_chart() -> None:
    charts = view(columns.tags([], {}), columns.BEST)["compareRunCharts"]
    assert [chart["selectedMetricKeys"] for chart in charts] == [
        ["epoch_val_loss", "epoch_loss"],
        ["epoch_val_accuracy", "epoch_accuracy"],
    ]
