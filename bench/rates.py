"""How fast each family trains: the steps, their share of the machine's peak, the cost of the loop, and how the time grows with the size.

Used by bench/families.py, which is the command.
"""

from __future__ import annotations

import importlib
import inspect
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genart.artifacts import Batch, Images
from genart.events import Events
from genart.nn import budget
from genart.nn.data import Pictures, square
from genart.nn.family import Family, Fitting, Setup, make_plan
from genart.nn.gan import Training
from genart.nn.quality import Quality
from genart.nn.team import Lead
from genart.params import resolve
from genart.plugins import Plugins
from genart.run import Run
from genart.stages import Stage
from genart.testing import run_stage

#: Sides over which the growth is measured, in pixels.
RESOLUTIONS = (16, 32, 64, 128)
#: Images of the training that is measured; what a schedule makes of them decides which of its places are visited.
TOTAL_KIMG = 20.0
COLUMNS = ("family", "width", "precision", "images/s, steps", "GFLOP/image", "GFLOP/s", "of the fp32 peak")
COLUMNS += ("steps of the loop", "snapshots", "checkpoints", "all else")


def stage_of(name: str) -> Stage:
    """The stage that trains a family."""
    stage: Stage = getattr(importlib.import_module(f"genart_{name}"), f"{name}_train")
    return stage


def family_of(name: str) -> Family:
    """The family itself, as its stage makes it."""
    module = importlib.import_module(f"genart_{name}.train")
    (found,) = (
        value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Family) and not inspect.isabstract(value)
    )
    return found()


class Bench:
    """Times the training steps of families on the same pictures.

    Args:
        array: (N, R, R, 3) uint8.
        device: "cpu", "cuda" or "mps".
        seconds: for each measurement.
    """

    def __init__(self, array: np.ndarray, device: str, seconds: float) -> None:
        self.array, self.device, self.seconds = array, device, seconds
        self.work = Path(tempfile.mkdtemp())

    def setup(self, name: str, **params: Any) -> tuple[Family, Setup]:
        """A family with its default plan for the pictures; where penalties may be lazy, as lazy as the device wants them."""
        family, stage = family_of(name), stage_of(name)
        plain = {"augment": "none"} if "augment" in stage.params.model_fields else {}
        given: Any = resolve(stage.params, stage.name, {"kimg": TOTAL_KIMG, "evaluations": 0, **plain, **params})
        run = Run(
            stage_id=name,
            seed=0,
            device=self.device,
            work=self.work,
            events=Events(),
            backbone=Plugins().load_backbone,
            extension=Plugins().load_extension,
        )
        pictures = Pictures(self.array, run.generator, device=self.device)
        began = time.monotonic()
        quality, lead = Quality(run, pictures), Lead(run)
        setup = Setup(given, run, pictures, make_plan(family, pictures, None, given, run, quality, began, lead))
        _, every = Fitting(family, setup, quality, self.seconds, began, lead).costs(dict(setup.plan), self.seconds / 2, free_laziness=True)
        return family, replace(setup, plan={**setup.plan, "penalty_every": every})

    def step(self, family: Family, setup: Setup) -> tuple[float, float]:
        """Seconds and operations of the bare steps, per image, over the whole schedule; operations as torch counts them."""
        trainer, every = family.trainer(setup), setup.plan["penalty_every"]
        probes = trainer.probes(setup.total_nimg)
        seconds = flops = 0.0
        for share, nimg in probes:
            trainer.schedule(nimg)
            n = trainer.batch_size(nimg)
            real = setup.pictures.batch(0, 0, n)
            z = torch.randn(n, setup.z_dim, generator=setup.run.generator("z", 0)).to(self.device)

            def play(n: int = n, real: Any = real, z: Any = z) -> None:
                for step in range(every):
                    trainer.step(step, real, z, setup.run.generator("step", step), 0.0)

            seconds += share * budget.seconds_per_call(play, self.device, self.seconds / len(probes)) / (every * n)
            with Operations() as operations:
                play()
            flops += share * operations.total / (every * n)
        return seconds, flops

    def loop(self, name: str, setup: Setup, image_sec: float) -> dict[str, float]:
        """Shares of the time that the stage trains, without measurements of quality: steps, snapshots, checkpoints, and all else.

        They are taken within one training, so that neither the machine's pace nor what comes before and after counts.
        """
        fields = type(setup.params).model_fields
        # Every step does what a bare one does.
        same: dict[str, Any] = {"penalty_every": setup.plan["penalty_every"], "skip_D_below": 0.0, "augment": "none"}
        same = {parameter: value for parameter, value in same.items() if parameter in fields}
        images = Images.from_batches([Batch.from_array(self.array)])
        kimg = max(0.5, 4 * self.seconds / image_sec / 1000)
        with tempfile.TemporaryDirectory() as work, timed(self.device) as seconds:
            run_stage(stage_of(name), images, work=Path(work), device=self.device, kimg=kimg, evaluations=0, watch=False, **same)
        shares = {part: sum(took) / sum(seconds["train"]) for part, took in seconds.items() if part != "train"}
        return shares | {"else": 1 - sum(shares.values())}


