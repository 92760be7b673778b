"""`bottletop doctor`: runs all checks on this clone, and prints each finding with its fix."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

from bottletop.core.addresses import masked
from bottletop.core.errors import BottletopError
from bottletop.core.terminal import say, visible
from bottletop.doctor import cache, hashes, leftovers, project, remote, store
from bottletop.doctor.findings import Finding, Level, hide_passwords, problem

Check = Callable[[], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "project": project.project,
    "versions": project.versions,
    "processor": project.processor,
    "git": project.git_state,
    "cache": cache.cache,
    "site cache": cache.site_cache,
    "remote": remote.remote,
    "secrets": remote.secrets,
    "tracking": store.store,
    "weights": project.weights,
    "locks": leftovers.locks,
    "leftovers": leftovers.leftovers,
}
NEEDED: dict[str, Check] = {"project": project.misplaced, "locks": leftovers.records}  # by the other checks
LOOK = "git diff params.yaml datasets.yaml dvc.lock stages/dvc.lock # shows what has changed"
COLOURS: dict[Level, str] = {"ok": "32", "note": "36", "warning": "33", "problem": "31"}
LEVEL_WIDTH, NAME_WIDTH = 9, 12  # characters


def examine(*, quick: bool) -> int:
    """Runs all checks, and prints a line per finding and a summary.

    Args:
        quick: whether to skip hashing the files.

    Returns:
        The exit code: 1 if there is a problem, else 0.
    """
    for name, check in NEEDED.items():
        if found := list(check()):
            _print(name, found)
            return 1
    checks: dict[str, Check] = {**CHECKS, "files": partial(hashes.hashes, quick=quick)}
    levels: list[Level] = []
    for name, check in checks.items():
        findings = _isolated(check)
        _print(name, findings)
        levels += [finding.level for finding in findings]
    problems, warnings = levels.count("problem"), levels.count("warning")
    counted = [f"{n} {what}{'s' * (n > 1)}" for n, what in ((problems, "problem"), (warnings, "warning")) if n]
    say(f"{len(checks)} checks, {', '.join(counted) or 'nothing wrong'}")
    return int(problems > 0)


def _isolated(check: Check) -> list[Finding]:
    """The findings of a check; an exception that it raises becomes a finding."""
    findings: list[Finding] = []
    try:
        findings += check()
    except BottletopError as error:
        findings.append(problem(error.problem, error.fix or LOOK))
    except Exception as error:  # a failed check must not stop the others
        findings.append(problem(f"could not be checked: {type(error).__name__}: {error}", "report this as a bug"))
    # An ok is shown only if the check found nothing else.
    return [finding for finding in findings if finding.level != "ok"] or findings


def _print(name: str, findings: list[Finding]) -> None:
    for finding in findings:
        level = finding.level.ljust(LEVEL_WIDTH)
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            level = f"\x1b[{COLOURS[finding.level]}m{level}\x1b[0m"
        text = " ".join(finding.text.split())
        print(f"{level}{name:<{NAME_WIDTH}}{visible(masked(text))}", flush=True)  # noqa: T201 (the level is coloured)
        if finding.fix:
            say(f"{'':{LEVEL_WIDTH + NAME_WIDTH}}fix: {hide_passwords(finding.fix)}")
