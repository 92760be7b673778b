"""The columns that the MLflow UI shows: a saved view, which the UI stores as a tag of the MLflow experiment.

Without such a view, the UI's table of runs shows neither scores nor params. The tag's format is internal to the UI, so
tests/test_browser.py checks the table in a browser.
"""

import base64
import json
import time
import zlib

KEY = "bottletop"
METRICS = ("accuracy", "val_accuracy", "log_loss")
PARAMS = ("train.epochs", "train.batch_size", "train.learning_rate")


def tags() -> dict[str, str]:
    """The MLflow experiment's tag that holds the view, which is named Scores."""
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in PARAMS]
    state = json.dumps({"selectedColumns": columns})
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": "Scores", "createdAt": now, "updatedAt": now, "state": packed}
    return {f"mlflow.sharedViewState.{KEY}": json.dumps(view)}
