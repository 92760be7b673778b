"""sources: notices changes of the images' own folders and archives; runs at every `dvc repro`."""

from bottletop.archives import fingerprint
from bottletop.catalogue import dataset, local_path
from bottletop.config import load
from bottletop.errors import exit_on_error
from bottletop.files import write_json
from bottletop.paths import PARAMS, Paths


def run(names: tuple[str, ...]) -> None:
    for name in names:
        source = dataset(name).source
        local = [source.folder] if source.folder else [url for url in source.urls if url.startswith("file:")]
        found = {path: fingerprint(local_path(path)) for path in local}
        write_json(Paths(name).fingerprint, found)


if __name__ == "__main__":
    with exit_on_error("sources"):
        run(load(tuple[str, ...], "datasets", PARAMS))
