import os
import time

import pytest

from bottletop.core import parallel
from bottletop.core.errors import ParamsError
from bottletop.core.parallel import map_ahead, processors


@pytest.mark.parametrize(
    ("share", "expected"), [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)]
)
def test_a_container_uses_its_share_of_the_processors(share, expected, tmp_path, monkeypatch) -> None:
    (tmp_path / "cpu.max").write_text(f"{share}\n")
    monkeypatch.setattr(parallel, "CONTAINER", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert processors() == expected


def test_a_process_uses_the_processors_that_it_is_bound_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "CONTAINER", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert processors() == 1


def test_the_number_of_threads_can_be_pinned(monkeypatch) -> None:
    monkeypatch.setenv("BOTTLETOP_THREADS", "3")
    assert processors() == 3


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_pin_that_is_no_number_is_refused_by_name(value, monkeypatch) -> None:
    monkeypatch.setenv("BOTTLETOP_THREADS", value)
    with pytest.raises(ParamsError, match=f"BOTTLETOP_THREADS must be a whole number of at least 1, got '{value}'"):
        processors()


def test_results_come_in_the_order_of_their_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return number * number

    assert list(map_ahead(slow_at_first, range(20), ahead=5)) == [(n, n * n) for n in range(20)]


def test_no_more_items_are_taken_than_may_be_held() -> None:
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(abs, items(), ahead=8)
    for used in range(1, 50):
        next(results)
        assert len(taken) - used <= 8
    results.close()


def test_fewer_items_than_may_be_held_all_come() -> None:
    assert list(map_ahead(abs, [-1, -2], ahead=8)) == [(-1, 1), (-2, 2)]


def test_an_error_is_raised_where_its_result_is_due() -> None:
    def fails_at_three(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        return number

    results = map_ahead(fails_at_three, range(10), ahead=4)
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
