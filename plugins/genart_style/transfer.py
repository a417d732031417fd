"""style.transfer: reads the styles, plans, optimises each picture from coarse to fine, and keeps its colours and transparency."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genart import Batch, DataError, DivergedError, Images, Run, did_you_mean
from genart.nn import budget
from genart.nn.pictures import Unreadable, Want, decode
from genart.nn.samples import FILES, data_folder

from . import TransferParams, colour, schedule
from .objective import Objective, Weights, style_target
from .optimizers import LBFGS, Adam, Optimizer
from .schedule import Size
from .statistics import STATISTICS, Terms

DEFAULT_BUDGET_SEC = 120.0
#: Frames of the progress film per size.
FRAMES = 12


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
class Style:
    """One style: (1, 3, H, W) in [0, 1], its share of the whole, and its name for messages."""

    picture: Tensor
    share: float
    name: str


def transfer(images: Images, params: TransferParams, run: Run) -> Iterator[Batch]:
    """Transfer the styles to every picture; see the stage."""
    began = time.monotonic()
    backbone = run.backbone(params.backbone)
    check_layers(params, run, backbone)
    styles = read_styles(params, run, backbone)
    count = images.count if images.count is not None else len(images)
    # a run that goes on at a later picture is given only those from there on
    run.expect(count, images.fps)
    painter = Painter(backbone, styles, params, run, count)
    for batch in images.batches(1):
        result = painter.paint(batch, began)
        if batch.index[0] == 0:
            run.sink("progress").sync()
        yield result
        began = time.monotonic()


def check_layers(params: TransferParams, run: Run, backbone: Any) -> None:
    """Refuse layers that the backbone doesn't have.

    Raises:
        DataError: naming the parameter, the layer and the nearest name.
    """
    known = backbone.layers
    for name in ("content_layers", "style_layers"):
        for layer in getattr(params, name):
            if layer not in known:
                raise DataError(
                    f"{run.stage_id}.{name}: {params.backbone} has no layer '{layer}'{did_you_mean(layer, known)}",
                    f"layers: {', '.join(known)}",
                )


def read_styles(params: TransferParams, run: Run, backbone: Any) -> list[Style]:
    """Read the styles, the embedded ones too.

    Raises:
        DataError: if one cannot be read or is too small for the layers.
    """
    files = [*params.style, *(data_folder() / FILES[name] for name in params.style_photos)]
    weights = params.style_weights or (1.0,) * len(files)
    least = max(backbone.stride(layer) for layer in params.style_layers)
    styles = []
    for path, weight in zip(files, weights, strict=True):
        picture = read_picture(path, run)
        height, width = picture.shape[2:]
        if min(height, width) < least:
            raise DataError(
                f"{path.name}: a style of {width}x{height} pixels is too small: {params.style_layers[-1]} sees nothing below {least}",
                "take a larger picture, or shallower `style_layers`",
            )
        field = max(backbone.receptive_field(layer) for layer in params.style_layers)
        if min(height, width) < field:
            run.warn(f"{path.name} is only {width}x{height} pixels, less than the deepest layer looks at ({field}): large forms are lost")
        styles.append(Style(picture.to(run.device), weight / sum(weights), path.name))
    return styles


def read_picture(path: Path, run: Run) -> Tensor:
    """Read a picture as (1, 3, H, W) in [0, 1]: upright, sRGB, transparency over white.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        array = decode(path, Want())
    except Unreadable as error:
        raise DataError(f"{run.stage_id}: {path.name} cannot be read: {error}", "give a PNG, JPEG, WebP, GIF, BMP or TIFF") from error
    return Batch.from_array(np.asarray(array)[None]).pixels


