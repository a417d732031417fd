"""A process that trains together with others: the first runs the recipe, and the others wait for its trainings and take part in them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .errors import GenartError, UsageError
from .launch import Launch
from .runner import Runner
from .tasks import Task
from .worker import Differs, check_versions, step_of, versions

if TYPE_CHECKING:
    from .nn.team import Team


@contextmanager
def joined(launch: Launch, device: str, store: Any = None) -> Iterator[Team]:
    """Meet the other processes, and part from them in the end.

    Args:
        launch: which one this is.
        device: "cpu" or "cuda".
        store: of torch.distributed, in which they find each other; torchrun's, unless it is given.

    Raises:
        UsageError: if their versions differ, or the device is one that processes cannot share.
        LostProcessError: if they do not meet.
    """
    if device == "mps":
        raise UsageError("processes cannot train together on MPS", "give them --device cpu")
    from .nn.team import Team, lost_at_least_one

    with lost_at_least_one():
        team = Team(launch, device, store)
    try:
        first, *others = team.gather({"host": socket.gethostname(), "versions": versions()})
        for rank, about in enumerate(others, start=1):
            check_versions(f"process {rank} on {about['host']}", about["versions"], first["versions"], "process 0:")
        yield team
    finally:
        team.close()


def follow(runner: Runner, team: Team) -> None:
    """Take part in the trainings of the first process, until it has done the recipe.

    Args:
        runner: of the same recipe and the same store.
        team: the processes.

    Raises:
        LostProcessError: if the first process is gone.
    """
    from .nn.team import FollowedError

    runner.team = team
    while (order := team.hear()) is not None:
        problem = step = None
        try:
            step = step_of(runner, Task(**order))
        except Differs:
            problem = f"on {socket.gethostname()} '{order['stage']}' would be something else"
        except GenartError as error:
            problem = f"on {socket.gethostname()}: {error.message}"
        if any(team.gather(problem)) or step is None:
            continue
        with runner.store.scratch() as work:
            run = runner.new_run(step, work=work)
            try:
                with suppress(FollowedError):
                    step.node.stage(runner.input(step, 0), step.node.params, run)
            finally:
                run.close()
                runner.store.release()


@contextmanager
def deaf() -> Iterator[None]:
    """Leave signals to the first process, which saves before it lets the others go; torchrun sends them to all."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
