"""Memory that the processes of one machine share: what they add up many times in a step goes through it, past sockets and their threads.

Each process has two places to write to and a count of what it has done, which the others read while they wait. It is for CPUs that show
the stores of one core to the others in their order, as x86 does; elsewhere, and between machines, torch.distributed does the same.
"""

from __future__ import annotations

import mmap
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

try:
    import fcntl
except ImportError:  # no locks here: whether another process is gone could not be told
    fcntl = None  # type: ignore[assignment]

#: Where memory is a file.
FOLDER = "/dev/shm"  # noqa: S108 - nobody can foretell a name there: see `_made`
#: Numbers that a process gives at a time: a megabyte, which stays in the caches.
PLACE = 1 << 18
#: A process waits actively for so long, and then asks this often, and looks less often for whether the others still exist.
IMPATIENCE_SEC, ASK_SEC, LOOK_SEC = 0.02, 0.0005, 0.1
#: One that exists and does nothing for so long is given up, as by torch.distributed.
PATIENCE_SEC = 1800.0
#: Each count has a line of the caches for itself: numbers of 8 bytes.
LINE = 8

_let_others_run: Callable[[], None] = getattr(os, "sched_yield", lambda: time.sleep(0))


def until(done: Callable[[], bool], seconds: float = IMPATIENCE_SEC) -> bool:
    """Wait actively until something is done, for a moment at most: to be woken takes longer. Returns whether it is."""
    end = time.perf_counter() + seconds
    while not done():
        if time.perf_counter() > end:
            return False
        _let_others_run()
    return True


class Mailbox:
    """The shared memory, as one process has it. All call its methods in the same order, with tensors of the same sizes.

    Args:
        path: of the memory, `room(size)` bytes.
        rank: number of this process, from 0.
        size: number of processes.

    Raises:
        OSError: if there is no such memory of this user's.
    """

    def __init__(self, path: str, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        found = os.fstat(self._file)
        if found.st_uid != os.getuid() or found.st_size != room(size):
            os.close(self._file)
            raise FileNotFoundError(path)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, rank)  # as long as this process exists
        memory = mmap.mmap(self._file, found.st_size)
        numbers = torch.frombuffer(memory, dtype=torch.float32)[: (2 * size + 1) * PLACE].view(2 * size + 1, PLACE)
        self._given, self._totals = numbers[:-1].view(2, size, PLACE), numbers[-1]
        self._counts: Any = memoryview(memory)[numbers.numel() * 4 :].cast("q")
        self._count = 0

    def close(self) -> None:
        """Leave: those who wait for this process notice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def gather(self, x: Tensor) -> Tensor:
        """What each process has, float32 of at most PLACE numbers: (...) to (size, ...)."""
        given = self._given[(self._count + 1) % 2, :, : x.numel()]
        given[self.rank].copy_(x.flatten())
        self._meet()
        return given.clone().view(self.size, *x.shape)

    def average_(self, pieces: Sequence[Tensor], divisor: float) -> None:
        """Replace tensors (n,), float32 of at most PLACE numbers together, by their sums over the processes, divided by a number.

        Each process adds up a part of them, in the order of the processes: all have the same sums to the last bit.
        """
        count = sum(map(len, pieces))
        given = self._given[(self._count + 1) % 2, :, :count]
        torch.cat(list(pieces), out=given[self.rank])
        self._meet()
        first, end = count * self.rank // self.size, count * (self.rank + 1) // self.size
        own = self._totals[first:end]
        torch.sum(given[:, first:end], 0, out=own)
        own.div_(divisor)
        self._meet()
        torch._foreach_copy_(list(pieces), list(self._totals[:count].split([len(piece) for piece in pieces])))

    def _meet(self) -> None:
        """Wait until all processes have come here. What they wrote before can be read then.

        A place that is written is not read any more: whoever comes to a meeting has read what was written before the last one.
        """
        self._count += 1
        self._counts[self.rank * LINE] = self._count
        for rank in range(self.size):
            if not until(lambda rank=rank: self._has_come(rank)):  # type: ignore[misc]
                self._wait(rank)

    def _has_come(self, rank: int) -> bool:
        come: bool = self._counts[rank * LINE] >= self._count
        return come

    def _wait(self, rank: int) -> None:
        begun = looked = time.monotonic()
        while not self._has_come(rank):
            time.sleep(ASK_SEC)
            now = time.monotonic()
            if now - looked < LOOK_SEC:
                continue
            looked = now
            if (self._is_gone(rank) and not self._has_come(rank)) or now - begun > PATIENCE_SEC:
                raise dist.DistNetworkError(f"process {rank}, a peer of this one, is gone")

    def _is_gone(self, rank: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, rank)
        except OSError:
            return False
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, rank)
        return True


def usable() -> bool:
    """True if processes of this machine can share memory so."""
    return fcntl is not None and platform.machine() == "x86_64" and os.path.isdir(FOLDER)


def room(size: int) -> int:
    """Bytes of memory that so many processes need."""
    return (2 * size + 1) * PLACE * 4 + size * LINE * 8


def share(rank: int, size: int, gather: Callable[[Any], list[Any]]) -> Mailbox | None:
    """Share memory among the first `size` processes, if they are on one machine and can.

    Args:
        rank: number of this process; it may be beyond.
        size: number of processes that are to share it.
        gather: tells all processes what each says, in their order. All call this function alike.
    """
    path, mailbox = None, None
    if rank == 0 and size > 1 and usable():
        with suppress(OSError):
            path = _made(size)
    name = gather(path)[0]
    if name is not None and rank < size:
        with suppress(OSError):
            mailbox = Mailbox(name, rank, size)
    all_have = all(gather(mailbox is not None)[:size])
    if path is not None:
        os.unlink(path)  # it stays as long as somebody has it
    if mailbox is not None and not all_have:
        mailbox.close()
        return None
    return mailbox


def _made(size: int) -> str:
    """New memory, all of it set aside: to write beyond what is left would end the process."""
    file, path = tempfile.mkstemp(prefix="genart-", dir=FOLDER)
    try:
        os.posix_fallocate(file, 0, room(size))
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(file)
    return path
