import gc
import subprocess
import sys

import pytest

from bottletop.core.imports import quick_imports
from bottletop.tracking.live import OPTIONAL
from tests.tiny import ROOT


def test_packages_appear_as_not_installed_within_the_block_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with quick_imports("this"), pytest.raises(ModuleNotFoundError):
        import this  # noqa: F401
    assert "this" not in sys.modules


def test_those_that_are_imported_already_stay():
    with quick_imports("gc"):
        import gc as again
    assert again is gc is sys.modules["gc"]


def fail(collecting):
    collecting.append(gc.isenabled())
    raise KeyError


def test_garbage_is_collected_after_the_block_alone_also_if_it_raises():
    collecting = []
    with pytest.raises(KeyError), quick_imports():
        fail(collecting)
    assert [*collecting, gc.isenabled()] == [False, True]


def test_garbage_is_not_collected_by_a_process_that_wants_none():
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_imported_in_the_block_is_not_looked_through_for_garbage_afterwards():
    with quick_imports():
        kept = [[]]
    assert not any(each is kept for each in gc.get_objects())


def test_track_imports_nothing_that_mlflow_can_do_without():
    code = "import stages.track, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "mlflow" in done.stdout.split()
    assert not set(OPTIONAL) & set(done.stdout.split())
