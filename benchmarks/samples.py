"""A copy of this project whose catalogue takes the sample archives from an HTTP server on 127.0.0.1."""

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ARCHIVES = {
    "food-101": "food-101.tar.gz",
    "animals-10": "animals10.zip",
    "skin-cancer": "skin-cancer-malignant-vs-benign.zip",
    "flowers-17": "17flowers.tgz",
}
RESULTS = ("dvc.lock", "stages/dvc.lock", "fingerprints/", "metrics/")  # in git, as users commit them


def folder() -> Path:
    """Where the sample archives are: ``BOTTLETOP_SAMPLE_DATA``, else ``../shared/data`` beside the repository."""
    return Path(os.environ.get("BOTTLETOP_SAMPLE_DATA") or ROOT.parent / "shared" / "data")


def copy_project(target: Path) -> Path:
    """A fresh repository with the working tree's files in one commit, but none of its tests and results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", *RESULTS)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git(target, "init", "--quiet", "--initial-branch=main")
    for name, value in (("name", "test"), ("email", "test@localhost")):  # which experiments need
        git(target, "config", f"user.{name}", value)
    commit(target, "start")
    git(target, "gc", "--quiet")  # one file instead of hundreds: tests copy the project many times
    return target


def commit(project: Path, message: str) -> None:
    git(project, "add", "--all")
    git(project, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", message)


def git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def activate(project: Path, datasets: list[str]) -> None:
    """Sets the active datasets in params.yaml."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**params, "datasets": datasets}, sort_keys=False))


@contextmanager
def served(archives: Path) -> Iterator[str]:
    """The address at which the folder's files can be had."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with answering(functools.partial(Quiet, directory=str(archives))) as address:
        yield address


@contextmanager
def answering(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of an HTTP server on this machine, a handler for each request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def use_samples(project: Path, address: str) -> None:
    """Points the catalogue at the samples; they are other bytes than the public archives, so checksums go."""
    path = project / "datasets.yaml"
    catalogue = yaml.safe_load(path.read_text())
    for name, archive in ARCHIVES.items():
        source = catalogue["datasets"][name]["source"]
        source["urls"] = [f"{address}/{archive}"]
        source.pop("sha256", None)
    path.write_text(yaml.safe_dump(catalogue, sort_keys=False))


def environment(project: Path) -> dict[str, str]:
    """For commands in the project: its own stages and downloads, and nothing but this machine."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BOTTLETOP_CACHE": os.environ.get("BOTTLETOP_CACHE", str(Path("~/.cache/bottletop").expanduser())),
        "BOTTLETOP_HOSTS": "127.0.0.1",
        "DVC_SITE_CACHE_DIR": str(project / ".dvc" / "tmp" / "site"),
        "DVC_NO_ANALYTICS": "1",
    }
