"""style.learn: reads the styles, plans, trains a painter on pieces of the pictures, and writes the average of its weights."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from genart import Batch, DataError, DivergedError, Images, Model, Run
from genart.nn import budget, checkpoint, ema
from genart.nn.data import snapshot_places
from genart.nn.images import grid
from genart.nn.vgg import VGG

from . import schedule
from ._learn import LearnParams
from .apply import load_painter, paint, takes_bfloat16
from .networks import StyleNetwork, initialise
from .objective import Weights, total_variation
from .scene import Style, check_layers, over_mean, read_styles, resized
from .statistics import gram, relative_error

#: Time for a training that names neither a budget nor a number of iterations.
DEFAULT_BUDGET_SEC = 240.0
DEFAULT_WIDTH = 16
#: Pictures in a frame of the film, pixels along a side of each, and frames at most.
SHOWN, SHOWN_SIZE, FRAMES = 4, 192, 30
#: Iterations between two frames, on average, at least: so that they cost little of a short training.
ITERATIONS_PER_FRAME = 10
#: Entries of the history.
TICKS = 100
#: The learning rate rises over so many iterations, and falls over the last share of them to this share of itself.
WARMUP, DECAY_FROM, LAST_LR = 20, 0.5, 0.05
#: Share of a budget after which the number of iterations is chosen, if `WARMUP` iterations haven't been done by then.
MEASURED = 0.1
#: Momenta of Adam: a short memory of the gradient's size, since that falls a hundredfold in the first iterations.
BETAS = (0.9, 0.99)
#: Limit of the half-life of the weights' average, in thousands of pieces.
EMA_KIMG = 2.0
#: Weight of what lies outside [0, 1], as a mean square: it would be cut off in the picture, unseen by the other losses.
RANGE_WEIGHT = 1.0
#: A mean loss beyond this is an explosion, though not infinite yet.
EXPLODED = 1e4

LOSSES = ("content", "style", "tv", "range")


def learn(images: Images, params: LearnParams, run: Run) -> Model:
    """Train a painter; see the stage."""
    began = time.monotonic()
    backbone = run.backbone(params.backbone)
    for name in ("content_layers", "style_layers"):
        check_layers(backbone, params.backbone, getattr(params, name), f"{run.stage_id}.{name}")
    styles = read_styles(params, run, backbone)
    if len(images) == 0:
        raise DataError(f"{run.stage_id}: there are no pictures to learn on", "look at the stage before it; a few dozen make a good start")
    lesson = Lesson(backbone, styles, params, run)
    pieces = Pieces(images, params.resolution, run)
    painter = new_painter(params, run)
    training = Training(run, painter, lesson, pieces, params, began)
    training.train()
    return result(training, styles, params, run)


def new_painter(params: LearnParams, run: Run) -> StyleNetwork:
    """A painter with its seeded first weights, or those of the model that `init` names.

    Raises:
        DataError: if that model is no painter, or of another width than the one asked for.
    """
    if params.init is not None:
        painter = load_painter(run.open_model(params.init), run)
        if params.width not in (None, painter.width):
            raise DataError(
                f"{run.stage_id}: `width` is {params.width}, but the network of `init` has a width of {painter.width}",
                "leave out `width` to go on with that network",
            )
        return painter.requires_grad_(True).train()
    with torch.random.fork_rng(devices=[]):  # torch's layers draw first weights from the global stream; leave it as it was
        painter = StyleNetwork(params.width or DEFAULT_WIDTH)
    initialise(painter, run.generator("init"))
    return painter.to(run.device).to(memory_format=torch.channels_last)


class Pieces:
    """Square pieces of pictures of any size; those of an iteration depend on the seed and its number alone.

    Args:
        images: at least one.
        resolution: side of a piece in pixels. A piece shows from `resolution` pixels of a picture up to its whole shorter side.
        run: gives each iteration its random stream.
    """

    def __init__(self, images: Images, resolution: int, run: Run) -> None:
        self.images, self.resolution, self.run = images.settled(), resolution, run
        self.count = len(self.images)

    def batch(self, iteration: int, size: int) -> Tensor:
        """(size, 3, resolution, resolution) in [0, 1] on the run's device, channels last."""
        stream = self.run.generator("pieces", iteration)
        pieces = [self._piece(int(torch.randint(self.count, (), generator=stream)), torch.rand(4, generator=stream)) for _ in range(size)]
        return torch.cat(pieces).to(self.run.device).contiguous(memory_format=torch.channels_last)

    def _piece(self, index: int, draw: Tensor) -> Tensor:
        """Cut where `draw`, four numbers in [0, 1), says: how large, how low, how far right, and mirrored or not."""
        picture = self.images[index].array[0]
        size, down, right, mirror = draw.tolist()
        side = shorter = min(picture.shape[:2])
        if shorter > self.resolution:
            side = round(self.resolution + size * (shorter - self.resolution))
        piece = cut(picture, side, down, right, self.resolution)
        return piece.flip(3) if mirror < 0.5 else piece

    def shown(self) -> Tensor:
        """The middles of the first pictures, for the film: (up to 4, 3, 192, 192) in [0, 1]."""
        first = [self.images[index].array[0] for index in range(min(SHOWN, self.count))]
        return torch.cat([cut(picture, min(picture.shape[:2]), 0.5, 0.5, SHOWN_SIZE) for picture in first]).to(self.run.device)


