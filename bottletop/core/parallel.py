"""Work on all cores while its results are used in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bottletop.core.errors import ParamsError

CONTAINER = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time in each period, or "max"

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """How many this process may use: ``BOTTLETOP_THREADS``, else those it is bound to, or its container's share."""
    pinned = os.environ.get("BOTTLETOP_THREADS")
    if pinned:
        return at_least_one("BOTTLETOP_THREADS", pinned)
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = CONTAINER.read_text().split() if CONTAINER.exists() else ("max", "1")
    return bound if quota == "max" else max(1, min(bound, int(quota) // int(period)))


def at_least_one(name: str, text: str) -> int:
    """An environment variable's value."""
    if not text.isdecimal() or int(text) < 1:
        raise ParamsError(f"{name} must be a whole number of at least 1, got {text!r}", "change it in the environment")
    return int(text)


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order; at most `ahead` items are held at once, whatever their number."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(processors()) as pool:
        for item in items:
            if len(waiting) == ahead:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((item, pool.submit(function, item)))
        for first, future in waiting:
            yield first, future.result()
