"""Stage split@<dataset>: reads the index; writes the split of every image."""

import sys

from bottletop.core.errors import exit_on_error
from bottletop.core.paths import PARAMS, Paths
from bottletop.core.settings import load, unedited
from bottletop.core.terminal import say
from bottletop.images.index import read_index
from bottletop.split import SplitParams, assign_splits, check_classes, doubt, write_split


def run(params: SplitParams, paths: Paths) -> None:
    """Assigns each image of the index to a split; raises as `check_classes` and `assign_splits` do."""
    images = read_index(paths.index)
    check_classes(images)
    rows = assign_splits(images, params)
    write_split(paths.split, rows)
    if doubted := doubt(rows):
        say(f"{paths.dataset}: {doubted}")


if __name__ == "__main__":
    with exit_on_error(f"split@{sys.argv[1]}"), unedited("split"):
        run(load(SplitParams, "split", PARAMS), Paths(sys.argv[1]))
