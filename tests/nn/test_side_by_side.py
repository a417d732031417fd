"""Pictures made by several threads: the same, in order, however long each takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from genart.artifacts import Batch, Images
from genart.nn import side_by_side
from genart.nn.side_by_side import each_picture


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Torch uses two threads, on a machine with one core too."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_though_the_first_takes_longest() -> None:
    def make(number: int) -> int:
        time.sleep(0.05 if number % 2 == 0 else 0)
        return number * 10

    assert list(side_by_side.side_by_side(make, range(9), 2)) == [10 * number for number in range(9)]


def test_two_are_made_at_once_each_by_a_thread_of_one_core() -> None:
    together = threading.Barrier(2, timeout=20)
    seen = set()

    def make(number: int) -> int:
        together.wait()
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return number

    assert list(side_by_side.side_by_side(make, range(4), 2)) == [0, 1, 2, 3]
    assert {threads for _, threads in seen} == {1}
    assert len(seen) == 2
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert torch.get_num_threads() == 2


def test_what_is_done_is_given_while_the_next_is_awaited() -> None:
    coming = threading.Event()

    def given() -> Iterator[int]:
        yield 0
        assert coming.wait(20), "it waited for the second before it gave the first"
        yield 1

    results = side_by_side.side_by_side(lambda number: number, given(), 2)
    assert next(results) == 0
    coming.set()
    assert list(results) == [1]


def test_it_reads_no_further_ahead_than_two_for_each_thread() -> None:
    read: list[int] = []

    def given() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    results = side_by_side.side_by_side(lambda number: number, given(), 2)
    for taken in range(1, 20):
        next(results)
        time.sleep(0.005)
        assert len(read) <= taken + 3  # the one that was just given has not been used up


@pytest.mark.parametrize("where", ["given", "make"])
def test_an_error_comes_in_its_place(where: str) -> None:
    def given() -> Iterator[int]:
        for number in range(6):
            if number == 3 and where == "given":
                raise ValueError("the fourth is broken")
            yield number

    def make(number: int) -> int:
        if number == 3 and where == "make":
            raise ValueError("the fourth is broken")
        return number

    results = side_by_side.side_by_side(make, given(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth is broken"):
        next(results)


def test_one_who_stops_reading_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    results = side_by_side.side_by_side(lambda number: number, iter(range(1000)), 2)
    next(results)
    results.close()
    for _ in range(200):
        if set(threading.enumerate()) <= before:  # one of an earlier test may have ended meanwhile
            return
        time.sleep(0.05)
    pytest.fail("a thread goes on")


@pytest.mark.parametrize("reading", [False, True])
def test_who_leaves_waits_for_what_is_being_made_and_not_for_what_is_read(reading: bool) -> None:
    """A thread that is in the midst of torch when the process ends aborts it; one that reads may wait for ever."""
    begun, comes = threading.Event(), threading.Event()
    ended: list[int] = []

    def given() -> Iterator[int]:
        yield 0
        yield 1
        if reading:
            comes.wait(60)
        yield 2

    def make(number: int) -> int:
        if number:
            begun.set()
            time.sleep(0.3)
            ended.append(number)
        return number

    results = side_by_side.side_by_side(make, given(), 2)
    assert next(results) == 0
    assert begun.wait(60)
    results.close()
    assert 1 in ended
    count = len(ended)
    comes.set()
    time.sleep(0.5)
    assert len(ended) == count, "nothing is begun any more"


def test_all_threads_have_ended_when_all_is_made() -> None:
    before = set(threading.enumerate())
    assert list(side_by_side.side_by_side(lambda number: number, iter(range(9)), 2)) == list(range(9))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("side", "resolution", "at_once"),
    [(1024, None, True), (1025, None, False), (1025, 512, False), (64, 4096, True), (64, 4100, False)],
)
def test_large_pictures_are_made_one_after_another(side: int, resolution: int | None, at_once: bool) -> None:
    threads: set[int] = set()

    def make(batch: Batch) -> Batch:
        threads.add(threading.get_ident())
        return batch

    images = Images.from_batches([Batch.from_array(np.full((1, side, 1024, 3), value, np.uint8)) for value in range(4)])
    made = list(each_picture(make, images, 2, resolution))
    assert [int(batch.array[0, 0, 0, 0]) for batch in made] == [0, 1, 2, 3]
    assert (threading.get_ident() not in threads) == at_once


def test_no_pictures_give_none() -> None:
    assert list(side_by_side.side_by_side(lambda number: number, iter(()), 2)) == []
    assert list(side_by_side.side_by_side(lambda number: number, [1, 2], 1)) == [1, 2]
