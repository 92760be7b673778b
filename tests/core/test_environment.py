import shutil
import subprocess
import sys

import pytest

from tests.tiny import ROOT

FIX = "activate the environment with `source .venv/bin/activate`; if that does not help, run make install\n"


def run(*command: str) -> str:
    """What a command that fails prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stdout + done.stderr


@pytest.mark.parametrize("module", ["stages.sources", "stages.download", "stages.train", "bottletop"])
def test_a_python_without_the_packages_gets_one_line_that_says_to_activate_the_environment(module):
    shown = run(sys.executable, "-S", "-m", module, "digits")  # -S: without the installed packages
    assert shown.startswith(f"{sys.executable} lacks a package (No module named '")
    assert shown.endswith(f"'): {FIX}")
    assert shown.count("\n") == 1


def test_an_older_python_gets_one_line_too():
    found = [path for minor in (10, 9, 8) if (path := shutil.which(f"python3.{minor}"))]
    older = next((path for path in found if not subprocess.run([path, "-c", ""], check=False).returncode), None)
    if older is None:
        pytest.skip("needs Python 3.8, 3.9 or 3.10")
    assert run(older, "-m", "stages.download", "digits").endswith(f", which is too old: {FIX}")


def test_a_mistake_in_the_project_itself_keeps_its_traceback():
    code = "import stages, bottletop.core.nothing"
    assert "Traceback" in run(sys.executable, "-c", code)
