"""Pictures that do not depend on each other, several at a time, each on a core of its own."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import torch

from genart.artifacts import Batch, Images

T = TypeVar("T")
U = TypeVar("U")
#: Pixels of a picture that keeps all cores busy by itself, and takes memory.
LARGE = 1 << 20
#: Seconds between two looks at whether there was a signal.
LOOK_SEC = 0.2


def each_picture(make: Callable[[Batch], Batch], images: Images, workers: int, resolution: int | None = None) -> Iterator[Batch]:
    """Yield `make` of each picture, a batch of one; large ones, by the first of them, are made one after another.

    Args:
        make: see `side_by_side`.
        images: the pictures.
        workers: how many to make at once; see `Run.workers`.
        resolution: longer side of what is made, in pixels; None for the picture's own.
    """

    def made(batch: Batch) -> Batch:
        result = make(batch)
        _ = result.array  # rounded here rather than by whoever asks for it
        return result

    batches = images.batches(1)
    for first in batches:
        height, width = first.array.shape[1:3]
        enlarged = 1.0 if resolution is None else max(1.0, resolution / max(height, width))
        yield from side_by_side(made, itertools.chain([first], batches), workers if height * width * enlarged**2 <= LARGE else 1)


def side_by_side(make: Callable[[T], U], given: Iterable[T], workers: int) -> Iterator[U]:
    """Yield `make` of each, in order, made by several threads that each use one core.

    Where other programs want the cores too, as in a pipe, threads that share one picture wait for each other at every layer; threads that
    have a picture each never wait. A thread reads the next when it is free, so that what is done is yielded while the next is awaited.

    Args:
        make: called in another thread, for one of what is given at a time in each; autograd is on there unless it says otherwise.
        given: read by one thread at a time, two for each thread ahead of what was asked for at most.
        workers: number of threads, at most as many as torch uses; 1 does without any.

    Raises:
        BaseException: what reading or making raises, in its place among the results.
    """
    workers = min(workers, torch.get_num_threads())
    if workers == 1:
        yield from map(make, given)
        return
    source, numbers, reading = iter(given), itertools.count(), threading.Lock()
    free, over = threading.Semaphore(2 * workers), threading.Event()
    making = threading.Semaphore(workers)  # whoever makes something holds one
    done: queue.SimpleQueue[tuple[int, Future[U] | None]] = queue.SimpleQueue()

    def work() -> None:
        torch.set_num_threads(1)  # of this thread alone
        while free.acquire() and not over.is_set():
            with reading:
                number, future = next(numbers), Future[U]()
                try:
                    one = next(source)
                except StopIteration:
                    done.put((number, None))
                    return
                except BaseException as error:
                    future.set_exception(error)
                    done.put((number, future))
                    return
            with making:
                if over.is_set():
                    return
                try:
                    future.set_result(make(one))
                except BaseException as error:
                    future.set_exception(error)
                done.put((number, future))
                del one, future

    threads = _started(work, workers)
    try:
        for made in _in_order(done):
            yield made.result()
            free.release()
    finally:
        over.set()
        free.release(workers)
        _wait(making, workers)
    for thread in threads:  # nothing is left to read
        thread.join()


def _started(work: Callable[[], None], count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _in_order(done: queue.SimpleQueue[tuple[int, Future[U] | None]]) -> Iterator[Future[U]]:
    """Yield what is done in the order of its numbers, up to the None that is the end."""
    waiting: dict[int, Future[U] | None] = {}
    for wanted in itertools.count():
        while wanted not in waiting:
            with suppress(queue.Empty):  # a signal may reach another thread, and then wakes nobody here
                number, future = done.get(timeout=LOOK_SEC)
                waiting[number] = future
        if (made := waiting.pop(wanted)) is None:
            return
        yield made


def _wait(making: threading.Semaphore, count: int) -> None:
    """Wait until nobody makes anything: a thread in the midst of torch when the process ends would abort it.

    One that reads is not waited for: it may read what never comes, and makes nothing any more.
    """
    for _ in range(count):
        making.acquire()
    making.release(count)
