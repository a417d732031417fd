"""Spreads a run over workers: independent stages side by side, and the pictures of one stage in parts.

Everything here is decided in the driver, from what is in the store and from what comes back; the workers are a `Pool`, whatever carries
their calls. A result that is there is never asked for again, so what a lost worker or a lost driver costs is the tasks that it had in hand.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from . import parts
from .errors import ChangedError, Interrupted, ResourceError, UsageError
from .plan import Step, differences
from .run import Progress
from .runner import Runner
from .stages import Needs
from .tasks import Part, Task, error_from_json

#: Seconds that the first part of a stage takes, from which the size of the others follows, and what these are to take.
FIRST_SEC, PART_SEC = 0.2, 5.0
#: Parts of one result, beyond which they are larger: the driver remembers each of them.
MOST_PARTS = 10_000
#: Parts of one result that come back in a second, beyond which they are larger: the driver takes a millisecond for each.
MOST_PER_SEC = 200.0
#: A part holds at most this share of what is left for each worker, so that none is left with much work at the end.
SHARE = 0.5
#: Workers may be lost under a task so often, for one reason, before the task is taken for it; where their machines went, it is not soon.
MOST_LOSSES = 10
#: The same of a task that is a stage's whole work, where no more than the process went, once it has cost so many seconds: it may take hours
#: each time.
MOST_LOSSES_OF_WHOLE, PATIENCE_SEC = 3, 60.0
#: The same where memory was the reason.
MOST_OUT_OF_MEMORY = 2
#: Parts of a result may be gone so often when they are to be joined.
MOST_GONE = 3


@dataclass(frozen=True)
class Done:
    """What a worker gave for a task: see `Worker.make`."""

    task: Task
    told: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """A worker is gone, and with it a task.

    Attributes:
        task: what it had in hand.
        why: in a few words.
        memory: it had too little memory.
        machine: its machine is gone, and whatever else ran there.
        seconds: how long it had been at the task.
    """

    task: Task
    why: str
    memory: bool = False
    machine: bool = False
    seconds: float = field(default=0.0, compare=False)

    def most(self, seconds: float) -> int:
        """How often that may happen to the task, when it has cost so many seconds in all."""
        if self.memory:
            return MOST_OUT_OF_MEMORY
        return MOST_LOSSES if self.machine or self.task.part or seconds < PATIENCE_SEC else MOST_LOSSES_OF_WHOLE

    @property
    def hint(self) -> str:
        """What to do when it happens again and again."""
        if self.machine:
            return "see the logs of Ray"
        smaller = "use a smaller resolution, width or batch, or workers with more memory"
        return smaller if self.memory else f"the system may have ended them for want of memory: {smaller}; else see the logs of Ray"


@dataclass(frozen=True)
class Told:
    """An event of a worker that is at a task."""

    task: Task
    record: dict[str, Any]


class Pool(Protocol):
    """Workers."""

    def capacity(self, needs: Needs) -> int:
        """Tasks of a kind that fit at once, roughly."""

    def want(self, demand: Mapping[Needs, int]) -> None:
        """Say how many tasks of each kind could begin now."""

    def has_room(self, needs: Needs) -> bool:
        """True if a task of a kind would begin at once."""

    def start(self, task: Task, needs: Needs) -> None:
        """Hand a task to a worker."""

    def wait(self) -> Iterable[Done | Lost | Told]:
        """What happened; waits for something, for a moment."""

    def halt(self, number: int) -> None:
        """Ask all workers to stop at the next safe place."""

    def close(self) -> None:
        """Let the workers go, at once."""


class Shelf(Protocol):
    """Where the parts of a result lie until they are joined: the store (`genart.parts`)."""

    def found(self, runner: Runner, step: Step) -> list[Part]:
        """Parts that are there, in order."""

    def forget(self, runner: Runner, step: Step) -> None:
        """Take all parts of a result away."""


class Waiting:
    """Steps that were not begun: in order, each as soon as nothing that it reads is still to be made.

    Args:
        steps: in order.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = {step.node.id: step for step in steps}
        self._missing = {name: {s.node for s in step.node.sources} & self._steps.keys() for name, step in self._steps.items()}
        self._readers: dict[str, list[str]] = {}
        for name, missing in self._missing.items():
            for source in missing:
                self._readers.setdefault(source, []).append(name)
        self._ready = deque(name for name, missing in self._missing.items() if not missing)

    def __len__(self) -> int:
        return len(self._steps)

    def take(self) -> Iterator[Step]:
        """Yield the steps that can begin, also those that the caller sets free meanwhile."""
        while self._ready:
            yield self._steps.pop(self._ready.popleft())

    def made(self, step: Step) -> None:
        """The result of a step is there."""
        for name in self._readers.pop(step.node.id, ()):
            self._missing[name].discard(step.node.id)
            if not self._missing[name]:
                self._ready.append(name)


