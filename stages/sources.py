"""Stage sources: detects changes in the user's own image folders and archives; runs at every `dvc repro`."""

import os
from pathlib import Path

from bottletop.core.catalogue import dataset, local_path
from bottletop.core.errors import ParamsError, exit_on_error
from bottletop.core.files import write_json
from bottletop.core.paths import PARAMS, Paths, repository
from bottletop.core.settings import load, read_yaml
from bottletop.download.fingerprints import fingerprints
from bottletop.experiments.refs import refuse_shallow
from bottletop.experiments.workspace import claim
from bottletop.features.manifest import ExtractParams
from bottletop.features.needs import write_needs
from bottletop.features.reuse import remove_recorded
from bottletop.models.params import Model
from bottletop.tracking.client import warn_of_silence

SECTIONS = {"datasets", "download", "split", "extract", "train", "cnn", "finetune", "augment", "evaluate"}


def run(names: tuple[str, ...], model: Model) -> None:
    """Checks params.yaml; writes a fingerprint per dataset, and whether the model needs features."""
    unknown = ", ".join(sorted(set(read_yaml(PARAMS)) - SECTIONS))
    if unknown:
        raise ParamsError(f"params.yaml has no section {unknown}, only {', '.join(sorted(SECTIONS))}")
    if not names:
        raise ParamsError("datasets in params.yaml is empty", "name at least one of datasets.yaml")
    for name in names:
        places = {path: local_path(path) for path in dataset(name).source.local}
        write_json(Paths(name).fingerprint, fingerprints(places, Paths(name).fingerprint))
    write_needs(model)


if __name__ == "__main__":
    with exit_on_error("sources"):
        if Path.cwd() != repository():
            refuse_shallow()
        claim()
        remove_recorded()
        warn_of_silence(os.environ.get("MLFLOW_TRACKING_URI", ""))
        load(ExtractParams, "extract", PARAMS)  # refuses a wrong backbone before anything is downloaded for it
        run(load(tuple[str, ...], "datasets", PARAMS), load(Model, "train.model", PARAMS))  # type: ignore[arg-type]
