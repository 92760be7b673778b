"""What the library imports is what pyproject.toml declares: a package of a package may go with its next version."""

import importlib.metadata
import re
import sys
import tomllib

import grimp

from benchmarks import samples


def test_every_import_is_declared_and_every_dependency_is_imported() -> None:
    graph = grimp.build_graph("bottletop", "stages", include_external_packages=True, cache_dir=None)
    imported = {name.partition(".")[0] for name in graph.modules} - {"bottletop", "stages", *sys.stdlib_module_names}
    names = importlib.metadata.packages_distributions()
    used = [{normalised(distribution) for distribution in names[package]} for package in imported]
    project = tomllib.loads((samples.ROOT / "pyproject.toml").read_text())["project"]
    declared = {normalised(re.split(r"[^\w.-]", line)[0]) for line in project["dependencies"]}
    assert [each for each in used if not each & declared] == []
    assert declared - set().union(*used) == set()


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
