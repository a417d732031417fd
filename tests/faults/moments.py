"""Moments at which a command is killed: after so much processor time, when it tells its n-th event, or at a system call.

The first two need no other program: the command is told beforehand, and the system, or it itself, sends the signal.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .forge import Call, Fault

#: A checkpoint at each so-manieth step, and every picture of a stream marked at once: a kill at any moment finds something to go on from.
OFTEN = "from tests.faults import moments; moments.checkpoint_every({every})"


@dataclass(frozen=True)
class Rehearsal:
    """What an undisturbed command took: processor time, events told, system calls below its folder."""

    cpu_sec: float
    events: int
    calls: Sequence[Call]


@dataclass(frozen=True)
class Moment:
    """When a command is killed.

    Attributes:
        by: "cpu", "event" or "call".
        share: of the undisturbed command's processor time, events or system calls, 0 to 1.
    """

    by: str
    share: float
    #: as `Fault` has them
    kind = "KILL"
    lasting = False

    def __str__(self) -> str:
        """A name for tests."""
        return f"KILL@{self.by}:{self.share:.4f}"

    def plant(self, rehearsal: Rehearsal) -> str:
        """Python that is run before the command, to kill it at this moment."""
        if self.by == "cpu":
            return f"from tests.faults import moments; moments.kill_after_cpu_sec({self.share * rehearsal.cpu_sec!r})"
        if self.by == "event":
            return f"from tests.faults import moments; moments.kill_at_event({int(self.share * rehearsal.events)})"
        return ""

    def fault(self, rehearsal: Rehearsal) -> Fault | None:
        """The same for strace, where it is a system call."""
        return Fault(rehearsal.calls[int(self.share * len(rehearsal.calls))], "KILL") if self.by == "call" else None


def drawn(rng: random.Random, upto: float = 1.0) -> Moment:
    """A moment of any kind, within the first `upto` of a command."""
    return Moment(rng.choice(("cpu", "cpu", "event", "call")), rng.random() * upto)


# in the child


class _SigEvent(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("padding", ctypes.c_char * 48)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_sec", "interval_nsec", "sec", "nsec")]


CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID = 1, 2


def kill_after(seconds: float, clock: int) -> None:
    """Let the system kill this process after so many seconds of a clock: whatever it does then, without a word of Python in between."""
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    event = _SigEvent(signo=signal.SIGKILL)
    spec = _TimerSpec(sec=int(seconds), nsec=max(1, int(seconds % 1 * 1e9)))
    failed = libc.timer_create(clock, ctypes.byref(event), ctypes.byref(timer)) or libc.timer_settime(timer, 0, ctypes.byref(spec), None)
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def kill_after_cpu_sec(seconds: float) -> None:
    """Kill this process after so much more of its own processor time."""
    kill_after(seconds, CLOCK_PROCESS_CPUTIME_ID)


def kill_after_sec(seconds: float) -> None:
    """Kill this process after so many seconds."""
    kill_after(seconds, CLOCK_MONOTONIC)


def kill_at_event(number: int) -> None:
    """Kill this process right after it has told event `number`, counted from 0."""
    from genart.events import Events

    emit, told = Events.emit, []

    def counted(self: Events, event: str, **fields: Any) -> None:
        emit(self, event, **fields)
        told.append(event)
        if len(told) > number:
            os.kill(os.getpid(), signal.SIGKILL)

    Events.emit = counted  # type: ignore[method-assign]


def checkpoint_every(steps: int) -> None:
    """Save a checkpoint at each so-manieth step, and mark streamed pictures after each."""
    import genart.run
    import genart.runner

    asked = []

    def due(self: genart.run.Checkpoints) -> bool:
        asked.append(1)
        return len(asked) % steps == 0

    genart.run.Checkpoints.due = due  # type: ignore[method-assign]
    genart.runner.SYNC_EVERY = 0.0
