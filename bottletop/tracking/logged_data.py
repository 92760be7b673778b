"""A dataset as MLflow understands it: the input of each of its runs, by which runs can be searched."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from bottletop.core.files import read_json
from bottletop.core.paths import Paths
from bottletop.core.settings import section_of

DIGEST = 36  # characters that MLflow allows
CONTEXT = "mlflow.data.context"  # tag in which MLflow keeps what a run used the dataset for
COLUMNS = {"image": "binary", "class": "string"}  # and their MLflow types


def used(dataset: str, digest: str, source: str, report: Path | None) -> DatasetInput:
    """The dataset as a run used it.

    MLflow keeps a dataset of the same name and digest once. What depends on the run, the size of each split, is
    therefore the input's context.

    Args:
        dataset: its name.
        digest: of the images' ids, in hex.
        source: the dataset's source in datasets.yaml, as JSON.
        report: the folder with data.json and details.json; None if there is none.
    """
    images, splits = _report(report, "data.json"), _report(report, "details.json").get("images", {})
    kind, place = _origin(dataset, source)
    columns = [{"name": name, "type": type_, "required": True} for name, type_ in COLUMNS.items()]
    entity = Dataset(
        name=dataset,
        digest=digest[:DIGEST],
        source_type=kind,
        source=json.dumps(place),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": images.get("images"), "images_per_class": images.get("images_per_class")}),
    )
    told = ", ".join(f"{splits[name]} {name}" for name in ("train", "validation", "test") if name in splits)
    return DatasetInput(entity, [InputTag(CONTEXT, told)] if told else [])


def _origin(dataset: str, source: str) -> tuple[str, dict[str, str]]:
    """The type of MLflow's source and its value: the first address of a download, else the folder of the images."""
    try:
        urls = section_of(json.loads(source), "urls")
    except ValueError:  # cut off, as MLflow's params have a largest length
        urls = None
    if isinstance(urls, list) and urls and str(urls[0]).startswith(("http://", "https://")):
        return "http", {"url": str(urls[0])}
    return "local", {"uri": str(Paths(dataset).images)}


def _report(folder: Path | None, name: str) -> Mapping[str, Any]:
    return read_json(folder / name) if folder is not None and (folder / name).exists() else {}
