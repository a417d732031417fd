"""style.transfer: reads the styles, plans, optimises each picture from coarse to fine, and keeps its colours and transparency."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from genart import Batch, DataError, DivergedError, Images, ResourceError, Run
from genart.nn import budget
from genart.nn.vgg import VGG

from . import colour, memory, schedule
from ._transfer import TransferParams
from .film import Carried, preroll_count, walk
from .memory import Plan
from .objective import Anchor, Objective, Weights, content_features
from .optimizers import LBFGS, Adam, Optimizer
from .scene import Look, Region, at_scale, check_layers, coverage, over_mean, read_picture, read_regions, read_styles, resized, with_detail
from .schedule import Size
from .statistics import Terms
from .tiles import tiles

DEFAULT_BUDGET_SEC = 120.0
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Frames of the progress film per size.
FRAMES = 12
#: The first frame of a film is given the time of so many others: they only go on from the one before.
FIRST_FRAME = 4
#: Iterations of a frame that goes on from the one before, as a share of those that the last size of a picture has.
CARRIED = 0.5
#: Choice that is made when a film is done: what its frames' iterations are not said of ended as planned.
PAINTED = "frames painted"

T = TypeVar("T")


@dataclass
class Log:
    """Where the work is: what a checkpoint keeps beside the tensors."""

    picture: int = 0
    scale: int = 0
    iteration: int = 0
    frames: int = 0
    elapsed_sec: float = 0.0
    #: seconds of an iteration per pixel, as last measured
    pixel_sec: float | None = None


@dataclass(frozen=True)
class Task:
    """One picture to paint: everything about it that doesn't change from size to size.

    Attributes:
        content: (1, 3, H, W) at the size of the result.
        guide: the same, or its luminance where only that is painted.
        alpha: (1, 1, H, W), or None.
        regions: where which styles go.
        sizes: from coarse to fine.
        carried: the frame before, where the film goes on from it.
    """

    content: Tensor
    guide: Tensor
    alpha: Tensor | None
    regions: Sequence[Region]
    sizes: Sequence[Size]
    carried: Carried | None = None

    @property
    def size(self) -> Size:
        """Height and width of the result."""
        return self.sizes[-1]


def transfer(images: Images, params: TransferParams, run: Run) -> Iterator[Batch]:
    """Transfer the styles to every picture; see the stage."""
    backbone = run.backbone(params.backbone)
    for name in ("content_layers", "style_layers"):
        check_layers(backbone, params.backbone, getattr(params, name), f"{run.stage_id}.{name}")
    count = images.count if images.count is not None else len(images)
    # a run that goes on at a later picture is given only those from there on
    run.expect(count, images.fps)
    painter = Painter(backbone, params, run, count)
    if params.temporal:
        yield from walk(images, run, painter.paint, loop=params.loop, repaint=painter.has_moving_masks)
        if painter.seconds is not None:
            run.choose(PAINTED, lambda: count)
        return
    for batch in images.batches(1):
        yield batch.with_pixels(painter.paint(batch, None))


class Painter:
    """Paints pictures one after another.

    Args:
        backbone: gives the features.
        params: of the stage.
        run: checkpoints, choices, progress.
        count: number of pictures, among which the budget is divided.
    """

    def __init__(self, backbone: Any, params: TransferParams, run: Run, count: int) -> None:
        self.backbone, self.params, self.run, self.count = backbone, params, run, max(1, count)
        #: when the time of the picture at hand began to run, and when the one before it was done
        self.began = 0.0
        self._free_since: float | None = None
        self.log = Log()
        self.layers = list(dict.fromkeys([*params.style_layers, *params.content_layers]))
        self.strides = {layer: int(backbone.stride(layer)) for layer in self.layers}
        self.halo, self.least = memory.halo_and_stride(backbone, self.layers)
        if isinstance(backbone, VGG):
            backbone.precision = PRECISIONS[run.choose("precision", self._precision)]
        self.styles = read_styles(params, run, backbone)
        self.statistics = [run.extension("genart_statistics", name) for name in params.statistic]
        self._targets: tuple[Any, list[list[Terms]]] | None = None
        self._plans: dict[Size, Plan] = {}
        self._told: set[Size] = set()
        ahead = preroll_count(self.count) if params.temporal and params.loop else 0
        #: index of the picture that is painted first
        self.first = -ahead
        self.seconds = params.budget or (None if params.iterations else DEFAULT_BUDGET_SEC * (self.count + ahead))
        self.budget_sec: float | None = None

    @property
    def has_moving_masks(self) -> bool:
        """True if a stage gives each picture a mask of its own."""
        sides = (self.run.sides.get(str(path)) for path in self.params.mask)
        return any(isinstance(side, Images) and len(side) > 1 for side in sides)

    def _precision(self) -> str:
        if self.params.precision == "auto":
            return "bf16" if budget.gains_from_bfloat16(self.run.device) else "fp32"
        return self.params.precision

    # one picture

    def paint(self, batch: Batch, carried: Carried | None) -> Tensor:
        """Paint the one picture of a batch: (1, 3 or 4, H, W) in [0, 1].

        Args:
            batch: of one picture.
            carried: of a film, the result for the frame before, carried along with the motion.
        """
        if self._free_since is None or not self.params.temporal:  # neither the start nor waiting for a picture is work on it
            self._free_since = time.monotonic()
        index = batch.index[0]
        self.budget_sec = self._share(index)
        pixels = batch.pixels.to(self.run.device)
        given, alpha = over_mean(pixels[:, :3], pixels[:, 3:])
        self.log, saved = self._resume(index)
        self.began = self._free_since - self.log.elapsed_sec
        task = self._task(given, alpha, carried, index)
        self._tell(task.size)
        if not self.params.temporal:
            self._settle(task)
        image = self._finish(task, self._paint(task, index, saved))
        self._frame(image, task)
        if index == self.first:
            self.run.sink("progress").sync()
        if (peak := memory.peak()) is not None:
            planned = self.plan(task.size).planned_mb
            self.run.metric(picture=index, peak_mb=round(peak / 1e6, 1), **({} if planned is None else {"planned_mb": planned}))
        self._free_since = time.monotonic()
        return image.cpu() if alpha is None else torch.cat([image, resized(alpha, task.size)], 1).cpu()

    def _share(self, index: int) -> float | None:
        """Seconds of the budget for a picture; the frame with which a film begins, from which the others go on, has more of them."""
        if self.seconds is None:
            return None
        if not self.params.temporal:
            return self.seconds / self.count
        return self.seconds / (self.count - self.first + FIRST_FRAME - 1) * (FIRST_FRAME if index == self.first else 1)

    def _task(self, given: Tensor, alpha: Tensor | None, carried: Carried | None, index: int) -> Task:
        regions = read_regions(self.params.mask, self.styles, (given.shape[2], given.shape[3]), self.run, index, self.count)
        sizes = self.sizes(given, regions)
        content = resized(given, sizes[-1])
        guide = colour.luminance(content) if self.params.preserve_color == "luminance" else content
        return Task(content, guide, alpha, regions, sizes if carried is None else sizes[-1:], carried)

    def _paint(self, task: Task, index: int, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> Tensor:
        """Optimise from coarse to fine; returns (1, 3, H, W)."""
        sizes = task.sizes
        image = self._start(task, sizes[self.log.scale], index)  # a checkpoint brings its own
        optimizer: Optimizer | None = None
        for k in range(self.log.scale, len(sizes)):
            objective = self.objective(task, k)
            before, optimizer = optimizer, self.new_optimizer(image, k, len(sizes))
            if saved is not None:
                optimizer.restore({name: value.to(self.run.device) for name, value in saved[0].items()}, saved[1])
                saved = None
            elif before is not None:
                optimizer.carry(before)
            self._optimise(optimizer, objective, task, k)
            image = optimizer.best.clamp(0, 1)
            if k + 1 < len(sizes):
                image = with_detail(image, task.guide, sizes[k + 1])
                self.log.scale, self.log.iteration = k + 1, 0
        return image

    def _finish(self, task: Task, image: Tensor) -> Tensor:
        """Give a painted picture its colours back where they are kept, and the content where no mask shows."""
        size = (image.shape[2], image.shape[3])
        if self.params.preserve_color == "luminance":
            image = colour.with_luminance(resized(task.content, size), image)
        shown = coverage(task.regions, size)
        return image if shown is None else image * shown + resized(task.content, size) * (1 - shown)

    # sizes and memory

    def sizes(self, given: Tensor, regions: Sequence[Region]) -> list[Size]:
        """Sizes from coarse to fine; under a budget the last is the largest that it is enough for, unless it is told.

        Raises:
            DataError: if the picture is too small for the layers, or the budget for anything.
        """
        own: Size = (given.shape[2], given.shape[3])
        size = schedule.fitted(own, self.params.resolution) if self.params.resolution else own
        if min(size) < self.least:
            raise DataError(
                f"{self.run.stage_id}: a picture of {size[1]}x{size[0]} pixels is too small: the deepest layer needs {self.least}",
                "give `resolution = 256` to enlarge it, or shallower layers",
            )
        if self.budget_sec is not None:
            name = f"size for {own[1]}x{own[0]}"
            height, width = self.run.choose(name, lambda: list(self._affordable(given, size, regions)))
            size = (height, width)
            if max(size) < max(own) and self.params.resolution is None:
                self.run.warn(
                    f"{self.budget_sec:.0f} s are enough for {size[1]}x{size[0]} of {own[1]}x{own[0]} pixels; "
                    "`resolution` sets another size, a longer `budget` allows more"
                )
        return schedule.ladder(size, self.params.scales)

    def _affordable(self, given: Tensor, size: Size, regions: Sequence[Region]) -> Size:
        """Measure an iteration at the smallest size and choose the last one; also checks that there is time for anything."""
        assert self.budget_sec is not None
        smallest = schedule.ladder(size, self.params.scales)[0]
        small = resized(given, smallest)
        objective = self.objective(Task(small, small, None, regions, [smallest]), 0)
        seconds = budget.seconds_per_call(lambda: objective(small), self.run.device, 0.01 * self.budget_sec, warmup=1)
        self.log.pixel_sec = seconds / (smallest[0] * smallest[1])
        self._targets = None  # its colours were matched to a smaller picture
        spent = self.elapsed_sec if self.count == 1 else 0.0  # what was measured at one picture holds for all
        left = self.budget_sec * budget.PLANNED - spent
        chosen = size if self.params.resolution else schedule.largest_affordable(left, self.log.pixel_sec, size)
        needed = 2 * self.log.pixel_sec * self.plan(chosen).cost * chosen[0] * chosen[1]  # its targets take as long as an iteration
        if needed <= self.budget_sec - spent:
            return chosen
        short = f"a budget of {self.budget_sec:.2g} s per picture is too small: one iteration at {chosen[1]}x{chosen[0]} takes about"
        if self.count == 1 or self.params.resolution is not None:
            raise DataError(f"{self.run.stage_id}: {short} {needed:.2g} s", "give a longer `budget` or a smaller `resolution`")
        self.run.warn(f"{short} {needed / 2:.2g} s; each gets one, which takes {needed / 2 * self.count:.0f} s in all")
        return chosen

    def plan(self, size: Size) -> Plan:
        """How an iteration at a size is computed so that the memory is enough.

        Raises:
            ResourceError: if no way fits.
        """
        if size not in self._plans:
            made: list[Plan] = []

            def choice() -> dict[str, Any]:
                made.append(self._fitting(size))
                return made[0].as_json()

            chosen = self.run.choose(f"memory at {size[1]}x{size[0]}", choice)
            self._plans[size] = made[0] if made else Plan(**chosen)
        return self._plans[size]

    def _settle(self, task: Task) -> None:
        """Choose all that pictures of a size have in common, so that other workers can begin with theirs."""
        for size in task.sizes:
            self._take_routes(size, self.plan(size))
        self.run.apart(1)

    def _tell(self, size: Size) -> None:
        """Say, before the first picture of a size is begun, how much memory it will take."""
        if size not in self._told:
            self._told.add(size)
            self.run.note(f"{size[1]}x{size[0]}: {self.plan(size)}")

    def _fitting(self, size: Size) -> Plan:
        per_pixel = {again: memory.bytes_kept(self.backbone, self.layers, self.run.device, checkpointing=again) for again in (False, True)}
        base = memory.resident() + memory.kept_features(self.backbone, self.params.content_layers, size)
        limit = self.params.memory or memory.available(self.run.device)
        adam = "lbfgs" not in self.params.optimizer
        found = memory.fitting(size, limit, base, per_pixel, self.halo, self.least, adam=adam)
        if found is None:
            raise ResourceError(
                f"{self.run.stage_id}: {limit / 1e9:.2g} GB of memory are not enough for {size[1]}x{size[0]} pixels in the smallest tiles",
                "raise `memory`, give a smaller `resolution`, or take optimizer = 'adam', which remembers less",
            )
        return found

    # the loss

    def objective(self, task: Task, k: int) -> Objective:
        """The loss at size k; the styles' statistics are computed once per size, or picture where its colours matter."""
        size, last = task.sizes[k], len(task.sizes) - 1
        plan = self.plan(size)
        self._take_routes(size, plan)
        look = self.look(plan, k, last + 1)
        guide = resized(task.guide, size)
        pieces = tiles(size, plan.tile, stride=self.least, halo=self.halo)
        kept = content_features(look.extract, guide, pieces, self.params.content_layers, self.strides)
        style = look.terms(self._style_targets(look, task, size), task.regions, size, task.alpha)
        weights = Weights(self.params.content_weight, self.params.style_weight, self.params.tv_weight, self.params.temporal_weight)
        carried = task.carried
        anchor = None if carried is None else Anchor(self._anchored(carried.image), carried.weight)
        return Objective(look.extract, self.strides, pieces, kept, style, weights, anchor)

    def _anchored(self, image: Tensor) -> Tensor:
        return colour.luminance(image) if self.params.preserve_color == "luminance" else image

    def look(self, plan: Plan, k: int, sizes: int) -> Look:
        """How pictures are looked at, at size k of so many."""

        def extract(image: Tensor, layers: Sequence[str]) -> Any:
            if isinstance(self.backbone, VGG):
                return self.backbone(image, layers, checkpointing=plan.checkpointing)
            return self.backbone(image, layers)

        index = self.log.picture
        statistic = scheduled(self.statistics, k, sizes)
        return Look(
            extract,
            self.strides,
            self.params.style_layers,
            statistic,
            plan.tile,
            self.halo,
            lambda label: self.run.generator(label, index % self.count if label.startswith("region") else None),
            self.params.style_layer_weights,
        )

    def _style_targets(self, look: Look, task: Task, size: Size) -> list[list[Terms]]:
        depends = self.params.preserve_color != "none"
        key = (size, look.statistic, self.log.picture if depends else None)
        if self._targets is None or self._targets[0] != key:
            found = []
            for r, region in enumerate(task.regions):
                pictures = [(self._coloured(at_scale(s, size, self.least), task.content), s.share) for s in region.styles]
                found.append(look.target(pictures, f"style {r}"))
            self._targets = key, found
        return self._targets[1]

    def _coloured(self, style: Tensor, content: Tensor) -> Tensor:
        keep = self.params.preserve_color
        if keep == "match":
            return colour.match_colours(style, content)
        if keep == "histogram":
            return colour.match_histograms(style, content)
        if keep == "luminance":
            return colour.match_luminance(colour.luminance(style), colour.luminance(content))
        return style

    def _take_routes(self, size: Size, plan: Plan) -> None:
        """Let the network convolve by the fastest way for this size, as measured once."""
        net = self.backbone
        if isinstance(net, VGG) and net.precision == torch.float32 and self.run.device == "cpu":
            shown = tiles(size, plan.tile, stride=self.least, halo=self.halo)[0]
            seen = (shown.rows.last - shown.rows.first, shown.columns.last - shown.columns.first)
            deepest = max(self.layers, key=net.layers.index)
            routes = self.run.choose(f"convolutions at {seen[1]}x{seen[0]}", lambda: net.fastest(seen, deepest))
            net.routes = frozenset((str(name), int(height), int(width)) for name, height, width in routes)

    def _start(self, task: Task, size: Size, index: int) -> Tensor:
        """The picture before the first iteration; of a film, what is carried over from the frame before lies on it."""
        if task.carried is not None:
            fresh = task.guide if self.params.init == "noise" else self._fresh(task, size, index)
            return Carried(self._anchored(task.carried.image), task.carried.weight).over(fresh)
        return self._fresh(task, size, index)

    def _fresh(self, task: Task, size: Size, index: int) -> Tensor:
        guide = task.guide
        if self.params.init_image is not None:
            start = read_picture(self.params.init_image, self.run, index, self.count)
            return resized(self._anchored(start.to(guide)), size)
        if self.params.init == "noise":
            noise = torch.randn(1, 3, *size, generator=self.run.generator("noise", index % self.count))
            return (0.5 + 0.1 * noise).clamp(0, 1).to(guide)
        if self.params.init == "instant":
            from .instant import stylized

            return self._anchored(stylized(resized(task.content, size), task.regions, self.run.device))
        return resized(guide, size)

    def new_optimizer(self, image: Tensor, k: int, sizes: int) -> Optimizer:
        """A fresh optimiser of a picture at size k of so many."""
        image = image.contiguous()
        if scheduled(self.params.optimizer, k, sizes) == "adam":
            return Adam(image, self.params.lr)
        return LBFGS(image, self.plan((image.shape[2], image.shape[3])).history)

    # iterations at one size

    def _optimise(self, optimizer: Optimizer, objective: Objective, task: Task, k: int) -> None:
        """Iterate at size k until its iterations are done or the time is up.

        Raises:
            DivergedError: if the loss is not finite.
            Interrupted: after Ctrl-C, when the iteration is finished and everything is saved.
        """
        log, run, size = self.log, self.run, task.sizes[k]
        total = self._iterations(optimizer, objective, task, k)
        done_before = self._done_before(task, size, total)
        every = max(1, total // FRAMES)
        since, done = time.monotonic(), 0
        while log.iteration < (total if done_before is None else done_before):
            if done_before is None and log.iteration and self._late(size):
                break
            loss = optimizer.step(objective)
            if not np.isfinite(loss):
                raise DivergedError(f"{run.stage_id}: the loss is no longer finite", "lower `lr` or the weights")
            log.iteration += 1
            done += 1
            log.pixel_sec = (time.monotonic() - since) / done / (size[0] * size[1]) / self.plan(size).cost
            if log.iteration % every == 0:
                self._frame(self._finish(task, optimizer.best.clamp(0, 1)), task)
                run.metric(picture=log.picture, longer_side=max(size), iteration=log.iteration, loss=loss, **objective.losses)
            run.progress(max(0, log.picture) + self._fraction(task, k, total), self.count)
            if run.stopping:
                self._save(optimizer)
                run.check()
            elif run.checkpoints.due():
                self._save(optimizer)
        if self.budget_sec is not None and (task.carried is None or log.iteration != total):
            run.choose(f"{schedule.name_of(log.picture, size)}, done", lambda: log.iteration)

    def _done_before(self, task: Task, size: Size, total: int) -> int | None:
        """Where the run that a remake follows ended, as this one is to, whatever its own time; None where there is no such run."""
        choices = self.run.choices
        as_planned = total if task.carried is not None and PAINTED in choices else None
        return choices.get(f"{schedule.name_of(self.log.picture, size)}, done", as_planned)

    def _iterations(self, optimizer: Optimizer, objective: Objective, task: Task, k: int) -> int:
        """Iterations at size k: as told, or as many as the time left for it is enough for, which is remembered."""
        if self.params.iterations is not None:
            planned = schedule.planned(self.params.iterations, task.sizes, k)
            return planned if task.carried is None else max(1, round(CARRIED * planned))
        picture, size = self.log.picture, task.sizes[k]
        name = schedule.name_of(picture, size)
        if task.carried is not None:
            name = schedule.name_in_common(picture, size, self.first, self.run.choices)
        return int(self.run.choose(name, lambda: self._affordable_iterations(optimizer, objective, task, k)))

    def _affordable_iterations(self, optimizer: Optimizer, objective: Objective, task: Task, k: int) -> int:
        assert self.budget_sec is not None
        sizes = task.sizes
        cost = self.plan(sizes[k]).cost
        if self.log.pixel_sec is None:
            seconds = budget.seconds_per_call(lambda: objective(optimizer.best), self.run.device, 0, warmup=1)
            self.log.pixel_sec = seconds / (sizes[k][0] * sizes[k][1]) / cost
        # what holds for many frames leaves some time for those that take a little longer
        left = self.budget_sec * (budget.DEADLINE if task.carried is None else budget.PLANNED) - self.elapsed_sec
        return schedule.affordable(max(0.0, left), self.log.pixel_sec * cost * sizes[k][0] * sizes[k][1], sizes, k)

    @property
    def elapsed_sec(self) -> float:
        """Seconds of work on this picture, over all resumes."""
        return time.monotonic() - self.began

    def _late(self, size: Size) -> bool:
        """True if another iteration would end after the deadline."""
        if self.budget_sec is None:
            return False
        needed = (self.log.pixel_sec or 0) * self.plan(size).cost * size[0] * size[1]
        return self.elapsed_sec + needed > self.budget_sec * budget.DEADLINE

    def _fraction(self, task: Task, k: int, total: int) -> float:
        """Share of this picture's work that is done."""
        if self.budget_sec is not None and self.params.iterations is None:
            return min(0.999, self.elapsed_sec / self.budget_sec)
        work = [h * w * schedule.planned(self.params.iterations or 1, task.sizes, j) for j, (h, w) in enumerate(task.sizes)]
        return min(0.999, (sum(work[:k]) + work[k] * self.log.iteration / total) / sum(work))

    # telling and keeping

    def _frame(self, image: Tensor, task: Task) -> None:
        """Show the picture so far; of the first one, keep a frame for the film."""
        shown = resized(image, task.size)
        self.run.preview(shown)
        if self.log.picture == self.first:
            self.run.sink("progress").append(Batch(shown.cpu(), [{"scale": self.log.scale, "iteration": self.log.iteration}]))
            self.log.frames += 1

    def _save(self, optimizer: Optimizer) -> None:
        if self.log.picture == self.first:
            self.run.sink("progress").sync()
        tensors, scalars = optimizer.state()
        self.run.checkpoints.save(tensors, {"log": asdict(self.log) | {"elapsed_sec": self.elapsed_sec}, "optimizer": scalars})

    def _resume(self, picture: int) -> tuple[Log, tuple[dict[str, Tensor], dict[str, Any]] | None]:
        """Return the checkpoint of this picture, if there is one, and cut the film to it."""
        saved = self.run.checkpoints.load()
        if saved is not None and saved[1]["log"]["picture"] != picture:
            saved = None
        speed = self.log.pixel_sec if self.params.temporal else None  # of the frame before
        log = Log(**saved[1]["log"]) if saved is not None else Log(picture=picture, pixel_sec=speed)
        if picture == self.first:
            self.run.sink("progress").truncate(log.frames)
        return log, None if saved is None else (saved[0], saved[1]["optimizer"])


def scheduled(values: Sequence[T], k: int, sizes: int) -> T:
    """The value for size k of so many, where a list is spread over the sizes from coarse to fine; its last is the last size's."""
    return values[len(values) - 1 - (sizes - 1 - k) * len(values) // sizes]