def cut(picture: np.ndarray, side: int, down: float, right: float, resolution: int) -> Tensor:
    """Cut a square out of a picture and bring it to a size.

    Args:
        picture: (H, W, 3 or 4) uint8; transparency is filled with the mean colour.
        side: of the square in pixels.
        down: where it lies, from 0 at the top to 1 at the bottom.
        right: likewise, from 0 at the left.
        resolution: side of the result.

    Returns:
        (1, 3, resolution, resolution) float32 in [0, 1].
    """
    height, width = picture.shape[:2]
    top, left = round(down * (height - side)), round(right * (width - side))
    pixels = Batch.from_array(picture[None, top : top + side, left : left + side]).pixels
    return resized(over_mean(pixels[:, :3], pixels[:, 3:])[0], (resolution, resolution))


class Lesson:
    """What a painter is taught: the loss of pictures and what it made of them (Johnson et al. 2016, section 3.2).

    L = content_weight * mean_l |F_l - P_l|^2 / |P_l|^2 + style_weight * mean_l |G_l - A_l|^2 / |A_l|^2 + tv_weight * TV + RANGE_WEIGHT * R
    with the features F and Gram matrices G of the painting, those of the picture P and of the style A, and R the mean square of what lies
    outside [0, 1]. As in style.transfer, and unlike in the paper, every term is divided by its target's energy.

    Args:
        backbone: maps pictures and layers to features.
        styles: to blend.
        params: layers, weights, and the size of the styles.
        run: its device.
    """

    def __init__(self, backbone: Any, styles: list[Style], params: LearnParams, run: Run) -> None:
        self.backbone, self.params, self.bfloat16 = backbone, params, takes_bfloat16(params.precision, run)
        self.weights = Weights(params.content_weight, params.style_weight, params.tv_weight)
        self.style: dict[str, Tensor] = {}
        for style in styles:
            with torch.no_grad():
                features = backbone(at_resolution(style.picture, params.style_resolution), params.style_layers)
            for layer in params.style_layers:
                self.style[layer] = self.style.get(layer, 0) + style.share * gram(features[layer])[0]
        if isinstance(backbone, VGG):  # only now: the style is measured once, and can be measured exactly
            backbone.precision = torch.bfloat16 if self.bfloat16 else torch.float32

    def autocast(self, images: Tensor) -> torch.autocast:
        """Context of the networks' passes."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16)

    def losses(self, painter: StyleNetwork, images: Tensor) -> Tensor:
        """The four losses, unweighted, of what a painter makes of pictures (N, 3, H, W): (4,), in the order of `LOSSES`."""
        layers = self.params.content_layers
        with self.autocast(images):
            with torch.no_grad():
                targets = self.backbone(images, layers)
            painted = painter(images)
            features = self.backbone(painted, [*layers, *self.style])
        content = [relative_error(features[layer].float(), targets[layer].float()) for layer in layers]
        style = []
        for layer, target in self.style.items():
            (value,) = gram(features[layer])
            style.append(relative_error(value, target.expand_as(value)))
        outside = (painted - painted.clamp(0, 1)).square().mean()
        return torch.stack([torch.stack(content).mean(), torch.stack(style).mean(), total_variation(painted), outside])

    def total(self, losses: Tensor) -> Tensor:
        """Weigh the four losses (4,) into one."""
        weights = [self.weights.content, self.weights.style, self.weights.tv, RANGE_WEIGHT]
        return losses @ losses.new_tensor(weights)


def at_resolution(picture: Tensor, longer: int) -> Tensor:
    """Bring the longer side of a style to `longer` pixels, never beyond its own."""
    size = (picture.shape[2], picture.shape[3])
    return resized(picture, schedule.fitted(size, longer)) if longer < max(size) else picture


def new_optimizer(painter: StyleNetwork, lr: float) -> torch.optim.Adam:
    """Adam over all weights of a painter."""
    return torch.optim.Adam(painter.parameters(), lr, BETAS, fused=next(painter.parameters()).device.type in ("cpu", "cuda"))


@dataclass(frozen=True)
class Schedule:
    """How long a training lasts.

    Attributes:
        total: iterations.
        since: the iteration after which this was known; what came before would have been the same with any other total.
    """

    total: int
    since: int = 0

    @property
    def frames(self) -> list[int]:
        """Iterations at which the film has a frame: 0, the last, and others after the learning rate has risen and this is known."""
        count = max(2, min(FRAMES, self.total // ITERATIONS_PER_FRAME))
        return [0, *(place for place in snapshot_places(self.total, count, 1) if max(WARMUP, self.since) <= place < self.total), self.total]

    def ticks(self, iteration: int) -> bool:
        """True after iterations at which the losses are told."""
        return iteration > self.since and iteration % max(1, self.total // TICKS) == 0


def learning_rate(lr: float, iteration: int, schedule: Schedule | None) -> float:
    """Learning rate of an iteration: it rises at the start, and falls in a straight line over the last half."""
    rate = lr * min(1.0, (iteration + 1) / WARMUP)
    if schedule is None or iteration < schedule.since:
        return rate
    fall = max(0.0, iteration / schedule.total - DECAY_FROM) / (1 - DECAY_FROM)
    return rate * (1 - (1 - LAST_LR) * min(1.0, fall))


def step(painter: StyleNetwork, optimizer: torch.optim.Optimizer, lesson: Lesson, images: Tensor) -> Tensor:
    """Teach a painter on some pictures (N, 3, R, R); returns the four losses (4,), detached."""
    losses = lesson.losses(painter, images)
    optimizer.zero_grad(set_to_none=True)
    lesson.total(losses).backward()
    optimizer.step()
    return losses.detach()


@dataclass
class Log:
    """What a checkpoint keeps beside tensors."""

    iteration: int = 0
    frames: int = 0
    elapsed_sec: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Training:
    """One training: the painter and the average of its weights, what was done so far, and where it is told and kept.

    Args:
        run: random streams, progress, checkpoints, the sink `progress`.
        painter: taken over.
        lesson: its losses.
        pieces: to learn on.
        params: batch size and learning rate.
        began: `time.monotonic()` at the start of the stage, from which the budget counts.
    """

    def __init__(self, run: Run, painter: StyleNetwork, lesson: Lesson, pieces: Pieces, params: LearnParams, began: float) -> None:
        self.run, self.painter, self.lesson, self.pieces, self.params, self.began = run, painter, lesson, pieces, params, began
        self.budget_sec = params.budget or (None if params.iterations else DEFAULT_BUDGET_SEC)
        self.average = copy.deepcopy(painter).requires_grad_(False).train(False)
        self.optimizer = new_optimizer(painter, params.lr)
        self.log = Log()
        self.sums = torch.zeros(len(LOSSES) + 1, device=run.device)  # of the losses, and the iterations, since the last tick
        self.shown = pieces.shown()
        self.schedule = self._known_schedule()
        self.timed: tuple[float, int] | None = None  # when this process had done its first iteration, and which it was

    def train(self) -> None:
        """Learn until all iterations are done or the time is up; afterwards `average` is the result.

        Raises:
            DataError: if the budget was too small for one iteration.
            DivergedError: if the loss explodes or a weight is no longer finite; the last good checkpoint is kept.
            Interrupted: after Ctrl-C, when the iteration is finished and everything is saved.
        """
        run, log, batch_size = self.run, self.log, self.params.batch_size
        self._resume()
        while not self._done():
            if self._frame_due():
                self._frame()
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.params.lr, log.iteration, self.schedule)
            self.sums[:-1] += step(self.painter, self.optimizer, self.lesson, self.pieces.batch(log.iteration, batch_size))
            self.sums[-1] += 1
            log.iteration += 1
            half_life = ema.half_life(log.iteration * batch_size, EMA_KIMG)
            ema.update(self.average, self.painter, ema.decay(batch_size, half_life))
            if self.schedule is None:
                self._choose_schedule()
            elif self.schedule.ticks(log.iteration):
                self._tick()
            run.progress(log.iteration, self.schedule and self.schedule.total, "iterations")
            if run.stopping:
                self.save()
                run.check()
            elif run.checkpoints.due():
                self.save()
        self._frame()
        if not checkpoint.all_finite(dict(self.average.state_dict())):
            self._diverged()

    # how long

    def _known_schedule(self) -> Schedule | None:
        """The schedule that the parameters give, or that was chosen before a kill or by the run that is remade."""
        if self.budget_sec is None:
            return Schedule(self.params.iterations or 1)
        chosen = self.run.choices.get("schedule")
        return None if chosen is None else Schedule(**chosen)

    def _choose_schedule(self) -> None:
        """Once the first iterations have shown what one takes, choose how many the budget is enough for.

        Raises:
            DataError: if the first one took the whole budget.
        """
        assert self.budget_sec is not None
        now, log = time.monotonic(), self.log
        if self.timed is None:  # the first one prepares kernels, and doesn't count
            self.timed = now, log.iteration
            if self.elapsed_sec > self.budget_sec:
                raise DataError(
                    f"{self.run.stage_id}: a budget of {self.budget_sec:.3g} s is too small: "
                    f"the first iteration ended after {self.elapsed_sec:.2g} s",
                    "give a longer `budget`, or a smaller `resolution` or `batch_size`",
                )
            return
        if log.iteration < min(WARMUP, self.params.iterations or WARMUP) and self.elapsed_sec < MEASURED * self.budget_sec:
            return
        iteration_sec = max(1e-9, (now - self.timed[0]) / (log.iteration - self.timed[1]))
        more = int(max(0.0, self.budget_sec * budget.PLANNED - self.elapsed_sec) / iteration_sec)
        total = min(log.iteration + more, self.params.iterations or sys.maxsize)
        self.schedule = Schedule(**self.run.choose("schedule", lambda: {"total": total, "since": log.iteration}))

    def _done(self) -> bool:
        """True after the last iteration, planned or in time; where a training with a budget ended once it ends again."""
        log, total = self.log, self.params.iterations if self.schedule is None else self.schedule.total
        if self.budget_sec is None:
            return total is not None and log.iteration >= total
        end = self.run.choices.get("stopped_at")
        late = log.iteration > 0 and self.elapsed_sec > self.budget_sec * budget.DEADLINE
        if end is None and (late or (total is not None and log.iteration >= total)):
            end = self.run.choose("stopped_at", lambda: log.iteration)
        return end is not None and log.iteration >= end

    def _frame_due(self) -> bool:
        frames = [0] if self.schedule is None else self.schedule.frames[:-1]  # the last one is made after the loop
        return self.log.frames < len(frames) and self.log.iteration >= frames[self.log.frames]

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that a checkpoint holds, by name."""
        return {"painter": self.painter, "average": self.average, "optimizer": self.optimizer, "sums": self.sums}

    @property
    def elapsed_sec(self) -> float:
        """Seconds of work on this training, over all its resumes."""
        return self.log.elapsed_sec + time.monotonic() - self.began

    def save(self) -> None:
        """Save a checkpoint.

        Raises:
            DivergedError: if the state is not finite; the checkpoints before it stay.
        """
        tensors, state = checkpoint.pack(self.parts)
        if not checkpoint.all_finite(tensors):
            self._diverged()
        self.run.sink("progress").sync()
        self.run.checkpoints.save(tensors, {"parts": state, "log": asdict(self.log) | {"elapsed_sec": self.elapsed_sec}})

    def _resume(self) -> None:
        saved = self.run.checkpoints.load()
        if saved is not None:
            tensors, state = saved
            checkpoint.unpack(self.parts, tensors, state["parts"])
            vars(self.log).update(state["log"])
        self.run.sink("progress").truncate(self.log.frames)

    def _tick(self) -> None:
        """Tell the mean losses since the last tick."""
        means = dict(zip(LOSSES, (self.sums[:-1] / self.sums[-1]).tolist(), strict=True))
        if not all(abs(value) < EXPLODED for value in means.values()):  # also true of NaN
            self._diverged()
        self.sums.zero_()
        self.log.history.append({"iteration": self.log.iteration, **{name: round(value, 5) for name, value in means.items()}})
        self.run.metric(iteration=self.log.iteration, **means)

    def _frame(self) -> None:
        """Paint the pictures of the film with the average and keep them as one sheet."""
        painted = torch.cat([paint(self.average, image[None], self.lesson.bfloat16) for image in self.shown])
        if not bool(torch.isfinite(painted).all()):
            self._diverged()
        self.run.preview(painted)
        self.run.sink("progress").append(Batch(grid(painted)[None].cpu(), [{"iteration": self.log.iteration}]))
        self.log.frames += 1

    def _diverged(self) -> NoReturn:
        raise DivergedError(
            f"{self.run.stage_id}: training diverged after {self.log.iteration} iterations (a loss or a weight is huge or NaN)",
            f"lower the learning rate (lr = {self.params.lr:g}); the last good checkpoint is kept",
        )


def result(training: Training, styles: list[Style], params: LearnParams, run: Run) -> Model:
    """Write the average of the weights."""
    log = training.log
    trained = {
        "iterations": log.iteration,
        "batch_size": params.batch_size,
        "pictures": training.pieces.count,
        "style_resolution": params.style_resolution,
        "precision": "bf16" if training.lesson.bfloat16 else "fp32",
    }
    return run.model(
        dict(training.average.state_dict()),
        family="style",
        parameters=training.painter.arguments,
        resolution=params.resolution,
        styles=[{"name": style.name, "share": round(style.share, 6)} for style in styles],
        history=log.history,
        trained=trained,
    )
