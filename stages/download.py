"""download@<dataset>: its catalogue entry in, class tars, index and data report out."""

import sys

from bottletop.catalogue import dataset
from bottletop.config import load, unedited
from bottletop.download import DownloadParams, unpack
from bottletop.errors import exit_on_error
from bottletop.files import write_json
from bottletop.paths import CATALOGUE, PARAMS, Paths


def run(params: DownloadParams, paths: Paths) -> None:
    report = unpack(dataset(paths.dataset).source, params, paths.images)
    write_json(paths.metrics / "data.json", report)


if __name__ == "__main__":
    with (
        exit_on_error(f"download@{sys.argv[1]}"),
        unedited("download"),
        unedited(f"datasets.{sys.argv[1]}.source", path=CATALOGUE),
    ):
        run(load(DownloadParams, "download", PARAMS), Paths(sys.argv[1]))
