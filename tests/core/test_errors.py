import subprocess
import sys

import pytest

from bottletop.core.errors import ArtefactError, BottletopError, DataError, ParamsError, exit_on_error
from tests.tiny import ROOT


def exit_message(error: BaseException) -> str:
    with pytest.raises(SystemExit) as caught, exit_on_error("train digits"):
        raise error
    return str(caught.value.code)


@pytest.mark.parametrize("kind", [ParamsError, DataError, ArtefactError])
def test_every_error_of_ours_is_a_bottletop_error(kind):
    assert issubclass(kind, BottletopError)


@pytest.mark.parametrize("kind", [BottletopError, ParamsError, DataError, ArtefactError])
def test_an_error_of_ours_ends_the_process_with_what_was_done_and_the_message(kind):
    assert exit_message(kind("no images: add some")) == "train digits: no images: add some"


def test_an_error_says_what_is_wrong_and_then_what_to_do():
    error = DataError("cats.zip is missing", "put it there")
    assert (error.problem, error.fix) == ("cats.zip is missing", "put it there")
    assert str(error) == "cats.zip is missing: put it there"
    assert str(DataError("empty file")) == "empty file"


def test_an_error_of_the_operating_system_is_named():
    assert exit_message(PermissionError(13, "Permission denied", "data")) == (
        "train digits: PermissionError: [Errno 13] Permission denied: 'data'"
    )


def test_ctrl_c_ends_the_process_without_a_traceback():
    assert exit_message(KeyboardInterrupt()) == "train digits: interrupted"


def test_a_message_as_exit_code_means_failure_on_stderr():
    """What `sys.exit(text)` does: prints it to stderr and exits with 1."""
    with pytest.raises(SystemExit) as caught, exit_on_error("split"):
        raise DataError("too few images")
    assert isinstance(caught.value.code, str)


def test_a_bug_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_error("train digits"):
        raise ZeroDivisionError


def test_nothing_happens_without_an_error():
    with exit_on_error("train digits"):
        done = True
    assert done


def test_out_of_memory_ends_the_process_with_what_to_do():
    message = exit_message(MemoryError("Unable to allocate 9 TiB"))
    assert message.startswith("train digits: out of memory (Unable to allocate 9 TiB): close other programs")
    assert "out of memory (MemoryError)" in exit_message(MemoryError())


@pytest.mark.parametrize("last", ["pass", "raise KeyboardInterrupt"])
def test_no_garbage_is_looked_for_when_the_process_ends(last):
    code = f"""
from bottletop.core.errors import exit_on_error
class Garbage:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("found")
Garbage()
with exit_on_error("train digits"):
    {last}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == (last != "pass")