@contextmanager
def timed(device: str) -> Iterator[dict[str, list[float]]]:
    """Yield what each part of a training takes, in seconds: the whole, "train", and of it "step", "_snapshot" and "save"."""
    seconds: dict[str, list[float]] = {name: [] for name in ("train", "step", "_snapshot", "save")}

    def timing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                budget.synchronize(device)
                seconds[name].append(time.perf_counter() - began)

        return called

    originals = {name: getattr(Training, name) for name in ("train", "_snapshot", "save")}

    def train(training: Training) -> None:
        training.trainer.step = timing("step", training.trainer.step)  # type: ignore[method-assign]
        timing("train", originals["train"])(training)

    try:
        Training.train = train  # type: ignore[method-assign]
        for name in ("_snapshot", "save"):
            setattr(Training, name, timing(name, originals[name]))
        yield seconds
    finally:
        for name, original in originals.items():
            setattr(Training, name, original)


class Operations(TorchDispatchMode):
    """Counts operations as torch.utils.flop_counter does, whose own mode follows modules too, and fails where a gradient is penalised."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation and count it."""
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def best_rate(call: Callable[[], object], flops: float, device: str) -> float:
    """Highest rate of ten calls, in FLOP/s."""
    times = []
    for _ in range(10):
        began = time.perf_counter()
        call()
        budget.synchronize(device)
        times.append(time.perf_counter() - began)
    return flops / min(times)


@torch.inference_mode()
def peak(device: str) -> float:
    """The machine's rate in float32, in FLOP/s: a matrix product of 2048 by 2048 by 2048 as a 1x1 convolution, channels last."""
    n = 2048
    convolution = nn.Conv2d(n, n, 1, bias=False, device=device).to(memory_format=torch.channels_last)
    x = torch.randn(1, n, 64, 32, device=device).to(memory_format=torch.channels_last)
    return best_rate(lambda: convolution(x), 2 * n**3, device)


def rates(array: np.ndarray, names: Sequence[str], device: str, seconds: float) -> list[dict[str, Any]]:
    """Measure each family with its defaults, print the table, and return its rows."""
    bench = Bench(array, device, seconds)
    rows = []
    print(f"{array.shape[1]} px, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name in names:
        family, setup = bench.setup(name)
        precision = setup.plan["precision"]
        # The peak is taken before and after, so that a busy moment of the machine does not flatter a share of it.
        before = peak(device)
        step_sec, flops = bench.step(family, setup)
        limit = max(before, peak(device))
        shares = bench.loop(name, setup, step_sec)
        row = {
            "family": name,
            "width": setup.width,
            "precision": precision,
            "step_images_per_sec": 1 / step_sec,
            "gflop_per_image": flops / 1e9,
            "gflops": flops / step_sec / 1e9,
            "share_of_peak": flops / step_sec / limit,
            "shares": shares,
        }
        rows.append(row)
        print(
            f"| {name} | {setup.width} | {precision} | {1 / step_sec:.0f} | {flops / 1e9:.2f} | {flops / step_sec / 1e9:.0f} | "
            f"{row['share_of_peak']:.0%} | " + " | ".join(f"{shares[part]:.1%}" for part in ("step", "_snapshot", "save", "else")) + " |",
            flush=True,
        )
    return rows


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the straight line that fits log y over log x best."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else math.nan


def growth(array: np.ndarray, names: Sequence[str], device: str, seconds: float, plot: Path) -> list[dict[str, Any]]:
    """Measure the steps over resolution and over width, print both tables, draw them to `plot`, and return the numbers.

    Args:
        array: (N, R, R, 3) uint8; the widths are measured at R, and the resolutions at each family's own width.
        names: families.
        device: "cpu", "cuda" or "mps".
        seconds: for each measurement.
        plot: a PNG, images per second over either, both logarithmic.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = dict(zip(("resolution", "width"), figure.subplots(1, 2, sharey=True), strict=True))
    rows: list[dict[str, Any]] = []
    for name in names:
        family = family_of(name)
        sizes = [R for R in RESOLUTIONS if R in family.resolutions]
        by_size = [measured(square(array, R), name, device, seconds) for R in sizes]
        widths = list(family.widths[device])
        by_width = [measured(array, name, device, seconds, width=width) for width in widths]
        for over, x, y in (("resolution", sizes, by_size), ("width", widths, by_width)):
            slope = exponent(x, y)
            rows.append({"family": name, "over": over, "at": x, "images_per_sec": y, "exponent": slope})
            panels[over].loglog(x, y, marker="o", label=f"{name}: {slope:+.2f}")
            print(
                f"| {name} | {over} | " + ", ".join(f"{a}: {b:.0f}" for a, b in zip(x, y, strict=True)) + f" | {slope:+.2f} |", flush=True
            )
    for over, panel in panels.items():
        panel.set(xlabel=f"{over}, logarithmic", ylabel="images per second in training steps")
        panel.grid(visible=True, alpha=0.3)
        panel.legend(title="exponent", fontsize=8)
        ticks = sorted({size for row in rows if row["over"] == over for size in row["at"]})
        panel.set_xticks(ticks, map(str, ticks))
        panel.minorticks_off()
        panel.label_outer()
    figure.savefig(plot, dpi=120)
    return rows


def measured(array: np.ndarray, name: str, device: str, seconds: float, **params: Any) -> float:
    """Images per second of a family's bare steps on pictures (N, R, R, 3)."""
    bench = Bench(array, device, seconds)
    return 1 / bench.step(*bench.setup(name, **params))[0]
