"""Stage download@<dataset>: reads its catalogue entry; writes shards, index and data report, and prints a summary."""

import sys

from bottletop.core.catalogue import dataset
from bottletop.core.errors import exit_on_error
from bottletop.core.files import write_json
from bottletop.core.paths import CATALOGUE, PARAMS, Paths
from bottletop.core.settings import load, unedited
from bottletop.core.terminal import say
from bottletop.download.params import DownloadParams
from bottletop.download.summary import summary
from bottletop.download.unpacking import unpack


def run(params: DownloadParams, paths: Paths) -> None:
    """Unpacks the dataset's images, writes the report on the data and prints a summary; raises as `unpack` does."""
    report = unpack(dataset(paths.dataset).source, params, paths.images)
    write_json(paths.metrics / "data.json", report)
    say(summary(paths.dataset, report))


if __name__ == "__main__":
    with (
        exit_on_error(f"download@{sys.argv[1]}"),
        unedited("download"),
        unedited(f"datasets.{sys.argv[1]}.source", path=CATALOGUE),
    ):
        run(load(DownloadParams, "download", PARAMS), Paths(sys.argv[1]))
