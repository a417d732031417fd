"""Films on very many workers, simulated: what they take, and which part of the machinery holds them up.

    python bench/simulate.py [--workers 1 10 100 1000] [--frames 10000 100000 1000000 10000000] [--films 1]

The scheduler is the one that runs (`genart.spread`); workers, store and clock are simulated (`genart.forecast`). What a part costs its
worker, how fast parts are joined, and how fast a film is encoded is measured on this machine first, unless it is given. What the driver and
Ray take for a task is from `python bench/cluster.py --tasks 10000`. The scheduler's CPU time and memory are real.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from cluster import TINY, order_of, planner_of
from rich.console import Console
from rich.table import Table

from genart.artifacts import Batch, ImagesWriter, StoredImages
from genart.display import duration
from genart.events import Events
from genart.forecast import Costs, Crew, Outcome, Work, made_once, rehearse
from genart.plan import Planner, Step
from genart.run import Stop
from genart.runner import Runner
from genart.store import Store
from genart.tasks import Task
from genart.worker import Worker
from genart_video.film import PIECE

FILM = """
[[stage]]
uses = "procedural.warp"
id = "frames{n}"
count = 1
frames = 96
resolution = {resolution}
[[stage]]
uses = "video.assemble"
id = "film{n}"
save = "film{n}.mp4"
"""


def part_seconds(count: int = 300) -> float:
    """Seconds that a worker takes for a part, beside its work."""
    with tempfile.TemporaryDirectory() as name, chdir("."):  # a worker goes to its folder
        order = order_of(TINY.format(count=2 * count), Path(name))
        worker, ancestry = Worker(order.as_json()), planner_of(order).steps()["many"].ancestry
        tasks = [Task("many", ancestry, part=True, start=2 * i, stop=2 * i + 2).as_json() for i in range(count)]
        for task in tasks[:50]:
            assert "part" in worker.make(task)
        began = time.perf_counter()
        for task in tasks[50:]:
            worker.make(task)
        return (time.perf_counter() - began) / (count - 50)


def join_costs(count: int = 200, size: int = 1 << 20) -> tuple[float, float]:
    """Seconds that the driver takes for a part without content that it verifies and joins, and bytes that it joins in a second."""
    import numpy as np

    seconds = []
    for side in (1, int((size / 3) ** 0.5)):
        with tempfile.TemporaryDirectory() as name:
            store = Store(Path(name))
            rng = np.random.default_rng(0)
            for i in range(count):
                work = store.root / "work" / str(i)
                writer = ImagesWriter(work / "outputs/output")
                writer.append(Batch.from_array(rng.integers(0, 256, (1, side, side, 3), np.uint8)))
                writer.finish(durable=False)
                store.commit_part(f"{i:064x}", shelf="0" * 64, kinds={"output": "images"}, work=work, about={"stage": "bench"})
            reader, joined = Store(Path(name)), ImagesWriter(Path(name, "work/joined/outputs/output"))
            began = time.perf_counter()
            for i in range(count):
                entry = reader.find(f"{i:064x}")
                assert entry is not None
                assert reader.verified(entry)
                images = entry.artifact("output")
                assert isinstance(images, StoredImages)
                joined.extend(images)
            joined.finish()
            store.commit(
                "f" * 64,
                ancestry="a" * 64,
                partial="b" * 64,
                kinds={"output": "images"},
                work=store.root / "work/joined",
                about={"stage": "bench"},
            )
            reader.forget_parts("0" * 64)
            seconds.append(time.perf_counter() - began)
    return seconds[0] / count, count * size / max(1e-9, seconds[1] - seconds[0])


def encoder_rate(resolution: int) -> float:
    """Frames that `video.assemble` encodes in a second."""
    with tempfile.TemporaryDirectory() as name:
        planner = planner_of(order_of(FILM.format(n="", resolution=resolution), Path(name)))
        steps = planner.steps()
        runner = Runner(planner, steps, Path(name, "out"), Events(), Stop())
        runner.entry(steps["frames"])
        entry = runner.entry(steps["film"])
        return 96 / float(entry.manifest["seconds"])


def simulated(
    planner: Planner, steps: Mapping[str, Step], work: Mapping[str, Work], workers: int, costs: Costs, scatter: float
) -> tuple[Outcome, float, float]:
    """Simulate; returns what it took, the CPU seconds of this process for each task, and its memory in MB."""
    crew = Crew(work, workers, costs, scatter=scatter)
    began = time.process_time()
    outcome = rehearse(planner, steps, crew)
    cpu = (time.process_time() - began) / outcome.tasks
    tracemalloc.start()
    rehearse(planner, steps, Crew(work, workers, costs, scatter=scatter))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made_once(outcome, work)
    return outcome, cpu, peak / 1e6


def row(outcome: Outcome, workers: int) -> list[str]:
    """Shares of the time in which each part of the machinery was busy, and which holds the others up."""
    encoding = union([span for name, span in outcome.stages.items() if name.startswith("film")])
    shares = {
        "workers": outcome.work_sec / (workers * outcome.seconds),
        "driver": outcome.driver_sec / outcome.seconds,
        "joining": union(outcome.joins) / outcome.seconds,
        "store": outcome.store_sec / outcome.seconds,
        "encoder": encoding / outcome.seconds,
    }
    most = max((name for name in shares if name != "workers"), key=lambda name: shares[name])
    bound = "workers" if shares["workers"] >= 0.8 else most
    return [*(f"{100 * share:.1f} %" for share in shares.values()), bound]


def union(spans: list[tuple[float, float]]) -> float:
    """Seconds that are in any of the spans."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def measured(options: argparse.Namespace) -> tuple[Costs, float]:
    """What things cost here, or what was given."""
    join_sec, join_rate = join_costs()
    costs = replace(Costs(), part_sec=part_seconds(), join_sec=join_sec, join_bytes_per_sec=join_rate)
    given = {name: getattr(options, name) for name in vars(costs) if getattr(options, name, None) is not None}
    return replace(costs, **given), options.encode or encoder_rate(options.resolution)


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--frames", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--films", type=int, default=1, help="films that the frames are shared among")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--frame-sec", type=float, default=0.1, help="seconds that a worker takes for a frame")
    parser.add_argument("--scatter", type=float, default=0.3, help="standard deviation of the logarithm of what a task takes")
    parser.add_argument("--encode", type=float, help="frames encoded in a second, instead of measuring")
    for name in vars(Costs()):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help="see genart.forecast.Costs")
    options = parser.parse_args()
    costs, rate = measured(options)
    console = Console(width=150)
    told = ", ".join(f"{name} {value:.4g}" for name, value in vars(costs).items())
    console.print(f"{told}; {rate:.0f} frames of {options.resolution} px encoded in a second, {options.frame_sec:g} s to make one")
    names = ("frames", "workers", "takes", "efficiency", "driver", "joining", "store", "encoder", "bound by", "tasks", "CPU ms/task", "MB")
    table = Table(*names)
    text = "".join(FILM.format(n=n, resolution=16).replace("96", f"{96 + n}") for n in range(options.films))
    with tempfile.TemporaryDirectory() as folder:
        planner = planner_of(order_of(text, Path(folder)))
        steps = planner.steps()
        for frames in options.frames:
            each = frames // options.films
            size = each * 3 * options.resolution**2
            work = {f"frames{n}": Work(each * options.frame_sec, each, bytes=size) for n in range(options.films)}
            work |= {f"film{n}": Work(each / rate, each, PIECE, bytes=size // 50) for n in range(options.films)}
            for workers in options.workers:
                outcome, cpu, memory = simulated(planner, steps, work, workers, costs, options.scatter)
                about = row(outcome, workers)
                tail = (str(outcome.tasks), f"{1000 * cpu:.3f}", f"{memory:.1f}")
                table.add_row(f"{frames:,}", str(workers), duration(outcome.seconds), *about, *tail)
    console.print(table)


if __name__ == "__main__":
    main()
