"""The run that holds those of a sweep together, one for each dataset: the MLflow UI shows them below it."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow import MlflowClient

from bottletop.tracking.description import NOTE, escaped
from bottletop.tracking.origin import HIDDEN, PARENT, PARENTS, baseline, short_digest
from bottletop.tracking.owner import owner_tags
from bottletop.tracking.runs import experiment
from bottletop.tracking.store import store

SWEEP = f"{HIDDEN}bottletop.sweep"  # tag with a digest of the sweep's settings and commit
RANKED = ("metrics.val_accuracy DESC", "metrics.val_log_loss ASC")


@contextmanager
def parents(datasets: Sequence[str], settings: Sequence[str]) -> Iterator[None]:
    """Makes the experiments that start in the block runs of one sweep, on each of the datasets.

    A sweep that continues an earlier one, with the same settings and commit, goes on with its run. If this process is
    killed, the next command that logs a run closes it.

    Args:
        datasets: the active ones.
        settings: of the sweep, such as ``train.epochs=5,10``.

    Raises:
        ArtefactError: the tracking store cannot be reached.
    """
    with store() as client:
        opened = {dataset: _open(client, dataset, settings) for dataset in datasets}
    os.environ[PARENTS] = json.dumps(opened)
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        del os.environ[PARENTS]
        with store() as client:
            for run_id in opened.values():
                _close(client, run_id, status)


def _open(client: MlflowClient, dataset: str, settings: Sequence[str]) -> str:
    names = [setting.partition("=")[0] for setting in settings]
    folder = experiment(client, dataset, names)
    key = short_digest(json.dumps([baseline(), *settings]))
    if found := client.search_runs([folder], f"tags.`{SWEEP}` = '{key}'", max_results=1):
        run_id = str(found[0].info.run_id)
        client.update_run(run_id, "RUNNING")
        for tag, value in owner_tags().items():
            client.set_tag(run_id, tag, value)
        return run_id
    tags = {SWEEP: key, "dataset": dataset, **owner_tags()}
    return str(client.create_run(folder, run_name=f"{dataset}: sweep of {', '.join(names)}", tags=tags).info.run_id)


def _close(client: MlflowClient, run_id: str, status: str) -> None:
    folder = client.get_run(run_id).info.experiment_id
    below = f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'FINISHED'"
    if best := client.search_runs([folder], below, max_results=1, order_by=list(RANKED)):
        page = f"#/experiments/{folder}/runs/{best[0].info.run_id}"
        client.set_tag(run_id, NOTE, f"Best on validation: [{escaped(best[0].info.run_name)}]({page})")
    client.set_terminated(run_id, status)
