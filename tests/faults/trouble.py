"""Commands in trouble: the same laws as after a fault at a system call, when what is wrong lies in the world around the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .campaign import Attack, Report, saved
from .forge import Fault, Forge, Outcome
from .scenarios import Scenario

Check = Callable[[Outcome, Path], Iterator[str]]


@dataclass(frozen=True)
class Trouble:
    """What a command meets.

    Attributes:
        name: in tables.
        plant: Python that is run in the command's process before it.
        fault: a fault at a system call.
        environment: variables.
        before: changes the folder first.
        cure: puts the folder right before the same command again.
        codes: exit codes that are right.
        says: what an error's line must hold, as a regular expression, if the exit code is not 0.
        silent: nothing need be told: there is nobody to hear it.
        check: looks at what came of it, and says what is wrong.
        more: words after the scenario's, in this run alone.
        gone: names of what the trouble itself takes away, or puts there: it is not looked at.
    """

    name: str
    plant: str = ""
    fault: Fault | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Path], None] | None = None
    cure: Callable[[Path], None] | None = None
    codes: tuple[int, ...] = (0, 5)
    says: str = ""
    silent: bool = False
    check: Check | None = None
    more: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Trial(Attack):
    """A scenario that is put to troubles."""

    def meet(self, troubles: Sequence[Trouble], report: Report) -> None:
        """Run the command in each trouble, then again without it, and check what has to hold."""
        for trouble in troubles:
            wrong = list(self.wrong(trouble, report))
            report.failures += [f"{self.scenario.name}, {trouble.name}: {text}" for text in wrong]

    def wrong(self, trouble: Trouble, report: Report) -> Iterator[str]:
        """What does not hold."""
        folder = self.fresh("case")
        if trouble.before is not None:
            trouble.before(folder)
        words = (*self.scenario.words, *trouble.more)
        outcome = self.forge.run(folder, *words, fault=trouble.fault, plant=trouble.plant, **trouble.environment)
        if trouble.fault is not None and outcome.hit is None:
            report.missed += 1
            return
        report.cases += 1
        yield from ill_told(outcome, trouble)
        yield from (text for text in self.ill_left(outcome, folder) if not text.startswith(trouble.gone or ("\0",)))
        if trouble.check is not None:
            yield from trouble.check(outcome, folder)
        if trouble.cure is not None:
            trouble.cure(folder)
        yield from self.wrong_in_the_end(folder)

    def ill_left(self, outcome: Outcome, folder: Path) -> Iterator[str]:
        """What is wrong with what a command left behind."""
        if outcome.left:
            yield f"{outcome.left} processes were left behind"
        left = saved(folder)
        yield from (f"{name} is gone" for name in self.before if name not in left)
        for name, content in left.items():
            if ".tmp" in name or ".old" in name:
                if outcome.code >= 0:
                    yield f"{name} was left behind"
            elif content not in (self.before.get(name), self.after.get(name)):
                yield f"{name} is neither the old nor the new one ({len(content)} bytes)"


def ill_told(outcome: Outcome, trouble: Trouble) -> Iterator[str]:
    """What is wrong with how a command ended, and with what it told."""
    if outcome.code not in trouble.codes:
        yield f"exit code {outcome.code}: {outcome.err[-800:]}"
    if "Traceback" in outcome.err or "Exception ignored" in outcome.err or "Fatal Python" in outcome.err:
        yield f"not told in words: {outcome.err[-1500:]}"
    if outcome.code <= 0 or trouble.silent:
        return
    lines = outcome.err.splitlines()
    at = next((number for number, line in enumerate(lines) if line.startswith("genart: ")), None)
    if at is None:
        yield f"nothing told: {outcome.err!r}"
    elif len(lines) - at > 3:
        yield f"an error of {len(lines) - at} lines: {outcome.err[-800:]}"
    elif trouble.says and not re.search(trouble.says, "\n".join(lines[at:])):
        yield f"{trouble.says!r} is not told: {outcome.err[-800:]}"


def some(items: Iterable[Any], step: int) -> list[Any]:
    """Each `step`-th for the ordinary run of the tests, and the others for the slow one."""
    return [item if number % step == 0 else pytest.param(item, marks=pytest.mark.slow) for number, item in enumerate(items)]


class Planted(Forge):
    """A forge whose commands find something planted, unless another plant takes its place.

    Args:
        forge: runs them.
        plant: Python that is run before each.
    """

    def __init__(self, forge: Forge, plant: str) -> None:
        self._forge, self._plant = forge, plant

    def run(self, folder: Path, *words: object, plant: str = "", **more: Any) -> Outcome:
        """Run a command."""
        return self._forge.run(folder, *words, plant=plant or self._plant, **more)


@dataclass(frozen=True)
class Part:
    """Troubles of one kind.

    Attributes:
        name: in tables.
        scenario: the command.
        troubles: called with the trial, which knows what an undisturbed run does.
        step: in the ordinary run, each so-manieth is met.
        plant: Python that is run before the command where there is no trouble.
    """

    name: str
    scenario: Scenario
    troubles: Callable[[Trial], Sequence[Trouble]]
    step: int = 1
    plant: str = ""

    def __str__(self) -> str:
        """A name for tests."""
        return self.name.replace(" ", "-")

    def tried(self, forge: Forge, work: Path, *, every: bool) -> Report:
        """Put the command to the troubles: to every one, or to a sample."""
        trial, report = self.trial(Planted(forge, self.plant), work), Report()
        trial.meet(list(self.troubles(trial))[:: 1 if every else self.step], report)
        return report

    def trial(self, forge: Forge, work: Path) -> Trial:
        """What is put to the troubles."""
        return Trial(self.scenario, forge, work)
