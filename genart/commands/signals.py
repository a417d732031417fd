"""Signals: the first one stops a command at the next safe place, the second one stops it now."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genart.errors import Interrupted

if TYPE_CHECKING:
    from genart.run import Stop


@contextmanager
def heeding(stop: Stop) -> Iterator[None]:
    """First signal: stop at the next safe place. Second: stop now."""

    def handle(number: int, frame: Any) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, handle) for number in heeded()}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(stop.signal or signal.SIGINT) from None
    finally:
        if stop.signal is not None:
            end_in_peace()
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


def heeded() -> list[signal.Signals]:
    """Signals that ask a run to stop, but for those that whoever started it wants ignored."""
    wanted = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    return [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]


def end_in_peace() -> None:
    """Heed no further signals: the process is about to end, and only has to say why."""
    for number in heeded():
        signal.signal(number, signal.SIG_IGN)