class Spread:
    """An executor with workers.

    Args:
        pool: the workers.
        data_parallel: how many of them share each training.
        shelf: where parts lie.
    """

    def __init__(self, pool: Pool, data_parallel: int = 1, shelf: Shelf = parts) -> None:
        self.pool, self.data_parallel = pool, data_parallel
        self.shelf = shelf
        self._losses: dict[tuple[Task, str], list[float]] = {}  # the seconds that each cost
        self._warned: set[tuple[str, str]] = set()

    def results(self, runner: Runner) -> Iterator[Step]:
        """Make what is not there yet; see `Executor`."""
        todo = Waiting(runner.wanted())
        jobs: dict[str, Job] = {}
        again: list[tuple[Job, Task]] = []
        halted = False
        while todo or jobs:
            if runner.stop.signal is not None and not halted:
                self.pool.halt(runner.stop.signal)
                halted = True
            if not halted:
                for step in todo.take():
                    job = self._job(step, runner)
                    if job is None:
                        todo.made(step)
                        yield step
                    else:
                        jobs[step.node.id] = job
                self._feed(jobs, again)
            if halted and not any(job.running for job in jobs.values()):
                raise Interrupted(runner.stop.signal or 2)
            if not jobs:
                continue
            for news in self.pool.wait():
                job = jobs[news.task.stage]  # it stays there as long as a task of it runs
                if isinstance(news, Told):
                    self._tell(runner, job, news)
                elif isinstance(news, Lost):
                    self._lose(runner, job, news, again)
                elif self._finish(runner, job, news, halted=halted):
                    del jobs[news.task.stage]
                    todo.made(job.step)
                    yield job.step

    def close(self) -> None:
        """Let the workers go."""
        self.pool.close()

    # what is to be done

    def _job(self, step: Step, runner: Runner) -> Job | None:
        """What is to be done for a step; None if its result is there."""
        if step.entry is None and not step.forced:
            runner.planner.look(step, runner.steps)
        if step.entry is not None and runner.is_fine(step):
            runner.note_cached(step)
            return None
        step.entry = None
        stage = step.node.stage
        workers = self.pool.capacity(stage.needs) if parts.may_split(step) else 1
        if workers < 2:
            return Whole(step, runner, self.data_parallel if stage.data_parallel else 1)
        return Split(step, runner, workers, self.shelf)

    def _feed(self, jobs: dict[str, Job], again: list[tuple[Job, Task]]) -> None:
        """Hand out tasks while there is room; first those whose workers were lost, then in the order of the recipe."""
        demand: Counter[Needs] = Counter()
        for job in jobs.values():
            demand[job.needs] += job.demand()
        for job, _ in again:
            demand[job.needs] += 1
        if demand := +demand:
            self.pool.want(demand)
        while again and self.pool.has_room(again[0][0].needs):
            job, task = again.pop(0)
            self._start(job, task)
        for job in jobs.values():
            while self.pool.has_room(job.needs):
                following = job.next()
                if following is None:
                    break
                self._start(job, following)

    def _start(self, job: Job, task: Task) -> None:
        job.begin(task)
        self.pool.start(task, job.needs)

    # what comes back

    def _tell(self, runner: Runner, job: Job, news: Told) -> None:
        """Pass an event on: progress of all parts together, and each warning once."""
        record = dict(news.record)
        name = record.pop("event")
        if name == "apart":
            assert isinstance(job, Split)
            job.apart(record["count"], record["batch"], record["choices"])
            return
        if name == "stage_cached" and record["stage"] != news.task.stage:
            return  # what it reads; that was told before
        if name == "progress" and news.task.part:
            job.heard(news.task, max(0.0, record["done"] - news.task.start))
            job.progress(job.made + job.under_way, record["total"], record["unit"])
            return
        if name in ("warning", "skipped"):
            mark = (record["stage"], str(record))
            if mark in self._warned:
                return
            self._warned.add(mark)
        runner.events.emit(name, **record)

    def _lose(self, runner: Runner, job: Job, news: Lost, again: list[tuple[Job, Task]]) -> None:
        """Do a lost worker's task again, unless it is what loses workers.

        Raises:
            ResourceError: if it was lost too often.
        """
        job.end(news.task)
        losses = self._losses.setdefault((news.task, news.why), [])
        losses.append(news.seconds)
        if len(losses) >= news.most(sum(losses)):
            raise ResourceError(f"stage '{news.task.stage}': {len(losses)} workers were lost at it: {news.why}", news.hint)
        runner.events.emit("note", message=f"a worker was lost ({news.why}); its task of '{news.task.stage}' is done again")
        if news.memory or not job.take_back(news.task):
            again.append((job, news.task))

    def _finish(self, runner: Runner, job: Job, news: Done, *, halted: bool) -> bool:
        """Account for a task that came back; True if the job is done.

        Raises:
            GenartError: what the worker met.
        """
        job.end(news.task)
        if "differs" in news.told:
            raise _difference(job, news)
        if "error" in news.told:
            error = error_from_json(news.told["error"])
            if halted and isinstance(error, Interrupted):
                return False
            if isinstance(error, ChangedError):  # what is there of it may be made of either
                self.shelf.forget(runner, job.step)
            raise error
        return job.done(news)


