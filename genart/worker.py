"""A worker: one process that makes tasks of a run, and tells what happens meanwhile. It knows nothing of what carries its calls."""

from __future__ import annotations

import io
import os
import platform
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from . import __version__, parts
from .artifacts import Model
from .errors import GenartError, ResourceError, UsageError, printable
from .events import Events
from .plan import Planner, Step, version_of
from .plugins import Plugins
from .recipe import load
from .remote import store_for
from .run import Stop
from .runner import SAME_STORE, Runner
from .store import Entry, Store, resource_error, sha256_of
from .tasks import Order, Task, error_to_json

#: Events that are kept for a driver that does not ask; the oldest go first.
KEPT_EVENTS = 10_000
#: Distributions whose versions the results may depend on.
COMPARED = ("torch", "torchvision", "kornia", "numpy", "pillow", "av")


def versions() -> dict[str, str]:
    """What driver and workers must have in common."""
    found = {"genart": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
    return found | {name: version_of(name) for name in COMPARED}


def check_versions(who: str, theirs: dict[str, Any], ours: dict[str, Any], whose: str) -> None:
    """Compare the versions of two processes.

    Args:
        who: has the versions `theirs`, in words.
        theirs: its versions.
        ours: what they are to be.
        whose: has the versions `ours`, in words.

    Raises:
        UsageError: if any differ.
    """
    differing = [f"{name} {theirs.get(name)} ({whose} {ours[name]})" for name in ours if theirs.get(name) != ours[name]]
    if differing:
        raise UsageError(f"{who} has {', '.join(differing)}", "install the same versions on every machine")


class Differs(Exception):
    """A worker would make something else than the driver wants; it holds what each stage is made of here."""

    def __init__(self, identities: dict[str, Any]) -> None:
        super().__init__("the worker would make something else")
        self.identities = identities


class _Lines(io.TextIOBase):
    """A stream that hands on whole lines, those that hold something.

    Args:
        hand_on: called with each, without its end.
    """

    def __init__(self, hand_on: Callable[[str], None]) -> None:
        super().__init__()
        self._hand_on, self._rest = hand_on, ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take some text."""
        *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
        for line in filter(str.strip, lines):
            self._hand_on(line)
        return len(text)

    def close(self) -> None:
        """Hand on the last line, too, if it has no end."""
        if not self.closed:
            self.write("\n")
        super().close()


def step_of(runner: Runner, task: Task) -> Step:
    """The step of a task, with the results of those before it as they are in the store now.

    Raises:
        Differs: if this process would make something else.
        ResourceError: if what the stage reads is not in its store.
    """
    step = runner.steps.get(task.stage)
    if step is None or step.ancestry != task.ancestry:
        raise Differs({step.node.id: step.parts for step in runner.steps.values()})
    for node, key in task.inputs.items():
        before = runner.steps[node]
        if not _is_meant(before.entry, key, task.contents.get(node)):
            before.entry = runner.store.find(key)
        if not _is_meant(before.entry, key, task.contents.get(node)):
            raise ResourceError(f"the result of '{node}' is not in the store {runner.store.place}", SAME_STORE)
        runner.store.trust(key)  # the driver has verified it, or a worker has just made it: not every worker reads it for that
    if task.force:
        step.forced, step.entry = True, None
    runner.records.pop(step.node.id, None)
    return step


class Worker:
    """Makes tasks of one run.

    Args:
        order: the run, as JSON (see `Order`).
        threads: that it computes with.
        store: where results are, if not where the order says.
        gpus: that it was given.
    """

    def __init__(self, order: str, threads: int = 1, store: Store | None = None, gpus: float = 0.0) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        self._begin = threading.Lock()
        self.order, self.store, self.gpus = Order.from_json(order), store, gpus
        self.stop = Stop()
        self._told: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._news = threading.Condition()
        self._done = False
        self._runner: Runner | None = None
        self._model: tuple[Any, Any] | None = None

    def about(self) -> dict[str, Any]:
        """Where this is, its versions, and what keeps it from working, if anything does."""
        problem = None
        try:
            _ = self.runner
            self._check_gpus()
        except GenartError as error:
            problem = error_to_json(error)
        return {"host": socket.gethostname(), "versions": versions(), "problem": problem}

    @property
    def runner(self) -> Runner:
        """The runner of this process; made at the first call.

        Raises:
            GenartError: if the recipe cannot be read here, or a plugin is missing.
        """
        with self._begin:
            return self._runner or self._begun()

    def _check_gpus(self) -> None:
        """See that torch can use what this was given.

        Raises:
            UsageError: if it cannot.
        """
        if self.gpus:
            import torch

            if not torch.cuda.is_available():
                raise UsageError("--device cuda: torch finds no GPU", "install a torch for its GPU and driver there, or --device cpu")

    def _begun(self) -> Runner:
        with suppress(OSError):
            os.chdir(self.order.folder)
        order, plugins = self.order, Plugins(self.order.plugin_files)
        recipe = load(Path(order.recipe), plugins, overrides=order.overrides, seed=order.seed, budget_sec=order.budget_sec, text=order.text)
        planner = Planner(recipe, plugins, self.store or _store_of(order), order.device)
        runner = self._runner = Runner(planner, planner.steps(), Path(os.devnull), Events(self._tell), self.stop)
        runner.rebuild, runner.backbone = self._rebuild, cache(plugins.load_backbone)
        return runner

    def _rebuild(self, model: Model, device: str) -> Any:
        """Rebuild a model, or give the one that was rebuilt last: many tasks in a row draw from the same."""
        mark = (sha256_of(model.path), device)
        if self._model is None or self._model[0] != mark:
            self._model = (mark, self.runner.planner.plugins.rebuild(model, device))
        return self._model[1]

    # called by the driver

    def make(self, task: str) -> dict[str, Any]:
        """Make a task, given as JSON.

        Returns:
            {"part": ...}, or {"whole": True} where there are no parts, or {"gone": True} where some are missing that were to be joined, or
            {"made": key, "cached": ...}; or {"error": ...}; or {"differs": ...} where it would make something else; and under "events"
            what has not been told before.
        """
        with self._news:
            self._done = False
        overheard = _Lines(self._overhear)
        try:
            with redirect_stdout(overheard), redirect_stderr(overheard):
                outcome = self._make(Task.from_json(task))
        except Differs as difference:
            outcome = {"differs": difference.identities, "host": socket.gethostname()}
        except GenartError as error:
            outcome = {"error": error_to_json(self._placed(error))}
        except MemoryError:
            outcome = {"error": error_to_json(self._placed(ResourceError("out of memory", "use a smaller resolution, width or batch")))}
        except OSError as error:
            known = resource_error(error) or ResourceError(f"{type(error).__name__}: {error}")
            outcome = {"error": error_to_json(self._placed(known))}
        except Exception as error:  # else it would be taken for a worker that is lost, and tried again and again
            bug = GenartError(
                f"this is a bug in genart: {type(error).__name__}: {error}", "please report it, with what `genart run` says of it"
            )
            outcome = {"error": error_to_json(bug)}
        overheard.close()
        with self._news:
            self._done = True
            self._news.notify_all()
            return outcome | {"events": self._drained()}

    def told(self, wait_sec: float = 10.0) -> list[dict[str, Any]]:
        """Events since the last call; waits for some, but not beyond the end of a task."""
        with self._news:
            self._news.wait_for(lambda: self._told or self._done, wait_sec)
            return self._drained()

    def halt(self, number: int) -> None:
        """Stop at the next safe place, as after a signal of this number."""
        self.stop.signal = number

    # inside

    def _make(self, task: Task) -> dict[str, Any]:
        runner = self.runner
        step = step_of(runner, task)
        try:
            if task.part:
                return {"part": asdict(parts.make(runner, step, task))}
            if task.join and not parts.join(runner, step):
                return {"gone": True}
            entry = runner.entry(step)
            return {"made": entry.key, "cached": runner.records[step.node.id]["cached"]}
        except parts.NotApart:
            return {"whole": True}
        finally:
            runner.store.release()

    def _placed(self, error: GenartError) -> GenartError:
        """The same error, with the machine on which resources failed."""
        if isinstance(error, ResourceError):
            error.message = f"{error.message} (on {socket.gethostname()})"
        return error

    def _overhear(self, line: str) -> None:
        """Pass on what a library prints here: nobody reads this process's output."""
        self._tell({"event": "note", "message": f"{socket.gethostname()}: {printable(line)}"})

    def _tell(self, record: dict[str, Any]) -> None:
        with self._news:
            self._told.append(record)
            self._news.notify_all()

    def _drained(self) -> list[dict[str, Any]]:
        found = list(self._told)
        self._told.clear()
        return found


def _store_of(order: Order) -> Store:
    """The driver's folder, or the store of this machine beside the shared one."""
    return Store(Path(order.store)) if order.shared is None else store_for(order.shared)


def _is_meant(entry: Entry | None, key: str, content: str | None) -> bool:
    """True if a result is the one that the driver means."""
    return entry is not None and entry.key == key and content in (None, entry.content)
