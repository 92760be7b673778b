"""The columns that the MLflow UI shows: a saved view, which the UI keeps as a tag of the experiment.

Without one, its table of runs has neither scores nor params. The format is the UI's own: tests/test_browser.py looks.
"""

import base64
import json
import time
import zlib

KEY = "bottletop"
METRICS = ("accuracy", "val_accuracy", "log_loss")
PARAMS = ("train.epochs", "train.batch_size", "train.learning_rate")


def tags() -> dict[str, str]:
    """The experiment's tag that holds the view, which is called Scores."""
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in PARAMS]
    state = json.dumps({"selectedColumns": columns})
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": "Scores", "createdAt": now, "updatedAt": now, "state": packed}
    return {f"mlflow.sharedViewState.{KEY}": json.dumps(view)}