def _difference(job: Job, news: Done) -> UsageError:
    """Say why a worker would make something else: by the first stage of the chain that is not the same there."""
    theirs, where = news.told["differs"], f"the worker on {news.told['host']}"
    hint = "the recipe's files, plugins and libraries must be the same on every machine"
    for step in job.runner.steps.values():
        if step.node.id not in theirs:
            return UsageError(f"{where} has no stage '{step.node.id}' in this recipe", hint)
        other = theirs[step.node.id]
        if other != json.loads(json.dumps(step.parts)):
            changes = list(differences({**step.parts, "inputs": []}, {**other, "inputs": []}))
            return UsageError(f"{where} would make something else of '{step.node.id}': {'; '.join(changes) or 'its parts differ'}", hint)
    return UsageError(f"{where} would make something else of '{job.step.node.id}'", hint)


@dataclass
class Job(ABC):
    """A step that is being made."""

    step: Step
    runner: Runner
    #: pictures that each running task has made, and that all of them have
    running: dict[Task, float] = field(default_factory=dict, kw_only=True)
    under_way: float = field(default=0.0, kw_only=True)
    made: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        self.progress = Progress(self.runner.events, self.step.node.id)

    @property
    def needs(self) -> Needs:
        """What its tasks ask for."""
        return self.step.node.stage.needs

    def begin(self, task: Task) -> None:
        """A task was handed out."""
        self.running[task] = 0.0

    def heard(self, task: Task, done: float) -> None:
        """A task that runs has made so many pictures."""
        self.under_way += done - self.running[task]
        self.running[task] = done

    def end(self, task: Task) -> None:
        """A task does not run any more."""
        self.under_way -= self.running.pop(task)

    @abstractmethod
    def demand(self) -> int:
        """How many tasks could be started now."""

    @abstractmethod
    def next(self) -> Task | None:
        """A task that can be started now; None if there is none."""

    @abstractmethod
    def done(self, news: Done) -> bool:
        """A task came back; True if the step's result is there."""

    def take_back(self, task: Task) -> bool:
        """A task was lost: ask for what it was to make by others; False if the same is to be handed out again."""
        return False

    def task(self, **more: Any) -> Task:
        """A task of this step."""
        sources = {source.node: self.runner.steps[source.node].entry for source in self.step.node.sources}
        inputs = {node: entry.key for node, entry in sources.items() if entry is not None}
        contents = {node: entry.content for node, entry in sources.items() if entry is not None}
        return Task(self.step.node.id, self.step.ancestry, inputs=inputs, contents=contents, **more)


