"""A sweep: runs each combination of some settings as an experiment and ranks them on the validation images.

A sweep can be stopped at any time. It continues when it is started again: an experiment that has succeeded with the
same params, code and data is not run again. The ranking does not use the test images. At the end, they show whether the
best experiment beats the baseline, which is the configuration in params.yaml.
"""

import fcntl
import re
import shlex
import subprocess
import textwrap
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil

from bottletop.core import progress
from bottletop.core.errors import ArtefactError, ParamsError, exit_on_sigterm
from bottletop.core.parallel import processors
from bottletop.core.paths import PARAMS
from bottletop.core.settings import read_yaml
from bottletop.core.terminal import say
from bottletop.experiments import refs
from bottletop.experiments.grid import Point, points, with_overrides
from bottletop.experiments.ranking import Candidate, scores, table, verdicts, without_effect
from bottletop.experiments.refs import Experiment

LOGS = Path(".dvc/tmp/bottletop/sweep")
JOB_BYTES = 1_500_000_000  # of memory that one experiment may need
CONTAINER = Path("/sys/fs/cgroup")  # holds memory.max, in bytes or "max", and memory.current, in bytes
GRACE_S = 5  # for an experiment to end after its stage was terminated
BASELINE = Point("baseline", {})


class Sweep:
    """Runs experiments from one commit and the workspace's current state, which is the baseline."""

    def __init__(self, jobs: int, keep_open: int) -> None:
        """Brings the workspace up to date first.

        Args:
            jobs: how many experiments run at the same time.
            keep_open: a file descriptor that each experiment keeps open as long as it runs.

        Raises:
            ArtefactError: there is no commit, the clone is shallow, or `dvc repro` failed.
        """
        refs.refuse_shallow()
        self._jobs, self._keep_open = jobs, keep_open
        self._baseline = refs.workspace()
        refs.reproduce()

    @property
    def seed(self) -> int:
        """The training seed of the baseline."""
        return int(self._baseline.params["train"]["seed"])

    def is_baseline(self, point: Point) -> bool:
        """Whether the point changes nothing in params.yaml."""
        return with_overrides(self._baseline.params, point.overrides) == self._baseline.params

    def run(self, points: Sequence[Point]) -> list[Point]:
        """Runs the points that have not succeeded yet; those that fail are run once more.

        Returns:
            The points that failed twice.
        """
        missing = [point for point in points if self.done(point) is None]
        if len(missing) < len(points):
            say(f"{len(points) - len(missing)} of {len(points)} are there already")
        for point in missing:  # removes outdated experiments; to replace them, --force would also extract again
            refs.forget(self._baseline.baseline, point.name)
        # Some points need other features than the baseline's. For each kind of features, the first such point runs
        # alone and extracts them; the others then find them.
        first = {point.features: point for point in reversed(missing) if point.features != BASELINE.features}
        alone = list(first.values())
        failed = self._run(alone, 1) + self._run([point for point in missing if point not in alone], self._jobs)
        return self._run(failed, 1)

    def done(self, point: Point) -> Experiment | None:
        """The experiment, if it has succeeded with the current params, code and data; else None."""
        if self.is_baseline(point):
            return self._baseline
        found = refs.find(self._baseline.baseline, point.name)
        wanted = with_overrides(self._baseline.params, point.overrides), self._baseline.inputs
        return found if found and (found.params, found.inputs) == wanted else None

    def ranked(self, groups: Sequence[Sequence[Point]]) -> list[Candidate]:
        """The candidates, best first: one per group with a succeeded experiment, named after its first point."""
        runs = {group[0].name: [run for point in group if (run := self.done(point))] for group in groups}
        return sorted((Candidate(name, found) for name, found in runs.items() if found), key=lambda found: found.rank)

    def without_effect(self, points: Sequence[Point]) -> Iterator[str]:
        """Yields the settings that made no difference among these points; see `ranking.without_effect`."""
        return without_effect([(point.overrides, run) for point in points if (run := self.done(point))])

    def _run(self, points: Sequence[Point], jobs: int) -> list[Point]:
        failed = []
        for count, (point, seconds) in enumerate(_in_parallel(points, jobs, self._keep_open), start=1):
            done = self.done(point)
            if done is None:
                failed.append(point)
            outcome = ", ".join(scores(done)) if done else f"failed: {_last_words(point)}"
            say(f"[{count}/{len(points)}] {point.name}: {outcome} ({seconds:.0f} s)")
        return failed


def sweep(settings: Sequence[str], *, seeds: int, repeat: int, jobs: int | None) -> None:
    """Runs a sweep; prints its progress, the ranking, and the command that applies the best experiment.

    Args:
        settings: such as ``train.epochs=5,10,20``.
        seeds: how many training seeds the best configurations and the baseline are run with.
        repeat: how many of the best configurations are run with these seeds.
        jobs: how many experiments run at the same time; None for as many as cores and memory allow.

    Raises:
        ParamsError: a setting or value is not allowed; nothing was started.
        ArtefactError: git does not know the user and nothing was started, or the baseline failed, or some experiments
            failed twice; the others are still ranked then.
    """
    grid = _checked(settings, seeds)
    jobs = jobs or _default_jobs()
    exit_on_sigterm()
    with _alone() as keep_open, _one_parent(settings):
        say("baseline: what params.yaml says")
        swept = Sweep(jobs, keep_open)
        everything, grid = grid, [point for point in grid if not swept.is_baseline(point)]
        say(f"sweep: {len(grid)} other experiments, {jobs} at a time, logs in {LOGS}")
        failed = swept.run(grid)
        ranked = swept.ranked([[BASELINE], *([point] for point in grid)])
        print_table(ranked)
        for name in swept.without_effect(everything):
            say(f"{name} made no difference: with the other settings equal, all its values give the same scores")
        if seeds > 1:
            best = [candidate.name for candidate in ranked if candidate.name != BASELINE.name][:repeat]
            chosen = [BASELINE, *(point for point in grid if point.name in best)]
            groups = [[point, *(point.with_seed(swept.seed + more) for more in range(1, seeds))] for point in chosen]
            say(f"seeds: the baseline and the best {len(best)}, {seeds} times each")
            failed += swept.run([point for group in groups for point in group])
            ranked = swept.ranked(groups)
            print_table(ranked)
        print_choice(ranked)
    if failed:
        names = ", ".join(point.name for point in failed)
        raise ArtefactError(f"failed twice: {names}; see {LOGS}; the same command tries them again")


