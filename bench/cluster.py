"""What workers bring: two of one thread each beside one of one thread, the overhead of a task, and how a driver's memory grows.

    python bench/cluster.py [--only style walk sweep] [--times 1]     seconds with one worker and with two, and their ratio
    python bench/cluster.py --forecast                                the same, beside what `genart plan --workers` says of them
    python bench/cluster.py --tasks 10000                             tiny tasks on two workers: time for each, memory of the driver

Ray is started once for each number of workers, and is warm when the clock runs: each worker has made a task and loaded torch. Every run
has an empty store. What is foretold follows from one run of this process without workers. One worker makes no parts, as a local run does,
so what parts cost is in the ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from rich.console import Console
from rich.table import Table

from genart.events import Events
from genart.forecast import Costs, Past, forecast
from genart.on_ray import RayPool, check_address
from genart.plan import Planner
from genart.plugins import Plugins
from genart.recipe import load
from genart.run import Stop
from genart.runner import Runner
from genart.spread import Done, Spread
from genart.stages import Needs
from genart.store import Store
from genart.tasks import Order, Task

STYLE = """
[[stage]]
uses = "procedural.warp"
count = 32
resolution = 128
[[stage]]
uses = "style.transfer"
style_photos = "tissue"
resolution = 128
iterations = 12
"""
WALK = """
[[stage]]
uses = "images.samples"
crop = 64
count = 64
[[stage]]
uses = "dcgan.train"
kimg = 0.25
width = 32
batch_size = 16
[[stage]]
uses = "latent.walk"
frames = 6000
[[stage]]
uses = "video.assemble"
save = "walk.mp4"
"""
SWEEP = """
[sweep]
"train.lr_G" = [1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4]
show = "train.progress"
[[stage]]
uses = "images.samples"
id = "photos"
crop = 32
count = 256
[[stage]]
uses = "dcgan.train"
id = "train"
kimg = 6
width = 16
batch_size = 32
evaluations = 0
"""
#: Recipe, and the stage up to which it is made before the clock runs.
RECIPES = {"style": (STYLE, "procedural.warp"), "walk": (WALK, "dcgan.train"), "sweep": (SWEEP, "photos")}
TINY = """
[[stage]]
uses = "tiny.grey"
id = "one"
count = 2
[[stage]]
uses = "tiny.grey"
id = "many"
count = {count}
"""
#: A stage that does next to nothing: what its tasks take is what a task costs.
PLUGIN = """
from collections.abc import Iterator
import genart
class Params(genart.Params):
    count: int = 2
@genart.stage("tiny.grey", pointwise=True)
def grey(none: None, params: Params, run: genart.Run) -> Iterator[genart.Batch]:
    import numpy as np
    for span in run.spans(params.count, 2):
        yield genart.Batch.from_array(np.full((len(span), 16, 16, 3), 127, np.uint8))
