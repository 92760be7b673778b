"""Runs a function on all cores and yields its results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bottletop.core.errors import ParamsError

CONTAINER = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: CPU quota (or "max") and period, in microseconds

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Returns the number of processors that this process may use.

    It is ``BOTTLETOP_THREADS`` if that is set; otherwise the number of processors the process is bound to, limited by
    the container's CPU quota.

    Raises:
        ParamsError: ``BOTTLETOP_THREADS`` is not a whole number of at least 1.
    """
    pinned = os.environ.get("BOTTLETOP_THREADS")
    if pinned:
        return at_least_one("BOTTLETOP_THREADS", pinned)
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = CONTAINER.read_text().split() if CONTAINER.exists() else ("max", "1")
    return bound if quota == "max" else max(1, min(bound, int(quota) // int(period)))


def at_least_one(name: str, text: str) -> int:
    """Parses the value of an environment variable as a whole number of at least 1.

    Raises:
        ParamsError: it is not.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ParamsError(f"{name} must be a whole number of at least 1, got {text!r}", "change it in the environment")
    return int(text)


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[tuple[Item, Result]]:
    """Applies `function` to the items in threads, and yields each item with its result, in order.

    Args:
        function: called once for each item.
        items: consumed as the results are used.
        ahead: maximum number of items submitted but not yet yielded; this bounds the memory for any number of items.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(processors()) as pool:
        for item in items:
            if len(waiting) == ahead:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((item, pool.submit(function, item)))
        for first, future in waiting:
            yield first, future.result()
