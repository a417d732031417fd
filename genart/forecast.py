"""What a run would take on many workers, before it is paid for.

The scheduler of `genart run --on` decides as it does in a run (`genart.spread`); the workers, the store and the clock are simulated. What a
stage takes is what it took before, from the store.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from . import parts
from .artifacts import StoredImages, Video
from .events import Events
from .plan import Planner, Step
from .run import Stop
from .runner import Runner
from .spread import Done, Lost, Spread, Told
from .stages import Needs
from .store import Entry, Store
from .tasks import Part, Task

#: Parameters that say how many pictures a stage gives, and how much a training does.
COUNTS, AMOUNTS = ("count", "frames"), ("kimg",)


@dataclass(frozen=True)
class Costs:
    """What a run on workers takes beside the work of its stages, in seconds; measured with a Ray and a store of one machine.

    Attributes:
        start_sec: until a worker that was asked for is there.
        load_sec: more for its first task: libraries and networks.
        call_sec: from the driver to a worker or back, while neither is busy with it.
        driver_sec: the driver, with a task.
        part_sec: a worker, with keeping a part.
        join_sec: a worker, with a part that it joins.
        join_bytes_per_sec: what a worker joins: it verifies, copies and hashes them.
        store_sec: the store, with a result or part, while no other is at it.
        store_bytes_per_sec: what the store takes from all workers together.
    """

    start_sec: float = 5.0
    load_sec: float = 4.0
    call_sec: float = 0.001
    driver_sec: float = 0.0009
    part_sec: float = 0.0035
    join_sec: float = 0.002
    join_bytes_per_sec: float = 400e6
    store_sec: float = 0.0001
    store_bytes_per_sec: float = 1e9


@dataclass(frozen=True)
class Work:
    """What a stage has to do.

    Attributes:
        seconds: that one worker takes for all of it.
        pictures: that it gives; None: they cannot be made apart, or are none.
        batch: pictures that it makes at once.
        bytes: size of its result.
        early: it says at once what its pictures have in common (`genart.run.Run.apart`), so that nobody waits for the first.
    """

    seconds: float
    pictures: int | None = None
    batch: int = 1
    bytes: int = 0
    early: bool = False

    @property
    def each(self) -> float:
        """Seconds of a picture."""
        return self.seconds / max(1, self.pictures or 1)


@dataclass
class Outcome:
    """What a simulated run took.

    Attributes:
        seconds: from its beginning to its end.
        work_sec: that workers spent in stages.
        driver_sec: that the driver was busy.
        joins: when parts were joined: beginnings and ends.
        store_sec: that the store was busy.
        tasks: that were handed out.
        stages: when each stage began and ended.
        made: pictures of each stage that were made in parts, in the order in which they came.
    """

    seconds: float = 0.0
    work_sec: float = 0.0
    driver_sec: float = 0.0
    joins: list[tuple[float, float]] = field(default_factory=list)
    store_sec: float = 0.0
    tasks: int = 0
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    made: dict[str, list[range]] = field(default_factory=dict)


def made_once(outcome: Outcome, work: Mapping[str, Work]) -> bool:
    """True if each picture of each stage that was made in parts was made once."""
    for name, made in outcome.made.items():
        spans = sorted(made, key=lambda span: span.start)
        ends = [span.stop for span in spans]
        if [span.start for span in spans] != [0, *ends[:-1]] or ends[-1] != work[name].pictures:
            return False
    return True


#: What happens: a worker has made its task; the store has what it made, and the driver hears of it; a worker comes; one tells something.
MADE, HEARD, COMES, TELLS = range(4)


class Crew:
    """A pool of simulated workers, and the shelf on which their parts lie.

    Args:
        work: of the stages, by id; one that is missing takes no time.
        size: how many workers.
        costs: beside the work.
        scatter: standard deviation of the logarithm of what a part takes, around the same mean.
        seed: of the scatter.
    """

    def __init__(self, work: Mapping[str, Work], size: int, costs: Costs, *, scatter: float = 0.0, seed: int = 0) -> None:
        self.work, self.size, self.costs, self.scatter = work, size, costs, scatter
        self.now = 0.0
        self.outcome = Outcome()
        self._random = Random(seed)  # noqa: S311 - scatters simulated times
        self._coming: list[tuple[float, int, int, Task | None, dict[str, Any]]] = []  # when, in which order, what
        self._number = self._asked = self._idle = self._fresh = 0
        self._store_until = 0.0

    # a Pool

    def capacity(self, needs: Needs) -> int:
        """All workers: each takes a task of any kind."""
        return self.size

    def want(self, demand: Mapping[Needs, int]) -> None:
        """Let as many workers come as there are tasks."""
        for _ in range(min(self.size, self._asked - self._idle + sum(demand.values())) - self._asked):
            self._asked += 1
            self._expect(self.now + self.costs.start_sec, COMES)

    def has_room(self, needs: Needs) -> bool:
        """True if a worker waits."""
        return self._idle > 0

    def start(self, task: Task, needs: Needs) -> None:
        """Hand a task to a worker."""
        self._idle -= 1
        self.outcome.tasks += 1
        self.outcome.stages.setdefault(task.stage, (self.now, math.inf))
        self._busy(self.costs.driver_sec / 2)
        seconds, told = self._makes(task)
        self.outcome.work_sec += 0.0 if task.join else seconds
        begins = self.now + self.costs.call_sec
        if self._fresh:
            self._fresh -= 1
            begins += self.costs.load_sec
        if "part" in told:
            seconds += self.costs.part_sec
            if task.stop is None and self.work[task.stage].early:
                common = {"event": "apart", "choices": {}} | {name: told["part"][name] for name in ("count", "batch")}
                self._expect(begins + self.costs.call_sec, TELLS, task, common)
        self._expect(begins + seconds, MADE, task, told)

    def wait(self) -> Iterable[Done | Lost | Told]:
        """Let the clock go on to what comes next, and give all that has come by then."""
        heard = False
        while self._coming and (not heard or self._coming[0][0] <= self.now):
            at, _, what, task, told = heapq.heappop(self._coming)
            if what == MADE and task is not None:
                self._expect(self._stored(at, task, told) + self.costs.call_sec, HEARD, task, told)
                continue
            self.now, heard = max(self.now, at), True
            if what == TELLS and task is not None:
                yield Told(task, told)
                continue
            self._idle += 1
            if task is None:
                self._fresh += 1
            else:
                self._busy(self.costs.driver_sec / 2)
                yield Done(task, told)

    def halt(self, number: int) -> None:
        """Nothing asks for it."""

    def close(self) -> None:
        """Nothing is held."""

    # a Shelf

    def found(self, runner: Runner, step: Step) -> list[Part]:
        """None is there."""
        return []

    def forget(self, runner: Runner, step: Step) -> None:
        """Nothing lies there."""

    # inside

    def finished(self, step: Step) -> None:
        """Note that the result of a step is there."""
        if step.node.id in self.outcome.stages:
            self.outcome.stages[step.node.id] = (self.outcome.stages[step.node.id][0], self.now)

    def _expect(self, at: float, what: int, task: Task | None = None, told: dict[str, Any] | None = None) -> None:
        self._number += 1
        heapq.heappush(self._coming, (at, self._number, what, task, told or {}))

    def _busy(self, seconds: float) -> None:
        self.now += seconds
        self.outcome.driver_sec += seconds

    def _stored(self, at: float, task: Task, told: dict[str, Any]) -> float:
        """When the store has taken what a task made: one result after another."""
        work = self.work.get(task.stage, Work(0.0))
        share = (told["part"]["stop"] - told["part"]["start"]) / max(1, work.pictures or 1) if "part" in told else 1.0
        seconds = self.costs.store_sec + share * work.bytes / self.costs.store_bytes_per_sec
        self._store_until = max(self._store_until, at) + seconds
        self.outcome.store_sec += seconds
        return self._store_until

    def _makes(self, task: Task) -> tuple[float, dict[str, Any]]:
        """What a worker makes of a task: the seconds, and what it tells."""
        work = self.work.get(task.stage, Work(0.0))
        if task.join:
            return self._joins(task.stage, work), {"made": task.stage, "cached": False}
        factor = math.exp(self._random.gauss(-(self.scatter**2) / 2, self.scatter)) if self.scatter else 1.0
        if not task.part:
            return work.seconds, {"made": task.stage, "cached": False}
        if work.pictures is None:
            return 0.0, {"whole": True}
        start, stop = min(task.start, work.pictures), task.stop
        if stop is None:  # it ends with the first batch after its time
            most = max(1, work.pictures)
            batches = math.floor(task.seconds / (work.batch * work.each * factor)) + 1 if work.each * factor > task.seconds / most else most
            stop = start + (1 if work.early else batches) * work.batch
        stop = min(stop, work.pictures)
        seconds = (stop - start) * work.each * factor
        part = Part(
            key=f"{task.stage} {start} {stop}",
            start=start,
            stop=stop,
            count=work.pictures,
            fps=None,
            batch=work.batch,
            ended=stop == work.pictures,
            choices={},
            warnings=[],
            skipped=[],
            seconds=seconds,
        )
        self.outcome.made.setdefault(task.stage, []).append(range(start, stop))
        return seconds, {"part": vars(part)}

    def _joins(self, stage: str, work: Work) -> float:
        """Seconds of joining all parts of a stage."""
        seconds = len(self.outcome.made[stage]) * self.costs.join_sec + work.bytes / self.costs.join_bytes_per_sec
        self.outcome.joins.append((self.now, self.now + seconds))
        return seconds


def entry_of(step: Step) -> Entry:
    """What stands for the result of a step that was not made."""
    outputs = {name: {"kind": kind, "digest": step.ancestry} for name, kind in step.node.stage.gives.items()}
    return Entry(Path(os.devnull), {"key": step.ancestry, "outputs": outputs, "seconds": 0.0})


class Blind(Planner):
    """A planner that finds nothing: what would be made is not there yet."""

    def look(self, step: Step, steps: dict[str, Step]) -> None:
        """Find nothing."""


class Rehearsal(Runner):
    """A runner that makes and keeps nothing."""

    def is_fine(self, step: Step) -> bool:
        """What is there is taken to be whole."""
        return True

    def note_cached(self, step: Step) -> None:
        """Nobody is told."""

    def announce(self, step: Step, start: int, *, resumed: bool = False) -> None:
        """Nobody is told."""

    def expected(self, step: Step, key: str) -> Entry:
        """It is there."""
        return entry_of(step)

    def adopt(self, step: Step, key: str, *, cached: bool) -> None:
        """It is there."""
        step.entry, step.forced = self.expected(step, key), False


def rehearse(planner: Planner, steps: Mapping[str, Step], crew: Crew) -> Outcome:
    """Let the scheduler run the steps that are not there with simulated workers.

    Args:
        planner: of the recipe; its store is not touched.
        steps: of the recipe, by id; they are not changed.
        crew: the workers; each does this once.
    """
    copies = {name: replace(step, changes=[]) for name, step in steps.items()}
    blind = Blind(planner.recipe, planner.plugins, planner.store, planner.device)
    runner = Rehearsal(blind, copies, Path(os.devnull), Events(), Stop())
    for step in Spread(crew, shelf=crew).results(runner):
        crew.finished(step)
    crew.outcome.seconds = crew.now
    return crew.outcome


# what stages took before


@dataclass(frozen=True)
class Estimate:
    """What a stage would take.

    Attributes:
        work: the work; None if it never ran and has no budget.
        basis: what that is known from, in a few words.
    """

    work: Work | None
    basis: str


class Past:
    """Results of earlier runs, read once.

    Args:
        store: where they are.
    """

    def __init__(self, store: Store) -> None:
        self._by_stage: dict[str, list[Entry]] = {}
        self._by_key: dict[str, Entry] = {}
        for entry in store.entries():
            if not {"seconds", "parts"} <= entry.manifest.keys():
                continue
            self._by_stage.setdefault(entry.manifest["stage"], []).append(entry)
            self._by_key[entry.key] = entry

    def last(self, step: Step) -> Entry | None:
        """The newest result of a step's stage, preferably with the same parameters."""
        params = step.parts["params"]
        found = self._by_stage.get(step.node.stage.name, [])
        return max(found, key=lambda entry: (entry.manifest["parts"].get("params") == params, entry.used), default=None)

    def estimates(self, steps: Mapping[str, Step]) -> dict[str, Estimate]:
        """What each step that is not there would take, by id; in order, since what one gives the next one reads."""
        counts: dict[str, int | None] = {}
        found: dict[str, Estimate] = {}
        for name, step in steps.items():
            if step.entry is not None:
                counts[name] = count_of(step.entry)
                continue
            given = [counts.get(source.node) for source in step.node.sources if source.side is None and source.output == "output"]
            found[name], counts[name] = self._estimate(step, _sum(given))
        return found

    def _estimate(self, step: Step, given: int | None) -> tuple[Estimate, int | None]:
        entry, budget = self.last(step), getattr(step.node.params, "budget", None)
        if entry is None:
            told = Estimate(None, "never ran") if budget is None else Estimate(Work(budget), "its budget")
            return told, given if step.node.stage.takes == "images" and step.node.stage.streams else None
        count = count_of(entry)
        ratio, basis = self._ratio(step, entry, given)
        if count is not None:
            count = round(count * ratio)
        apart = count if parts.may_split(replace(step, forced=False)) else None
        seconds = entry.manifest["seconds"] * ratio
        if budget is not None and entry.manifest["parts"].get("params") != step.parts["params"]:
            seconds, basis = budget, "its budget"
        batch = entry.manifest.get("batch")
        if step.node.stage.pieces is not None:
            batch = step.node.stage.pieces().size
            apart = None if apart is None or apart <= batch else apart
        return Estimate(Work(seconds, apart, batch or 1, round(entry.bytes * ratio), early=batch is not None), basis), count

    def _ratio(self, step: Step, entry: Entry, given: int | None) -> tuple[float, str]:
        """How much more there is to do than there was, and what that is known from."""
        before, now = entry.manifest["parts"].get("params", {}), step.parts["params"]
        basis = "the same parameters" if before == now else "other parameters"
        ratio = 1.0
        for name in (*COUNTS, *AMOUNTS):
            old, new = before.get(name), now.get(name)
            if type(old) in (int, float) and type(new) in (int, float) and old > 0 and old != new:
                ratio, basis = ratio * new / old, f"{name} = {old:g}"
        read = self._read(entry)
        if step.node.stage.takes == "images" and read and given is not None and given != read:
            ratio, basis = ratio * given / read, f"{read} pictures"
        return ratio, basis

    def _read(self, entry: Entry) -> int | None:
        """How many pictures a result was made of; as many as it has itself, if that is not known any more."""
        keys = [source["key"] for source in entry.manifest.get("inputs", ()) if "." not in source["from"]]
        found = [count_of(self._by_key[key]) if key in self._by_key else None for key in keys]
        return _sum(found) or count_of(entry)


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum; None if there are none, or one is not known."""
    known = list(counts)
    return sum(count for count in known if count is not None) if known and None not in known else None


def count_of(entry: Entry) -> int | None:
    """How many pictures a result has; None if it has none, or cannot be read."""
    if entry.manifest["outputs"]["output"]["kind"] == "model":
        return None
    try:
        found = entry.artifact("output")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found.count if isinstance(found, StoredImages | Video) else None


@dataclass(frozen=True)
class Forecast:
    """What a run on so many workers would take.

    Attributes:
        workers: how many.
        seconds: from the beginning to the end.
        price: of a worker's hour, or None.
        outcome: of the simulation.
        unknown: ids of stages that never ran and have no budget: nothing of them is in the sum.
    """

    workers: int
    seconds: float
    price: float | None
    outcome: Outcome
    unknown: list[str]

    @property
    def worker_hours(self) -> float:
        """Hours that are paid: all workers, until the end."""
        return self.workers * self.seconds / 3600

    @property
    def cost(self) -> float | None:
        """What they cost."""
        return None if self.price is None else self.price * self.worker_hours


def forecast(
    planner: Planner,
    steps: Mapping[str, Step],
    estimates: Mapping[str, Estimate],
    workers: int,
    price: float | None = None,
    costs: Costs = Costs(),
) -> Forecast:
    """Say what a run on workers would take.

    Args:
        planner: of the recipe.
        steps: of the recipe, by id.
        estimates: of `Past.estimates`.
        workers: how many.
        price: of a worker's hour.
        costs: beside the work of the stages.
    """
    work = {name: estimate.work for name, estimate in estimates.items() if estimate.work is not None}
    outcome = rehearse(planner, steps, Crew(work, workers, costs))
    return Forecast(workers, outcome.seconds, price, outcome, [name for name, estimate in estimates.items() if estimate.work is None])


def told(found: Forecast) -> dict[str, Any]:
    """A forecast as plain values."""
    stages = {name: {"begins_sec": round(begin, 3), "ends_sec": round(end, 3)} for name, (begin, end) in found.outcome.stages.items()}
    return {
        "workers": found.workers,
        "seconds": round(found.seconds, 3),
        "worker_hours": round(found.worker_hours, 6),
        "price": found.price,
        "cost": None if found.cost is None else round(found.cost, 6),
        "tasks": found.outcome.tasks,
        "unknown": found.unknown,
        "stages": stages,
    }