"""


def order_of(text: str, folder: Path) -> Order:
    """The order of a recipe, with a store below the folder."""
    path, plugin = folder / "recipe.toml", folder / "tiny.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    path.write_text(f'[recipe]\nname = "bench"\nseed = 1\n{text}', encoding="utf-8")
    return Order(str(path), path.read_text(), (), None, None, (str(plugin),), str(folder), str(folder / "store"), "cpu")


def planner_of(order: Order, until: str | None = None) -> Planner:
    """The planner of an order, up to a stage."""
    plugins = Plugins(order.plugin_files)
    recipe = load(Path(order.recipe), plugins, text=order.text)
    return Planner(recipe.until(until) if until else recipe, plugins, Store(Path(order.store)), "cpu")


class Kept(RayPool):
    """A pool whose workers outlive a run."""

    def close(self) -> None:
        """Keep them; `end` lets them go."""

    def end(self) -> None:
        """Let them go."""
        super().close()


def run(pool: Kept, order: Order, until: str | None = None) -> float:
    """Run an order, up to a stage; returns the seconds."""
    planner = planner_of(order, until)
    runner = Runner(planner, planner.steps(), Path(order.folder) / "out", Events(), Stop(), Spread(pool))
    began = time.perf_counter()
    runner.run()
    return time.perf_counter() - began


def ready(pool: Kept, count: int) -> None:
    """Wait until so many workers are there."""
    while sum(member.is_ready for member in pool.members) < count:
        pool.want({Needs(): count})
        list(pool.wait())


def timed(name: str, workers: int) -> float:
    """Seconds of a recipe on so many workers."""
    text, before = RECIPES[name]
    with tempfile.TemporaryDirectory() as name_of:
        order = order_of(text, Path(name_of))
        pool = Kept(order, cpus=workers)
        try:
            ready(pool, workers)
            run(pool, order, before)
            for member in pool.members:  # load torch and what the stage needs
                pool._ray.get(member.handle.make.remote(warm(order, before)))
            return run(pool, order)
        finally:
            pool.end()


def warm(order: Order, stage: str) -> str:
    """A task whose result is there, made again: torch is loaded after it."""
    steps = planner_of(order).steps()
    step = steps[stage]
    inputs = {source.node: steps[source.node].entry.key for source in step.node.sources}  # type: ignore[union-attr]
    return Task(stage, step.ancestry, inputs=inputs, part=step.node.stage.pointwise, stop=1, force=not step.node.stage.pointwise).as_json()


def compare(names: list[str], times: int) -> None:
    """Print what two workers bring."""
    table = Table("recipe", "one worker, s", "two workers, s", "ratio")
    for name in names:
        pairs = [(timed(name, 1), timed(name, 2)) for _ in range(times)]
        one, two = (min(column) for column in zip(*pairs, strict=True))
        table.add_row(name, f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}")
    Console(width=120).print(table)


def foretold(name: str) -> tuple[float, list[float]]:
    """Seconds of a recipe in this process, torch being loaded, and what these make one expect of one worker and of two that are warm."""
    text, before = RECIPES[name]
    for _ in range(2):  # the first loads torch
        with tempfile.TemporaryDirectory() as name_of:
            order = order_of(text, Path(name_of))
            planner = planner_of(order, before)
            Runner(planner, planner.steps(), Path(name_of, "out"), Events(), Stop()).run()
            planner = planner_of(order)
            left = planner.steps()
            began = time.perf_counter()
            Runner(planner, planner.steps(), Path(name_of, "out"), Events(), Stop()).run()
            seconds = time.perf_counter() - began
            estimates = Past(planner.store).estimates(left)
            warm = replace(Costs(), start_sec=0.0, load_sec=0.0)
            found = [forecast(planner, left, estimates, workers, costs=warm).seconds for workers in (1, 2)]
    return seconds, found


def compare_forecasts(names: list[str]) -> None:
    """Print what is foretold of runs beside what they take."""
    table = Table("recipe", "no workers, s", "one: foretold, s", "taken, s", "error", "two: foretold, s", "taken, s", "error")
    for name in names:
        seconds, told = foretold(name)
        cells = [f"{seconds:.1f}"]
        for workers, expected in zip((1, 2), told, strict=True):
            taken = timed(name, workers)
            cells += [f"{expected:.1f}", f"{taken:.1f}", f"{100 * (expected / taken - 1):+.0f} %"]
        table.add_row(name, *cells)
    Console(width=120).print(table)


def tiny(count: int) -> None:
    """Print what a task costs that does next to nothing: give two grey pictures of 16 px, and keep them in the store."""
    with tempfile.TemporaryDirectory() as name:
        order = order_of(TINY.format(count=2 * count), Path(name))
        pool = Kept(order, cpus=2)
        try:
            ready(pool, 2)
            run(pool, order, "one")
            ancestry = {name: step.ancestry for name, step in planner_of(order).steps().items()}
            rows: list[Any] = []
            lookups = [Task("one", ancestry["one"]) for _ in range(count)]
            made = [Task("many", ancestry["many"], part=True, start=2 * i, stop=2 * i + 2) for i in range(count)]
            for kind, some in (("looking up a result", lookups), ("making and keeping a part", made)):
                drive(pool, some[:200])
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                began = time.perf_counter()
                drive(pool, some[200:])
                seconds = time.perf_counter() - began
                rows.append((kind, count - 200, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
        finally:
            pool.end()
    table = Table("task", "tasks", "s", "ms each", "driver's memory, MB more")
    for kind, number, seconds, more in rows:
        table.add_row(kind, str(number), f"{seconds:.1f}", f"{1000 * seconds / number:.2f}", f"{more / 1024:.1f}")
    Console(width=120).print(table)


def drive(pool: Kept, tasks: list[Task]) -> None:
    """Hand out tasks and wait for all."""
    left, done = list(reversed(tasks)), 0
    while done < len(tasks):
        while left and pool.has_room(Needs()):
            pool.start(left.pop(), Needs())
        for news in pool.wait():
            if isinstance(news, Done):
                assert "error" not in news.told, news.told
                done += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--forecast", action="store_true")
    options = parser.parse_args()
    check_address("ray")
    if options.tasks:
        tiny(options.tasks)
    elif options.forecast:
        compare_forecasts(options.only)
    else:
        compare(options.only, options.times)


if __name__ == "__main__":
    main()
