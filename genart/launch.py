"""How this process was launched: alone, or as one of several that train together, by torchrun or what sets the same variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError

#: What torchrun and its kin tell each process.
RANK, SIZE, LOCAL_RANK, HOST, PORT = "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"
ATTEMPT = "TORCHELASTIC_RESTART_COUNT"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Launch:
    """One of several processes that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine, which is also that of its GPU.
        host: where they meet.
        attempt: how often they were started again.
    """

    rank: int
    size: int
    local_rank: int = 0
    host: str = "localhost"
    attempt: int = 0

    @property
    def on_loopback(self) -> bool:
        """True if all are on this machine."""
        return self.host in LOOPBACK


def launched(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """How this process was launched; None where it is alone.

    Raises:
        UsageError: if the environment says something that cannot be.
    """
    if not all(environ.get(name) for name in (RANK, SIZE, HOST, PORT)):
        return None
    try:
        rank, size, local_rank, attempt = (int(environ.get(name, "0")) for name in (RANK, SIZE, LOCAL_RANK, ATTEMPT))
    except ValueError:
        rank = size = local_rank = attempt = -1
    if not 0 <= rank < size or local_rank < 0:
        told = ", ".join(f"{name}={environ.get(name, '')}" for name in (RANK, SIZE, LOCAL_RANK))
        raise UsageError(f"the environment says {told}, which cannot be", "start the processes with torchrun, or unset these variables")
    return Launch(rank, size, local_rank, environ[HOST], attempt) if size > 1 else None


def check_launch(launch: Launch | None, on: str | None, data_parallel: int | None) -> None:
    """See that a run is launched in one way.

    Raises:
        UsageError: if it is in two, or in none that can do what is wanted.
    """
    if data_parallel is not None and on is None:
        raise UsageError(f"--data-parallel {data_parallel} needs --on", "without Ray, start as many processes with torchrun")
    if launch is not None and on is not None:
        raise UsageError(f"--on {on} starts its own workers, and this is one of {launch.size} processes of torchrun", "use one of both")