def resized(image: Tensor, size: Size) -> Tensor:
    """Bring (N, C, H, W) to another size, bicubic, antialiased where it shrinks."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def at_scale(style: Style, size: Size, style_scale: float, least: int) -> Tensor:
    """Bring a style to the area of `size` times `style_scale` along a side: never larger than it is, nor below `least` pixels."""
    height, width = style.picture.shape[2:]
    factor = style_scale * ((size[0] * size[1]) / (height * width)) ** 0.5
    factor = min(1.0, max(factor, least / min(height, width)))
    return resized(style.picture, (max(least, round(height * factor)), max(least, round(width * factor))))


class Painter:
    """Paints pictures one after another.

    Args:
        backbone: gives the features.
        styles: to blend.
        params: of the stage.
        run: checkpoints, choices, progress.
        count: number of pictures, among which the budget is divided.
    """

    def __init__(self, backbone: Any, styles: list[Style], params: TransferParams, run: Run, count: int) -> None:
        self.backbone, self.styles, self.params, self.run, self.count = backbone, styles, params, run, max(1, count)
        self.log = Log()
        self._targets: tuple[Any, dict[str, Terms]] | None = None
        layers = (*params.style_layers, *params.content_layers)
        self.least = max(backbone.stride(layer) for layer in layers)
        seconds = params.budget or (None if params.iterations else DEFAULT_BUDGET_SEC * self.count)
        self.budget_sec = seconds and seconds / self.count

    # one picture

    def paint(self, batch: Batch, began: float) -> Batch:
        """Paint the one picture of a batch; `began` is when its time began to run."""
        pixels = batch.pixels.to(self.run.device)
        given, alpha = over_mean(pixels[:, :3], pixels[:, 3:])
        self.log, saved = self._resume(batch.index[0])
        self.began = began - self.log.elapsed_sec
        sizes = self.sizes(given)
        content = resized(given, sizes[-1])
        guide = colour.luminance(content) if self.params.preserve_color == "luminance" else content
        image = self._start(guide, sizes[self.log.scale], batch.index[0])  # a checkpoint brings its own
        optimizer: Optimizer | None = None
        for k in range(self.log.scale, len(sizes)):
            objective = self.objective(resized(guide, sizes[k]), content)
            before, optimizer = optimizer, self.new_optimizer(image)
            if saved is not None:
                optimizer.restore({name: value.to(self.run.device) for name, value in saved[0].items()}, saved[1])
                saved = None
            elif isinstance(before, Adam) and isinstance(optimizer, Adam):
                optimizer.carry(before)
            self._optimise(optimizer, objective, sizes, k)
            image = optimizer.best.clamp(0, 1)
            if k + 1 < len(sizes):
                image = with_detail(image, guide, sizes[k + 1])
                self.log.scale, self.log.iteration = k + 1, 0
        if self.params.preserve_color == "luminance":
            image = colour.with_luminance(content, image)
        self._frame(image, sizes[-1])
        if alpha is not None:
            image = torch.cat([image, resized(alpha, sizes[-1])], 1)
        return batch.with_pixels(image.cpu())

    def sizes(self, given: Tensor) -> list[Size]:
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
            height, width = self.run.choose(name, lambda: list(self._affordable(given, size)))
            size = (height, width)
            if max(size) < max(own) and self.params.resolution is None:
                self.run.warn(
                    f"{self.budget_sec:.0f} s are enough for {size[1]}x{size[0]} of {own[1]}x{own[0]} pixels; "
                    "`resolution` sets another size, a longer `budget` allows more"
                )
        return schedule.ladder(size, self.params.scales)

    def _affordable(self, given: Tensor, size: Size) -> Size:
        """Measure an iteration at the smallest size and choose the last one; also checks that there is time for anything."""
        assert self.budget_sec is not None
        smallest = schedule.ladder(size, self.params.scales)[0]
        small = resized(given, smallest)
        objective = self.objective(small, small)
        seconds = budget.seconds_per_call(lambda: objective(small), self.run.device, 0.01 * self.budget_sec, warmup=1)
        self.log.pixel_sec = seconds / (smallest[0] * smallest[1])
        self._targets = None  # its colours were matched to a smaller picture
        left = self.budget_sec * budget.PLANNED - self.elapsed_sec
        chosen = size if self.params.resolution else schedule.largest_affordable(left, self.log.pixel_sec, size)
        needed = 2 * self.log.pixel_sec * chosen[0] * chosen[1]  # its targets take about as long as one iteration
        if needed > self.budget_sec - self.elapsed_sec:
            raise DataError(
                f"{self.run.stage_id}: a budget of {self.budget_sec:.3g} s per picture is too small: "
                f"{self.elapsed_sec:.2g} s are spent on the start, and one iteration at {chosen[1]}x{chosen[0]} takes about {needed:.2g} s",
                "give a longer `budget` or a smaller `resolution`",
            )
        return chosen

    def objective(self, guide: Tensor, content: Tensor) -> Objective:
        """The loss at the size of `guide`; the styles' statistics are computed once per size, or picture where its colours matter."""
        params, size = self.params, (guide.shape[2], guide.shape[3])
        key = (size, self.log.picture if params.preserve_color != "none" else None)
        if self._targets is None or self._targets[0] != key:
            pictures = [self._coloured(at_scale(style, size, params.style_scale, self.least), content) for style in self.styles]
            shares = [style.share for style in self.styles]
            self._targets = key, style_target(self.backbone, STATISTICS[params.statistic], params.style_layers, pictures, shares)
        weights = Weights(params.content_weight, params.style_weight, params.tv_weight)
        return Objective(self.backbone, STATISTICS[params.statistic], guide, params.content_layers, self._targets[1], weights)

    def _coloured(self, style: Tensor, content: Tensor) -> Tensor:
        if self.params.preserve_color == "match":
            return colour.match_colours(style, content)
        if self.params.preserve_color == "luminance":
            return colour.match_luminance(colour.luminance(style), colour.luminance(content))
        return style

    def _start(self, guide: Tensor, size: Size, index: int) -> Tensor:
        """The picture before the first iteration."""
        if self.params.init_image is not None:
            return resized(read_picture(self.params.init_image, self.run).to(guide), size)
        if self.params.init == "noise":
            noise = torch.randn(1, 3, *size, generator=self.run.generator("noise", index))
            return (0.5 + 0.1 * noise).clamp(0, 1).to(guide)
        return resized(guide, size)

    def new_optimizer(self, image: Tensor) -> Optimizer:
        """A fresh optimiser of a picture."""
        image = image.contiguous()
        return LBFGS(image) if self.params.optimizer == "lbfgs" else Adam(image, self.params.lr)

    # iterations at one size

    def _optimise(self, optimizer: Optimizer, objective: Objective, sizes: list[Size], k: int) -> None:
        """Iterate at size k until its iterations are done or the time is up.

        Raises:
            DivergedError: if the loss is not finite.
            Interrupted: after Ctrl-C, when the iteration is finished and everything is saved.
        """
        log, run = self.log, self.run
        pixels = sizes[k][0] * sizes[k][1]
        name = f"iterations of picture {log.picture} at {sizes[k][1]}x{sizes[k][0]}"
        total = self._iterations(name, optimizer, objective, sizes, k)
        done_before = run.choices.get(f"{name}, done")  # a remake ends where the run that it follows ended, whatever its own time
        every = max(1, total // FRAMES)
        since, done = time.monotonic(), 0
        while log.iteration < (total if done_before is None else done_before):
            if done_before is None and log.iteration and self._late(pixels):
                break
            loss = optimizer.step(objective)
            if not np.isfinite(loss):
                raise DivergedError(f"{run.stage_id}: the loss is no longer finite", "lower `lr` or the weights")
            log.iteration += 1
            done += 1
            log.pixel_sec = (time.monotonic() - since) / done / pixels
            if log.iteration % every == 0:
                self._frame(optimizer.best, sizes[-1])
                run.metric(picture=log.picture, longer_side=max(sizes[k]), iteration=log.iteration, loss=loss, **objective.losses)
            run.progress(log.picture + self._fraction(sizes, k, total), self.count)
            if run.stopping:
                self._save(optimizer)
                run.check()
            elif run.checkpoints.due():
                self._save(optimizer)
        if self.budget_sec is not None:
            run.choose(f"{name}, done", lambda: log.iteration)

    def _iterations(self, name: str, optimizer: Optimizer, objective: Objective, sizes: list[Size], k: int) -> int:
        """Iterations at size k: as told, or as many as the time left for it is enough for, which is remembered as `name`."""
        if self.params.iterations is not None:
            return schedule.planned(self.params.iterations, sizes, k)
        return int(self.run.choose(name, lambda: self._affordable_iterations(optimizer, objective, sizes, k)))

    def _affordable_iterations(self, optimizer: Optimizer, objective: Objective, sizes: list[Size], k: int) -> int:
        assert self.budget_sec is not None
        if self.log.pixel_sec is None:
            seconds = budget.seconds_per_call(lambda: objective(optimizer.best), self.run.device, 0, warmup=1)
            self.log.pixel_sec = seconds / (sizes[k][0] * sizes[k][1])
        left = self.budget_sec * budget.DEADLINE - self.elapsed_sec
        return schedule.affordable(max(0.0, left), self.log.pixel_sec * sizes[k][0] * sizes[k][1], sizes, k)

    @property
    def elapsed_sec(self) -> float:
        """Seconds of work on this picture, over all resumes."""
        return time.monotonic() - self.began

    def _late(self, pixels: int) -> bool:
        """True if another iteration would end after the deadline."""
        return self.budget_sec is not None and self.elapsed_sec + (self.log.pixel_sec or 0) * pixels > self.budget_sec * budget.DEADLINE

    def _fraction(self, sizes: list[Size], k: int, total: int) -> float:
        """Share of this picture's work that is done."""
        if self.budget_sec is not None and self.params.iterations is None:
            return min(0.999, self.elapsed_sec / self.budget_sec)
        work = [h * w * schedule.planned(self.params.iterations or 1, sizes, j) for j, (h, w) in enumerate(sizes)]
        return min(0.999, (sum(work[:k]) + work[k] * self.log.iteration / total) / sum(work))

    # telling and keeping

    def _frame(self, image: Tensor, size: Size) -> None:
        """Show the picture so far; of the first one, keep a frame for the film."""
        shown = resized(image.clamp(0, 1), size)
        self.run.preview(shown)
        if self.log.picture == 0:
            self.run.sink("progress").append(Batch(shown.cpu(), [{"scale": self.log.scale, "iteration": self.log.iteration}]))
            self.log.frames += 1

    def _save(self, optimizer: Optimizer) -> None:
        if self.log.picture == 0:
            self.run.sink("progress").sync()
        tensors, scalars = optimizer.state()
        self.run.checkpoints.save(tensors, {"log": asdict(self.log) | {"elapsed_sec": self.elapsed_sec}, "optimizer": scalars})

    def _resume(self, picture: int) -> tuple[Log, tuple[dict[str, Tensor], dict[str, Any]] | None]:
        """Return the checkpoint of this picture, if there is one, and cut the film to it."""
        saved = self.run.checkpoints.load()
        if saved is not None and saved[1]["log"]["picture"] != picture:
            saved = None
        log = Log(**saved[1]["log"]) if saved is not None else Log(picture=picture)
        if picture == 0:
            self.run.sink("progress").truncate(log.frames)
        return log, None if saved is None else (saved[0], saved[1]["optimizer"])


def with_detail(image: Tensor, guide: Tensor, size: Size) -> Tensor:
    """Enlarge the picture so far and add what of the content no smaller size can show.

    The detail is the content less its own reduced and enlarged self; without it a new size would begin blurred, and spend most of its
    iterations on getting back what the content holds ready.
    """
    content = resized(guide, size)
    small = F.interpolate(content, size=image.shape[2:], mode="bicubic", align_corners=False, antialias=True)
    blurred = F.interpolate(small, size=size, mode="bicubic", align_corners=False)
    enlarged = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    return (enlarged + content - blurred).clamp(0, 1)


def over_mean(pixels: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor | None]:
    """Lay a picture over its own mean colour, so that nothing is painted of what transparency hides.

    Args:
        pixels: (1, 3, H, W).
        alpha: (1, 1, H, W), or (1, 0, H, W) for none.
    """
    if alpha.shape[1] == 0:
        return pixels, None
    mean = (pixels * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return pixels * alpha + mean * (1 - alpha), alpha
