"""What the MLflow UI shows of a dataset's runs: saved views, which the UI stores as tags of the MLflow experiment.

Without such a view, the UI's table of runs shows neither scores nor params. The tags' format is internal to the UI, so
tests/test_browser.py checks table and charts in a browser.
"""

import base64
import json
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

NEWEST, BEST = "bottletop", "bottletop-best"  # keys of the views
METRICS = ("val_accuracy", "accuracy", "log_loss")
CURVES = {"Loss": ("epoch_val_loss", "epoch_loss"), "Accuracy": ("epoch_val_accuracy", "epoch_accuracy")}
MANY = 12  # params that a view shows at most, those that were changed first
_TAG = "mlflow.sharedViewState."
_SORTED = {"orderByKey": f"metrics.`{METRICS[0]}`", "orderByAsc": False}  # the UI nests no runs in a table sorted so


def tags(changed: Iterable[str], present: Mapping[str, str]) -> dict[str, str]:
    """The tags to set, so that the views have columns for these params beside those that they have already.

    Args:
        changed: dotted names of params, such as ``train.epochs``, in which a run differs from others.
        present: the MLflow experiment's tags.

    Returns:
        Both views' tags; none if they are there already.
    """
    params = list(dict.fromkeys([*_params(present), *changed]))[:MANY]
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in params]
    newest = {"selectedColumns": [*columns, "tags.`experiment`"], **_widths(params), **_charts()}
    views = {NEWEST: ("Newest", newest), BEST: ("Best on validation", newest | _SORTED)}
    if all(_state(present, key) == state for key, (_, state) in views.items()):
        return {}
    return {f"{_TAG}{key}": _packed(name, state) for key, (name, state) in views.items()}


def _params(present: Mapping[str, str]) -> list[str]:
    """The params that the views show now, if they were written by this version."""
    shown = _state(present, BEST).get("selectedColumns", [])
    return [name[len("params.`") : -1] for name in shown if name.startswith("params.`")]


def _widths(params: Iterable[str]) -> dict[str, Any]:
    """The order of the columns and their widths in pixels, so that names of runs and params are whole."""
    widths = {"attributes.`Run Name`": 330} | {f"metrics.`{name}`": 105 for name in METRICS}
    widths |= {f"params.`{name}`": 60 + 7 * len(name) for name in params}
    return {"columnOrder": list(widths), "columnWidths": widths}


def _charts() -> dict[str, Any]:
    """Charts of training and validation by epoch, each in one; those of single figures are folded away below."""
    sections = {"curves": ("Training and validation by epoch", True), "scores": ("Model metrics", False)}
    always = {"isReordered": False, "deleted": False, "isGenerated": True}
    return {
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": shown, "columns": 2, **always}
            for uuid, (name, shown) in sections.items()
        ],
        "compareRunCharts": [_lines(name, metrics) for name, metrics in CURVES.items()],
    }


def _lines(name: str, metrics: tuple[str, ...]) -> dict[str, Any]:
    """A chart with a line for each run and metric. The UI fills in no default where one of these is missing."""
    return {
        "type": "LINE", "uuid": name, "displayName": name, "metricSectionId": "curves",
        "metricKey": metrics[0], "selectedMetricKeys": list(metrics),
        "deleted": False, "isGenerated": False, "runsCountToCompare": 10, "ignoreOutliers": False,
        "xAxisKey": "step", "selectedXAxisMetricKey": "", "useGlobalXaxisKey": True, "xAxisScaleType": "linear",
        "yAxisKey": "metric", "yAxisExpressions": [], "scaleType": "linear", "range": {},
        "lineSmoothness": 0, "useGlobalLineSmoothing": True,
    }  # fmt: skip


def _packed(name: str, state: Mapping[str, Any]) -> str:
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed})


def _state(present: Mapping[str, str], key: str) -> dict[str, Any]:
    """The view that the tag holds; empty if there is none that can be read, as somebody may have edited it."""
    try:
        packed = json.loads(present[f"{_TAG}{key}"])["state"].removeprefix("deflate;")
        return dict(json.loads(zlib.decompress(base64.b64decode(packed))))
    except (LookupError, TypeError, AttributeError, ValueError, zlib.error):
        return {}
