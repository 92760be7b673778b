"""Stage sources: runs at every `dvc repro`; checks the settings, and detects changes in the user's own images."""

import os
from pathlib import Path

from bottletop.core.catalogue import dataset, local_path
from bottletop.core.errors import exit_on_error
from bottletop.core.files import write_json
from bottletop.core.paths import Paths, repository
from bottletop.download.fingerprints import fingerprints
from bottletop.experiments.refs import refuse_shallow
from bottletop.experiments.workspace import claim
from bottletop.features.needs import write_needs
from bottletop.features.reuse import remove_recorded
from bottletop.models.params import Model
from bottletop.params_file import read_params
from bottletop.tracking.client import warn_of_silence


def run(names: tuple[str, ...], model: Model) -> None:
    """Writes a fingerprint per dataset, and whether the model needs features."""
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
        params = read_params()  # a mistake in any section is found before anything runs
        run(params.datasets, params.train.model)
