"""Workers in this process, one task after another: what Ray does with them is not tested by them, what is asked of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genart.events import Events
from genart.plan import Planner
from genart.plugins import Plugins
from genart.recipe import load
from genart.run import Stop
from genart.runner import Runner
from genart.spread import Done, Lost, Spread, Told
from genart.stages import Needs
from genart.store import Store
from genart.tasks import Order, Task
from genart.worker import Worker
from tests.conftest import TOYS


class Hands:
    """A pool of workers that take turns.

    Args:
        order: the run.
        size: how many.
        stores: one for each worker, where they do not share a folder.
        fate: called with each task before it is made: a `Lost` instead of an outcome, or None; "after" losses are those whose
            part is in the store already.
    """

    def __init__(
        self, order: Order, size: int = 2, fate: Callable[[Task], Lost | None] = lambda task: None, stores: Sequence[Store] = ()
    ) -> None:
        self.order, self.size, self.fate = order, size, fate
        self.workers = [Worker(order.as_json(), store=stores[place] if stores else None) for place in range(size)]
        self.queue: list[Task] = []
        self.made: list[tuple[Task, dict[str, Any]]] = []  # of which the driver has not heard
        self.tasks: list[Task] = []
        self.needs: list[Needs] = []
        self.halted = 0
        self.closed = False

    def capacity(self, needs: Needs) -> int:
        """Each does everything."""
        return self.size

    def want(self, demand: Mapping[Needs, int]) -> None:
        """They are always there."""
        assert demand
        assert all(count > 0 for count in demand.values())

    def has_room(self, needs: Needs) -> bool:
        """One task for each."""
        return len(self.queue) + len(self.made) < self.size

    def start(self, task: Task, needs: Needs) -> None:
        """Put a task into the queue, as JSON would bring it."""
        self.queue.append(task)
        self.needs.append(needs)
        assert vars(Task.from_json(task.as_json())) == vars(task)

    def wait(self) -> Iterable[Done | Lost | Told]:
        """Make the newest task first: an order that nobody may count on; what it tells is heard before it is done."""
        if self.queue:
            return self._next()
        return iter([Done(*self.made.pop())] if self.made else [])

    def _next(self) -> Iterator[Done | Lost | Told]:
        task = self.queue.pop()
        self.tasks.append(task)
        lost = self.fate(task)
        if lost is not None:
            yield lost
            return
        worker = self.workers[len(self.tasks) % self.size]
        outcome = worker.make(task.as_json())
        for record in outcome.pop("events"):
            yield Told(task, record)
        self.made.append((task, outcome))

    def halt(self, number: int) -> None:
        """Tell all."""
        self.halted = number
        for worker in self.workers:
            worker.halt(number)

    def close(self) -> None:
        """Nothing runs."""
        self.closed = True


def order_of(recipe: Path, store: Path, *, plugin: Path = TOYS, overrides: Sequence[str] = ()) -> Order:
    """The order of a recipe."""
    return Order(
        str(recipe.absolute()), recipe.read_text(), tuple(overrides), None, None, (str(plugin),), str(Path.cwd()), str(store), "cpu"
    )


def run_spread(
    order: Order,
    *,
    size: int = 2,
    fate: Callable[[Task], Lost | None] = lambda task: None,
    out: str = "spread",
    stop: Stop | None = None,
    force: Sequence[str] = (),
    hear: Callable[[dict], None] = lambda record: None,
    stores: Sequence[Store] = (),
) -> tuple[Hands, list[dict]]:
    """Run an order with workers in this process; returns them and the events. Of `stores` the first is the driver's."""
    hands, told = Hands(order, size, fate, stores[1:]), []
    plugins = Plugins(order.plugin_files)
    recipe = load(Path(order.recipe), plugins, overrides=order.overrides, text=order.text)
    planner = Planner(recipe, plugins, stores[0] if stores else Store(Path(order.store)), order.device)
    stop = stop or Stop()
    try:
        Runner(planner, planner.steps(force), Path(out), Events(told.append, hear), stop, Spread(hands)).run()
    finally:
        assert hands.closed
        hands.told = told
    return hands, told


def apart_early(home, more=""):
    """Toys of which two say early that their pictures can be made apart."""
    plugin = home / "toys.py"
    text = TOYS.read_text().replace(
        "    run.expect(params.count, params.fps)\n", f"    run.expect(params.count, params.fps)\n    run.apart(1)\n{more}"
    )
    plugin.write_text(
        text.replace("    run.expect(images.count)\n    more = 0.0\n", "    run.expect(images.count)\n    run.apart(1)\n    more = 0.0\n")
    )
    assert plugin.read_text().count("run.apart(1)") == 2
    return plugin
