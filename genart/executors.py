"""Who makes the results that a run lacks. The runner asks an executor and saves what it gives; it does not know which it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .plan import Step
    from .runner import Runner


class Executor(Protocol):
    """Makes the results of a recipe's stages."""

    def results(self, runner: Runner) -> Iterator[Step]:
        """Make what is not there yet.

        Args:
            runner: knows the steps, the store, who is told, and whether to stop.

        Yields:
            Each step whose result is there now, in an order in which none comes before what it reads.
        """

    def close(self) -> None:
        """Stop what still runs and let go of everything; called once, whatever happened."""


class Local:
    """This process makes everything, one stage after another; pictures flow from a stage into the next while they are made."""

    def results(self, runner: Runner) -> Iterator[Step]:
        """Make what is not there yet; see `Executor`."""
        for step in runner.wanted():
            if step.entry is None and runner.may_wait(step):
                runner.begin(step)
            else:
                runner.entry(step)
                yield step
        for step in runner.waiting():
            runner.entry(step)
            yield step

    def close(self) -> None:
        """Nothing is held."""
