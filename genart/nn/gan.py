"""The training loop that all families of adversarial networks share (Goodfellow et al. 2014, algorithm 1).

A family supplies a `Game`: two networks and two losses. The loop supplies the two-step training, the average of G,
snapshots, the watch over divergence and mode collapse, the time budget and exact resume. Every random stream is a pure
function of (seed, step), so a checkpoint is the networks, the optimisers and a few numbers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from genart.artifacts import Batch
from genart.errors import DivergedError

from . import checkpoint, diversity, ema
from .data import Pictures, snapshot_places
from .images import grid, to_unit

if TYPE_CHECKING:
    from genart.run import Run

#: Pictures in the grid of fixed latents, and in one row of it.
GRID, COLUMNS = 36, 6
#: Latents on which the average's batch statistics are measured, at a snapshot and for the result.
SETTLE, SETTLE_RESULT = 128, 512
#: Entries of the history.
TICKS = 200
#: Pictures of the timelapse, at most.
SNAPSHOTS = 60
#: Images between two snapshots, on average, at least: so that they cost a few hundredths of a short training.
NIMG_PER_SNAPSHOT = 500
#: Share of the training after which collapsed pictures are worth a warning: at the start they all are alike.
COLLAPSE_FROM = 0.25
#: A mean loss beyond this is an explosion, though not infinite yet.
EXPLODED = 1e3


@dataclass
class Game:
    """What a family brings.

    Attributes:
        G: latents (N, z_dim) to pictures (N, 3, R, R) in [-1, 1].
        D: pictures to logits.
        loss_D: (real_logits, gen_logits) to a scalar.
        loss_G: gen_logits to a scalar.
    """

    G: nn.Module
    D: nn.Module
    loss_D: Callable[[Tensor, Tensor], Tensor]
    loss_G: Callable[[Tensor], Tensor]


@dataclass
class Settings:
    """How long and how the two play.

    Attributes:
        total_nimg: real images to show to D; rounded up to whole batches.
        batch_size: images per step.
        lr_G: Adam's learning rate for G.
        lr_D: Adam's learning rate for D; the two differ in TTUR (Heusel et al. 2017).
        betas: Adam's; 0.5 steadies a GAN (Radford et al. 2015, section 4).
        skip_D_below: D does not learn in a step where its loss is below this.
        ema_kimg: limit of the average's half-life.
        bfloat16: compute matrix products in bfloat16; weights stay float32.
        snapshots: pictures of the timelapse, at most.
        deadline_sec: stop after this many seconds although not done.
    """

    total_nimg: int
    batch_size: int
    lr_G: float = 2e-4
    lr_D: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    skip_D_below: float = 0.0
    ema_kimg: float = 10.0
    bfloat16: bool = False
    snapshots: int = SNAPSHOTS
    deadline_sec: float | None = None


@dataclass
class Log:
    """What a checkpoint keeps beside tensors."""

    step: int = 0
    nimg: int = 0
    snapshots: int = 0
    elapsed_sec: float = 0.0
    diversity: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)


class Players:
    """G, D, their optimisers and the average of G, on their device.

    Args:
        game: the networks, taken over.
        settings: learning rates and precision.
        device: "cpu", "cuda" or "mps".
    """

    def __init__(self, game: Game, settings: Settings, device: str) -> None:
        self.game, self.settings, self.device = game, settings, device
        # Channels last is what the convolutions compute in: any other format is converted at every call.
        self.G = game.G.to(device=device).to(memory_format=torch.channels_last).train()
        self.D = game.D.to(device=device).to(memory_format=torch.channels_last).train()
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        fused = device in ("cpu", "cuda")
        self.opt_G = torch.optim.Adam(self.G.parameters(), settings.lr_G, settings.betas, fused=fused)
        self.opt_D = torch.optim.Adam(self.D.parameters(), settings.lr_D, settings.betas, fused=fused)

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that a checkpoint holds, by name."""
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema, "opt_G": self.opt_G, "opt_D": self.opt_D}

    def step(self, real_img: Tensor, z: Tensor) -> Tensor:
        """One step of both players (Goodfellow et al. 2014, algorithm 1, with one step of D).

        Args:
            real_img: (N, 3, R, R) in [-1, 1].
            z: (N, z_dim).

        Returns:
            (3,) float32 on the device: D's loss, G's loss, and 1 if D was skipped.
        """
        # One pass through G serves both: D learns from detached pictures, G from the graph that is kept.
        with self.autocast():
            gen_img = self.G(z)
        loss_D, skipped = self.step_D(real_img, gen_img.detach())
        loss_G = self.step_G(gen_img)
        return torch.stack([loss_D, loss_G, torch.full_like(loss_G, skipped)])

    def step_D(self, real_img: Tensor, gen_img: Tensor) -> tuple[Tensor, bool]:
        """Teach D real from generated, unless it wins already; returns its loss and whether it was skipped."""
        with self.autocast():
            real_logits, gen_logits = self.D(real_img), self.D(gen_img)
        loss_D = self.game.loss_D(real_logits, gen_logits)
        skipped = self.settings.skip_D_below > 0 and loss_D.detach().item() < self.settings.skip_D_below
        if not skipped:
            self.opt_D.zero_grad(set_to_none=True)
            loss_D.backward()
            self.opt_D.step()
        return loss_D.detach(), skipped

    def step_G(self, gen_img: Tensor) -> Tensor:
        """Teach G to be taken for real, D being frozen: no gradient of D's weights is computed. Returns its loss."""
        self.D.requires_grad_(False)
        with self.autocast():
            gen_logits = self.D(gen_img)
        loss_G = self.game.loss_G(gen_logits)
        self.opt_G.zero_grad(set_to_none=True)
        loss_G.backward()
        self.opt_G.step()
        self.D.requires_grad_(True)
        return loss_G.detach()

    def autocast(self) -> torch.autocast:
        """Context of the networks' passes."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.settings.bfloat16)

    @torch.inference_mode()
    def settled(self, settle_z: Tensor, z: Tensor) -> Tensor:
        """Settle the statistics of the average of G on `settle_z` and draw z: (N, 3, R, R) float32 in [0, 1]."""
        ema.settle_statistics(self.G_ema, settle_z)
        return torch.cat([to_unit(self.G_ema(part)).clamp(0, 1) for part in z.split(64)])


class Training:
    """One training: players, pictures, what was seen so far, and where it is told and kept.

    Args:
        run: random streams, device, progress, checkpoints, the sink `progress`.
        game: the family's networks and losses.
        pictures: real pictures.
        settings: how long and how.
        began: `time.monotonic()` at the start of the stage, from which the deadline counts.
    """

    def __init__(self, run: Run, game: Game, pictures: Pictures, settings: Settings, *, began: float | None = None) -> None:
        self.run, self.pictures, self.settings = run, pictures, settings
        self.players = Players(game, settings, run.device)
        self.log = Log()
        self.began = time.monotonic() if began is None else began
        self.sums = torch.zeros(4, device=run.device)  # of the losses, of the skips, and the steps, since the last tick
        self._warned = False
        self._ticked = time.monotonic()
        z_dim: Any = self.players.G.z_dim
        self.z_dim = int(z_dim)
        self.grid_z = self._latents("grid", GRID)
        self.settle_z = self._latents("settle", SETTLE_RESULT)
        reals = min(GRID, len(pictures))
        self.real_spread = diversity.spread(pictures.at(pictures.indices(0, reals)))
        steps = -(-settings.total_nimg // settings.batch_size)
        self.total_nimg = steps * settings.batch_size
        snapshots = max(8, min(settings.snapshots, self.total_nimg // NIMG_PER_SNAPSHOT))
        self.places = snapshot_places(self.total_nimg, snapshots, settings.batch_size)
        self.tick_every = max(1, steps // TICKS)

    def train(self) -> None:
        """Play until `total_nimg` images were seen or the deadline is reached; afterwards `players.G_ema` is the result.

        Raises:
            DivergedError: if a loss explodes or a weight is no longer finite; the last good checkpoint is kept.
            Interrupted: after Ctrl-C, when the step is finished and everything is saved.
        """
        run, log, players = self.run, self.log, self.players
        batch_size = self.settings.batch_size
        self._resume()
        # A training that a deadline stopped once stops there again: the choice outlives it.
        end = min(self.total_nimg, run.choices.get("stopped_at", self.total_nimg))
        while True:
            if log.nimg < end and self._late():
                end = run.choose("stopped_at", lambda: log.nimg)
            if log.nimg >= end:
                break
            if log.nimg >= self.places[log.snapshots]:  # the last place is the end, and is drawn after the loop
                self._snapshot()
            real_img = self.pictures.batch(log.step, log.nimg, batch_size)
            z = torch.randn(batch_size, self.z_dim, generator=run.generator("z", log.step)).to(run.device)
            losses = players.step(real_img, z)
            log.step += 1
            log.nimg += batch_size
            beta = ema.decay(batch_size, ema.half_life(log.nimg, self.settings.ema_kimg))
            ema.update(players.G_ema, players.G, beta)
            self.sums[:3] += losses
            self.sums[3] += 1
            if log.step % self.tick_every == 0:
                self._tick()
            run.progress(log.nimg, end)
            if run.stopping:
                self.save()
                run.check()
            elif run.checkpoints.due():
                self.save()
        self._snapshot(SETTLE_RESULT)

    @property
    def elapsed_sec(self) -> float:
        """Seconds of work on this training, over all its resumes."""
        return self.log.elapsed_sec + time.monotonic() - self.began

    def save(self) -> None:
        """Save a checkpoint.

        Raises:
            DivergedError: if the state is not finite; the checkpoints before it stay.
        """
        tensors, state = checkpoint.pack(self.players.parts | {"sums": self.sums})
        if not checkpoint.all_finite(tensors):
            self._diverged()
        self.run.sink("progress").sync()
        log = asdict(self.log) | {"elapsed_sec": self.elapsed_sec}
        self.run.checkpoints.save(tensors, {"parts": state, "log": log})

    def _resume(self) -> None:
        saved = self.run.checkpoints.load()
        if saved is not None:
            tensors, state = saved
            checkpoint.unpack(self.players.parts | {"sums": self.sums}, tensors, state["parts"])
            vars(self.log).update(state["log"])
        self.run.sink("progress").truncate(self.log.snapshots)

    def _tick(self) -> None:
        """Tell the mean losses since the last tick."""
        loss_D, loss_G, skipped = (self.sums[:3] / self.sums[3]).tolist()
        if not (abs(loss_D) < EXPLODED and abs(loss_G) < EXPLODED):  # also true of NaN
            self._diverged()
        self.sums.zero_()
        entry = {"kimg": self.log.nimg / 1000, "loss_D": round(loss_D, 4), "loss_G": round(loss_G, 4), "skipped": round(skipped, 3)}
        if self.log.diversity is not None:
            entry["diversity"] = round(self.log.diversity, 4)
        self.log.history.append(entry)
        now = time.monotonic()
        rate = self.tick_every * self.settings.batch_size / (now - self._ticked)
        self._ticked = now
        self.run.metric(nimg=self.log.nimg, images_per_sec=rate, **{name: value for name, value in entry.items() if name != "kimg"})

    def _snapshot(self, settle: int = SETTLE) -> None:
        """Draw the fixed latents with the average of G, measure their diversity, and keep the sheet for the timelapse."""
        log = self.log
        images = self.players.settled(self.settle_z[:settle], self.grid_z)
        if not bool(torch.isfinite(images).all()):
            self._diverged()
        sheet = grid(images, COLUMNS)[None].cpu()
        self.run.sink("progress").append(Batch(sheet, [{"kimg": log.nimg / 1000, "nimg": log.nimg}]))
        log.snapshots += 1
        log.diversity = diversity.diversity(images * 2, self.real_spread)  # both in steps of [-1, 1]
        self.run.preview(images)
        self.run.metric(nimg=log.nimg, diversity=log.diversity)
        if not self._warned and log.diversity < diversity.COLLAPSED and log.nimg > COLLAPSE_FROM * self.total_nimg:
            self._warned = True
            self.run.warn(
                f"mode collapse: after {log.nimg / 1000:.1f} kimg the generated pictures differ from each other "
                f"only {log.diversity:.0%} as much as the real ones; a lower lr_G, a higher lr_D or more pictures may help"
            )

    def _late(self) -> bool:
        return self.settings.deadline_sec is not None and self.elapsed_sec > self.settings.deadline_sec

    def _latents(self, label: str, count: int) -> Tensor:
        return torch.randn(count, self.z_dim, generator=self.run.generator(label)).to(self.run.device)

    def _diverged(self) -> NoReturn:
        rates = f"lr_G = {self.settings.lr_G:g}, lr_D = {self.settings.lr_D:g}"
        raise DivergedError(
            f"training diverged after {self.log.nimg / 1000:.1f} kimg (a loss or a weight is huge or NaN)",
            f"lower the learning rates ({rates}); the last good checkpoint is kept",
        )
