"""Work that threads do ahead of whoever reads its results, in order and bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
#: Threads at most.
MAX_WORKERS = 16


def ahead(make: Callable[[T], U], tasks: Iterable[T]) -> Generator[U, None, None]:
    """Yield `make` of each task, in order; a thread on each core works ahead of the reader, by one task more than there are threads.

    For work that leaves the interpreter's lock, as Pillow's does while it decodes and resizes: nothing is copied between processes.

    Args:
        make: called in another thread.
        tasks: read in the caller's thread, so many ahead and no more.

    Raises:
        BaseException: what making raises, in its place among the results; what reading raises, as soon as it does.
    """
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    source = iter(tasks)
    waiting: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        waiting.extend(pool.submit(make, task) for task in islice(source, workers + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(make, task) for task in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
