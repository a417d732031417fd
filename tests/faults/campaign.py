"""Attacks on scenarios: a fault at each of many system calls, and what has to hold after each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genart.store import Store

from .forge import BY_HANDLE, BY_PATH, READING, Call, Fault, Forge, Outcome
from .scenarios import Scenario

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EMFILE", "EDQUOT")
#: Exit codes after an error of the system: it did not matter, the input could not be read, or a resource is missing.
DOCUMENTED = (0, 3, 5)


@dataclass
class Report:
    """What came of an attack.

    Attributes:
        cases: faults that hit.
        missed: faults after whose place the command had ended, or that hit the program's own files; they count for nothing.
        failures: what was wrong, by fault.
    """

    cases: int = 0
    missed: int = 0
    failures: list[str] = field(default_factory=list)


def saved(folder: Path) -> dict[str, bytes]:
    """What a user sees: every file but the store, the recipe and `run.json`, which has times."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    seen = {name: path for name, path in found.items() if name.parts[0] not in ("store", "r.toml") and name.name != "run.json"}
    return {str(name): path.read_bytes() for name, path in seen.items()}


class Attack:
    """A scenario, what an undisturbed run of it leaves, and where it may be hit.

    Args:
        scenario: the command.
        forge: runs it.
        work: a folder for everything.
        reading: hit what only reads, too.
    """

    def __init__(self, scenario: Scenario, forge: Forge, work: Path, *, reading: bool = False) -> None:
        self.scenario, self.forge, self.work = scenario, forge, work
        self.watch = watch = (*BY_PATH, *BY_HANDLE, *(READING if reading else ()))
        self.initial = work / "initial"
        scenario.prepare(forge, self.initial)
        self.before = saved(self.initial)
        folder = self.fresh("undisturbed")
        done = forge.run(folder, *scenario.words, watch=watch)
        assert done.code == 0, done.err
        self.calls = done.calls
        self.finish(folder)
        self.after = saved(folder)
        again = self.fresh("again")
        assert forge.run(again, *scenario.words).code == 0
        self.finish(again)
        assert saved(again) == self.after, "an undisturbed run gives other bytes each time"

    def fresh(self, name: str) -> Path:
        """A copy of the folder as the command finds it."""
        return self.copy(self.initial, name)

    def copy(self, source: Path, name: str) -> Path:
        """A copy of a folder."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, symlinks=True)
        return folder

    def finish(self, folder: Path) -> None:
        """Run the commands that follow."""
        for words in self.scenario.after:
            done = self.forge.run(folder, *words)
            assert done.code == 0, done.err

    def points(
        self, kinds: Sequence[str], *, step: int = 1, offset: int = 0, lasting: bool = False, calls: Sequence[Call] | None = None
    ) -> Iterator[Fault]:
        """A fault of each kind at each `step`-th place, the kinds in turn where places are left out."""
        for number, call in enumerate(self.calls if calls is None else calls):
            for at, kind in enumerate(kinds):
                if (number + at + offset) % step == 0:
                    yield Fault(call, kind, lasting)

    def sample(self, count: int, seed: int) -> list[Fault]:
        """So many faults of all kinds, spread over the whole command."""
        kinds = ("KILL", *ERRORS)
        every = [
            Fault(call, kind, lasting)
            for call in self.calls
            for kind in kinds
            for lasting in (False, True)
            if (kind, lasting) != ("KILL", True)
        ]
        step = max(1.0, len(every) / count)
        start = random.Random(seed).random() * step
        return [every[int(start + number * step)] for number in range(min(count, len(every))) if int(start + number * step) < len(every)]

    def suffer(self, faults: Sequence[Fault], report: Report) -> None:
        """Inject each fault into a run of its own, then run the command again, and check what has to hold."""
        for fault in faults:
            self._hit(fault, self.fresh("case"), report)

    def suffer_again(self, kills: Sequence[Call], kinds: Sequence[str], each: int, report: Report) -> None:
        """Kill a run at a call; then inject faults into the run that follows, each into one of its own, at places spread over it.

        Args:
            kills: where the first run is killed, one for each case.
            kinds: of the faults that follow, in turn.
            each: how many follow each kill.
            report: takes the results of those that follow.
        """
        for number, call in enumerate(kills):
            killed = self.fresh("killed")
            if self.forge.run(killed, *self.scenario.words, fault=Fault(call, "KILL")).hit is None:
                report.missed += 1
                continue
            recovery = self.forge.run(self.copy(killed, "recovery"), *self.scenario.words, watch=self.watch).calls
            step = max(1, len(recovery) // each)
            places = recovery[number % step :: step][:each]
            for at, place in enumerate(places):
                fault = Fault(place, kinds[(number * each + at) % len(kinds)])
                self._hit(fault, self.copy(killed, "case"), report, after=f"KILL@{call.name}:{call.number}, ")

    def _hit(self, fault: Fault, folder: Path, report: Report, after: str = "") -> None:
        outcome = self.forge.run(folder, *self.scenario.words, fault=fault)
        if outcome.hit is None or not outcome.aimed:
            report.missed += 1
            return
        report.cases += 1
        wrong = [*self.wrong_after_fault(outcome, fault, folder, first=not after), *self.wrong_in_the_end(folder)]
        report.failures += [f"{self.scenario.name}, {after}{fault} ({outcome.hit}): {text}" for text in wrong]

    def wrong_after_fault(self, outcome: Outcome, fault: Fault, folder: Path, *, first: bool = True) -> Iterator[str]:
        """What does not hold right after a fault; only after the first is all that is left behind its own."""
        if fault.kind == "KILL":
            if outcome.code != -9:
                yield f"killed, but it ended with {outcome.code}"
        else:
            lines = outcome.err.splitlines()
            unread = outcome.code == 2 and "r.toml" in str(outcome.hit)
            unloaded = fault.lasting and outcome.code == 4 and "cannot be used: " in outcome.err  # the plugin's file was hit too
            if outcome.code not in DOCUMENTED and not unread and not unloaded:
                yield f"exit code {outcome.code}: {outcome.err[-800:]}"
            silent = fault.lasting and fault.call.name == "write"  # what is told is written, too
            if "Traceback" in outcome.err or "Exception ignored" in outcome.err:
                yield f"not told in words: {outcome.err[-1500:]}"
            elif outcome.code and not silent and not any(line.startswith(("genart: ", "error")) for line in lines):
                yield f"nothing told: {outcome.err!r}"
        left = saved(folder)
        if fault.kind != "KILL" and not fault.lasting:
            yield from (f"{name} is gone" for name in self.before if name not in left)
        for name, content in left.items():
            if ".tmp" in name or ".old" in name:
                if outcome.code >= 0 and not fault.lasting and first:  # else it may be the removal that fails
                    yield f"{name} was left behind"
            elif content not in (self.before.get(name), self.after.get(name)):
                yield f"{name} is neither the old nor the new one ({len(content)} bytes)"

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        """What does not hold after the same command again."""
        done = self.forge.run(folder, *self.scenario.words)
        if done.code:
            yield f"the same command again ended with {done.code}: {done.err[-800:]}"
            return
        for words in self.scenario.after:
            done = self.forge.run(folder, *words)
            if done.code:
                yield f"{words[0]} after it ended with {done.code}: {done.err[-800:]}"
                return
        left = saved(folder)
        if left != self.after:
            names = sorted(name for name in {*left, *self.after} if left.get(name) != self.after.get(name))
            yield f"other bytes in {', '.join(names)}"
        store = folder / "store" / "genart"
        temporary = [path for path in store.rglob("*") if path.name.endswith(".tmp") or (path.parent.name in ("tmp", "scratch", "work"))]
        if temporary:
            yield f"left in the store: {', '.join(str(path.relative_to(store)) for path in temporary)}"
        damaged = [f"{entry.key}: {', '.join(files)}" for entry in Store(store).entries() if (files := entry.damaged())]
        if damaged or Store(store).sweep_wrecks():
            yield f"damaged in the store: {damaged or 'a wreck'}"