@dataclass
class Whole(Job):
    """A step that one worker makes, or several together."""

    processes: int = 1
    asked: bool = False

    @property
    def needs(self) -> Needs:
        """What the task asks for."""
        return replace(super().needs, processes=self.processes)

    def demand(self) -> int:
        """One, until it was asked for."""
        return int(not self.asked)

    def next(self) -> Task | None:
        """The one task."""
        if self.asked:
            return None
        self.asked = True
        return self.task(force=self.step.forced)

    def done(self, news: Done) -> bool:
        """The result is in the store."""
        self.runner.adopt(self.step, news.told["made"], cached=news.told["cached"])
        return True


class Split(Job):
    """A step whose pictures are made in parts.

    The first part takes a moment and tells how many pictures there will be and how long one takes; the others are cut to take some
    seconds each, by what those before them took, and become smaller towards the end. Where the stage says early what its pictures have in
    common (`Run.apart`), its first batch is the first part, and nobody waits for it. Where pictures turn out to depend on each other, or
    their number is not known, one worker makes them all.

    Args:
        step: the step.
        runner: of the driver.
        workers: how many there are.
        shelf: where parts lie.
    """

    def __init__(self, step: Step, runner: Runner, workers: int, shelf: Shelf) -> None:
        super().__init__(step, runner)
        self.workers = workers
        self.shelf = shelf
        self.parts: list[Part] = shelf.found(runner, step)
        self.first = bool(self.parts)  # asked for, or there
        self.one = self.asked = self.adopted = self.announced = False  # one worker is to make all; was asked; the result is there
        self.joining = False  # a worker was asked to join the parts
        self.left: deque[range] = deque()  # pictures that nobody was asked for yet
        self.pictures = 0  # how many these are
        self.gone = 0  # how often parts were not there when they were to be joined
        self.size = self.least = self.batch = 1  # pictures of a part, of the smallest, and pictures that the stage makes at once
        self.total: float | None = None
        self.choices: dict[str, Any] = {}  # what all parts have in common
        self.later = (0.0, 0)  # seconds and pictures of the parts after the first, which may have waited for its libraries
        self._size_up()

    def demand(self) -> int:
        """Parts that are left, roughly, or the one from which all hangs."""
        if self.one:
            return int(not self.asked)
        if self.all_there:
            return int(not self.joining)
        return max(len(self.left), -(-self.pictures // self.size)) if self.first else 1

    def next(self) -> Task | None:
        """The next part."""
        if not self.announced:
            self.announced = True
            self.runner.announce(self.step, self.parts[0].stop if self.parts and self.parts[0].start == 0 else 0)
        if self.one:
            if self.asked:
                return None
            self.asked = True
            return self.task()
        if self.all_there:
            self.joining, joining = True, self.joining
            return None if joining else self.task(join=True)
        if not self.first:
            self.first = True
            return self.task(part=True, seconds=FIRST_SEC)
        if not self.left:
            return None
        size = max(self.least, min(self.size, SHARE * self.pictures / self.workers))
        span = self.left[0]
        stop = min(span.stop, span.start + self.batch * max(1, round(size / self.batch)))
        if stop < span.stop:
            self.left[0] = range(stop, span.stop)
        else:
            self.left.popleft()
        self.pictures -= stop - span.start
        return self.task(part=True, start=span.start, stop=stop, choices=self.choices)

    def apart(self, count: int | None, batch: int, choices: dict[str, Any]) -> None:
        """All but the first batch can be handed out: a batch at a time, until it is known how long one takes.

        Args:
            count: how many pictures there will be, if that is known.
            batch: how many are made at once.
            choices: what they have in common.
        """
        if self.total is not None or self.one or not count:
            return
        self.total, self.choices = count, choices
        self.batch = self.size = self.least = batch
        self.left = deque([range(batch, count)] if count > batch else [])
        self.pictures = max(0, count - batch)

    def take_back(self, task: Task) -> bool:
        """Halve a part that was lost: where workers come and go quickly, or one picture ends them, the rest is made all the same."""
        if not task.part or (task.stop is None and self.total is None):
            return False
        stop = min(task.start + self.batch, int(self.total or 0)) if task.stop is None else task.stop  # others have begun behind a batch
        batches = -(-(stop - task.start) // self.batch)
        if batches < 2 and task.stop is not None:
            return False
        middle = task.start + self.batch * (batches // 2)
        self.left.extendleft(span for span in (range(middle, stop), range(task.start, middle)) if span)
        self.pictures += stop - task.start
        return True

    def done(self, news: Done) -> bool:
        """A part is there; when all are, a worker joins them."""
        if "made" in news.told:
            self.runner.adopt(self.step, news.told["made"], cached=news.told["cached"])
            self.adopted = True
        elif "whole" in news.told:
            self._one_makes_all()
        elif "gone" in news.told:
            self._make_again()
        else:
            self._add(Part(**news.told["part"]))
        return self.complete()

    def _add(self, part: Part) -> None:
        if self.one:
            return  # somebody makes all, and this with it
        self.parts.append(part)
        self.made += part.stop - part.start
        if len(self.parts) == 1:
            self.runner.expected(self.step, part.key)  # a store that is not shared is told before all is made
        if part.start == 0:
            self.choices = part.choices  # what goes with these is joined: see `parts.found`
        if self.total is None:
            self._size_up()
        else:
            if len(self.parts) > 1:
                self.later = (self.later[0] + part.seconds, self.later[1] + part.stop - part.start)
            self._cut()
            if part.ended:
                self.total = min(self.total, part.stop)  # fewer than it said
        self.progress(self.made, self.total, "images" if self.step.node.stage.pieces is None else "frames")

    def _one_makes_all(self) -> None:
        self.one, self.pictures = True, 0
        self.left.clear()

    def _size_up(self) -> None:
        """Find out how many pictures there are to be and which of them are left."""
        if not self.parts:
            return
        some = self.parts[0]
        self.choices = some.choices
        self.made = sum(part.stop - part.start for part in self.parts)
        self.total = parts.total_of(self.parts)
        if self.total is None:
            self._one_makes_all()
            return
        self.left = deque(parts.missing(self.parts, int(self.total)))
        self.pictures = sum(map(len, self.left))
        self.batch = max(1, some.batch)
        self._cut()

    def _cut(self) -> None:
        """Choose the size of the parts by those that are there."""
        assert self.total is not None or self.one
        some = self.parts[0]
        seconds, pictures = self.later if self.later[1] else (some.seconds, some.stop - some.start)
        each = seconds / max(1, pictures)
        pace, most = self.workers / MOST_PER_SEC, int(self.total or 1)
        size = min(most, max(PART_SEC, pace) / each) if each > 0 else most
        self.size = max(self.batch, round(size), math.ceil(most / MOST_PARTS))
        self.least = round(min(self.size, pace / each)) if each > 0 else 1

    @property
    def all_there(self) -> bool:
        """All parts are there."""
        return not self.one and self.total is not None and self.made >= self.total and not any(task.part for task in self.running)

    def complete(self) -> bool:
        """True if the result is in the store."""
        if self.running or not self.adopted:
            return False
        if not self.joining:
            self.shelf.forget(self.runner, self.step)
        return True

    def _make_again(self) -> None:
        """Ask for parts again that were there and are not.

        Raises:
            ResourceError: if that happens again and again.
        """
        self.gone += 1
        if self.gone >= MOST_GONE:
            raise ResourceError("a part of the result was taken out of the store", "run the same command again")
        self.parts, self.joining = self.shelf.found(self.runner, self.step), False
        self.first = bool(self.parts)
        self.made, self.total = 0, None
        self._size_up()