def _one_parent(settings: Sequence[str]) -> AbstractContextManager[None]:
    """Lets MLflow show the sweep's runs below one."""
    from bottletop.tracking.sweeps import parents  # MLflow takes seconds to import: not if settings are refused

    return parents(read_yaml(PARAMS)["datasets"], settings)


def print_table(ranked: Sequence[Candidate]) -> None:
    """Prints the ranking as a table."""
    say("\n" + textwrap.indent(table(ranked), "  ") + "\n")


def print_choice(ranked: Sequence[Candidate]) -> None:
    """Prints the best on validation, whether the test images confirm it, and the command that applies it."""
    best, baseline = ranked[0], next(candidate for candidate in ranked if candidate.name == BASELINE.name)
    if best is baseline:
        say("best on validation: the baseline, params.yaml stays as it is")
        return
    say(f"best on validation: {best.name}; on the test images, which had no part in that choice,")
    for line in verdicts(best, baseline):
        say(f"  {line}")
    say(f"apply it: dvc exp apply {shlex.quote(best.name)}")


def _checked(settings: Sequence[str], seeds: int) -> list[Point]:
    grid = points(settings)
    if seeds > 1 and "train.seed" in grid[0].overrides:
        raise ParamsError("train.seed can't be swept together with --seeds, which sets it", "leave one of them out")
    refs.refuse_anonymous()
    return grid


@contextmanager
def _alone() -> Iterator[int]:
    """Holds a lock that experiments hold too, so that a new sweep waits for those of a killed one.

    Yields:
        The lock's file descriptor, for the experiments to keep open.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another sweep here, or for experiments that a stopped one has left running")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _in_parallel(points: Sequence[Point], jobs: int, keep_open: int) -> Iterator[tuple[Point, float]]:
    """Yields each point when its experiment has ended, with the seconds that it took.

    Experiments that still run when the generator is closed or fails are ended.
    """
    threads = max(1, processors() // jobs)
    waiting, running = deque(points), list[tuple[Point, subprocess.Popen[bytes], float]]()
    spoken = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                point = waiting.popleft()
                with _log(point).open("wb") as log:
                    process = refs.start(point.name, point.overrides, log, keep_open, threads)
                running.append((point, process, time.monotonic()))
            ended = [entry for entry in running if entry[1].poll() is not None]
            running = [entry for entry in running if entry not in ended]
            yield from ((point, time.monotonic() - started) for point, _, started in ended)
            if ended:
                spoken = time.monotonic()
            elif time.monotonic() - spoken > 0.9 * progress.LOG_S:  # no silence of more than LOG_S
                say(f"  running: {', '.join(f'{point.name}{_stage(point)}' for point, _, _ in running)}")
                spoken = time.monotonic()
            time.sleep(0.1)
    finally:
        _end([process for _, process, _ in running])


def _end(commands: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminates the stages that the commands run, so that their MLflow runs are closed; waits for the commands.

    A command that runs no stage at the moment is terminated itself.
    """
    if commands:
        say("stopping; the same command continues the sweep")
    while running := [command for command in commands if command.poll() is None]:
        for process in (psutil.Process(command.pid) for command in running):
            for part in process.children(recursive=True) or [process]:
                with suppress(psutil.NoSuchProcess):
                    part.terminate()
        for command in running:  # what has gone on nevertheless, with its next stage, is terminated again
            with suppress(subprocess.TimeoutExpired):
                command.wait(GRACE_S)


def _last_words(point: Point) -> str:
    """The last line of the log that a stage printed, such as ``train@digits: …``; else DVC's error; else its last line.

    DVC's last line is the same for most errors: where to ask for help.
    """
    lines = _log(point).read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if "@" in line.partition(":")[0] and not line.startswith("Running")]
    told = told or [line for line in lines if line.startswith("ERROR: ")]
    last = (told or [line for line in lines if line.strip()] or ["no output"])[-1].strip()
    killed = any(line.rstrip().endswith("exited with -9") for line in lines[-3:])
    return f"killed by the system for lack of memory, or by kill -9: try fewer --jobs ({last})" if killed else last


def _stage(point: Point) -> str:
    """The stage that an experiment has reached, in brackets; nothing before the first one."""
    stages = re.findall(r"^Running stage '(\S+)'", _log(point).read_text(encoding="utf-8", errors="replace"), re.M)
    return f" ({stages[-1]})" if stages else ""


def _log(point: Point) -> Path:
    return LOGS / f"{point.name}.log"


def _default_jobs() -> int:
    return max(1, min(processors(), _available_bytes() // JOB_BYTES))


def _available_bytes() -> int:
    """How many bytes of memory further processes can use: the lower of this machine's and this container's."""
    free = int(psutil.virtual_memory().available)
    limit = CONTAINER / "memory.max"
    if not limit.exists() or (most := limit.read_text().strip()) == "max":
        return free
    return min(free, int(most) - int((CONTAINER / "memory.current").read_text()))
