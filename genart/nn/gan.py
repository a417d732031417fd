"""The training loop that all families share (Goodfellow et al. 2014, algorithm 1).

A family supplies a `Game`: two networks, their losses, and what depends on the images seen. The loop supplies real pictures,
the average of G, the strength of augmentation, snapshots, measurements, the watchdog, the time budget and exact resume. Every
random stream is a pure function of (seed, step), so a checkpoint is the networks, the optimisers and a few numbers.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genart.artifacts import Batch

from . import checkpoint, diversity, ema
from .data import Pictures, snapshot_places
from .diffaugment import Adaptive
from .images import grid
from .pace import PARTS, Pace
from .players import Trainer
from .shards import ALONE
from .team import Leading, stream
from .watchdog import Watch, Watchdog

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
#: Steps between two changes of the augmentation's strength (Karras et al. 2020, section 3).
ADAPT_EVERY = 4
#: Thousands of images in which it may rise from nothing to everything: so many, or those of a short training.
SPEED_KIMG, ADAPT_SHARE = 100.0, 1.0
#: The best state becomes the result if the last one's KID is above so many times the best.
WORSE = 1.1
#: Times that D has seen each picture before it can have memorised any: it may be sure of itself before for other reasons.
UNKNOWN_EPOCHS = 10
#: What learning rates fall to.
LOWEST_RATE = 0.05


@dataclass
class Settings:
    """How long to train, and what to do on the way.

    Attributes:
        total_nimg: real images to train on; rounded up to whole batches.
        ema_kimg: limit of the average's half-life.
        augment_p: probability of each augmentation of what D sees; None adapts it (Karras et al. 2020).
        snapshots: pictures of the timelapse, at most.
        evaluations: measurements of quality.
        watch: let the watchdog act.
        critic: D is a Wasserstein critic.
        rates: learning rates of G and D, for messages.
        costs: shares of the training and seconds per image in each, as planned.
        usable_sec: see as many images as fit into this time, rather than exactly total_nimg.
        deadline_sec: stop after this many seconds although not done.
        lr_decay: share of the training, its end, in which the learning rates fall.
    """

    total_nimg: int
    ema_kimg: float = 10.0
    augment_p: float | None = 0.0
    snapshots: int = SNAPSHOTS
    evaluations: int = 0
    watch: bool = True
    critic: bool = False
    rates: tuple[float, float] = (2e-4, 2e-4)
    costs: Sequence[tuple[float, float]] = ((1.0, 1.0),)
    usable_sec: float | None = None
    deadline_sec: float | None = None
    lr_decay: float = 0.0


@dataclass
class Log:
    """What a checkpoint keeps beside tensors."""

    step: int = 0
    nimg: int = 0
    snapshots: int = 0
    evaluations: int = 0
    elapsed_sec: float = 0.0
    augment_p: float = 0.0
    diversity: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    watch: dict[str, Any] = field(default_factory=dict)


#: Measures pictures that the average of G draws: numbers by name, among them "kid".
Measure = Callable[[Trainer], dict[str, float]]


class Exploded(Exception):
    """A loss, a weight or a picture is huge or NaN."""


class Training:
    """One training: what is trained, pictures, what was seen so far, and where it is told and kept.

    Args:
        run: random streams, device, progress, checkpoints, the sink `progress`.
        trainer: the family's networks, their losses and optimisers; `Players`, as a rule.
        pictures: real pictures.
        settings: how long and how.
        measure: gives numbers about the average of G; called `settings.evaluations` times.
        began: `time.monotonic()` at the start of the stage, from which the deadline counts.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        pictures: Pictures,
        settings: Settings,
        *,
        measure: Measure | None = None,
        began: float | None = None,
    ) -> None:
        self.run, self.trainer, self.pictures = run, trainer, pictures
        self.settings, self.measure = settings, measure
        self.shard = trainer.shard if isinstance(trainer, Leading) else ALONE
        self.log = Log()
        # In a short training the strength must be able to rise sooner than in the paper's.
        speed = min(SPEED_KIMG, ADAPT_SHARE * settings.total_nimg / 1000)
        self.adaptive = Adaptive(speed_kimg=max(1.0, speed)) if settings.augment_p is None else None
        adaptive, calming = self.adaptive is not None, settings.lr_decay > 0
        self.watchdog = Watchdog(self._tell, on=settings.watch, adaptive=adaptive, critic=settings.critic, calming=calming)
        self.began = time.monotonic() if began is None else began
        self.sums = torch.zeros(len(trainer.told) + 2, device=run.device)  # of what steps tell, of r_t since p changed, and the steps
        self._ticked = (time.monotonic(), 0)
        z_dim: Any = trainer.G.z_dim
        self.z_dim = int(z_dim)
        self.grid_z = self._latents("grid", GRID)
        self.settle_z = self._latents("settle", SETTLE_RESULT)
        self.grid_labels = pictures.labels_in_turn(GRID)
        reals = min(GRID, len(pictures))
        self.real_spread = diversity.spread(pictures.at(pictures.indices(0, reals)))
        batch_size = trainer.batch_size(0)
        planned = -(-settings.total_nimg // batch_size) * batch_size
        self.pace = Pace(planned, settings.costs, self._changes())
        self.timed = (time.monotonic(), 0)  # since when and from which image on the clock is compared with the plan
        self.slowness = 1.0
        snapshots = max(8, min(settings.snapshots, planned // NIMG_PER_SNAPSHOT))
        self.places = snapshot_places(planned, snapshots, batch_size)
        self.tick_every = max(1, planned // TICKS)
        self.best: dict[str, Tensor] = {}
        self.good: tuple[dict[str, Tensor], dict[str, Any]] = ({}, {})

    def train(self) -> None:
        """Train until `total_nimg` images were seen, the deadline is reached, or the watchdog ends it; then `trainer` is what came out.

        Raises:
            DivergedError: if training explodes again and again; the last good checkpoint is kept.
            Interrupted: after Ctrl-C, when the step is finished and everything is saved.
        """
        run, log, trainer = self.run, self.log, self.trainer
        self._resume()
        while log.nimg < (end := self._end()):
            try:
                place = self.pace.place(log.nimg)
                if place >= self.places[log.snapshots]:  # the last place is the end, and is drawn after the loop
                    self._snapshot()
                    place = self.pace.place(log.nimg)  # an earlier one, if it made training return to a state before
                if place >= self._evaluation_place():
                    self._evaluate()
                trainer.schedule(int(place))
                self._apply_rates()
                batch_size = trainer.batch_size(int(place))
                real = self.pictures.batch(log.step, log.nimg, batch_size, self.shard)
                returns = self.watchdog.watch.rollbacks
                if isinstance(trainer, Leading):
                    trainer.returns = returns
                z = torch.randn(batch_size, self.z_dim, generator=run.generator(stream("z", returns), log.step))
                z = self.shard.own(z).to(run.device)
                told = trainer.step(log.step, real, z, run.generator(stream("step", returns), log.step), log.augment_p)
                self._count(told, batch_size)
                beta = ema.decay(batch_size, ema.half_life(log.nimg, self.settings.ema_kimg))
                ema.update(trainer.G_ema, trainer.G, beta)
                if self.pace.place(log.nimg) // self.tick_every > place // self.tick_every:
                    self._tick()
                run.progress(log.nimg, end, eta_sec=self._eta_sec())
                if run.stopping or run.checkpoints.due():
                    self.save()
                    run.check()
            except Exploded:
                self._roll_back()
        self._finish()

    @property
    def elapsed_sec(self) -> float:
        """Seconds of work on this training, over all its resumes."""
        return self.log.elapsed_sec + time.monotonic() - self.began

    def save(self) -> None:
        """Save a checkpoint: the state, and beside it the last good one and the best average.

        A state that is not finite is not saved: the next tick is going to see it, at the same place whenever checkpoints come.
        """
        tensors, state = self._state()
        if not checkpoint.all_finite(tensors):
            return
        self.run.sink("progress").sync()
        beside = {f"good/{name}": value for name, value in self.good[0].items()}
        beside |= {f"best/{name}": value for name, value in self.best.items()}
        self.run.checkpoints.save(tensors | beside, state | {"good": self.good[1]})

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self.log.watch = asdict(self.watchdog.watch)
        tensors, parts = checkpoint.pack(self.trainer.parts | {"sums": self.sums})
        return tensors, {"parts": parts, "log": asdict(self.log) | {"elapsed_sec": self.elapsed_sec}}

    def _resume(self) -> None:
        saved = self.run.checkpoints.load()
        if saved is None:
            self.log.augment_p = self.settings.augment_p or 0.0
        else:
            tensors, state = saved
            good, best = (
                {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)} for kind in ("good/", "best/")
            )
            device = self.run.device
            self.good = ({name: value.to(device) for name, value in good.items()}, state["good"])
            self.best = {name: value.to(device) for name, value in best.items()}
            self._restore(tensors, state)
            self.log.elapsed_sec = state["log"]["elapsed_sec"]
            self.watchdog.watch = Watch(**self.log.watch)
        self.run.sink("progress").truncate(self.log.snapshots)
        self.timed = self._ticked = (time.monotonic(), self.log.nimg)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        checkpoint.unpack(self.trainer.parts | {"sums": self.sums}, tensors, state["parts"])
        if isinstance(self.trainer, Leading):
            self.trainer.stale = True
        vars(self.log).update(copy.deepcopy(state["log"]) | {"elapsed_sec": self.log.elapsed_sec})

    def _end(self) -> int:
        """Images after which training ends. Where it ended once it ends again, however fast it is then: the choice outlives it."""
        if self.watchdog.watch.stopped:
            return self.log.nimg
        if self.pace.part_is_over(self.log.nimg):
            self._fit_the_rest()
        end = self.run.choices.get("ended_at")
        if end is None and self._late():
            end = self._ended()
        return int(self.pace.total if end is None else end)

    def _late(self) -> bool:
        """True when the time is over; there is time for one step at least, or the result would be noise that was never trained."""
        deadline = self.settings.deadline_sec
        return deadline is not None and self.elapsed_sec > deadline and self.log.nimg > 0

    def _ended(self) -> int:
        """Keep the number of images, so that a resume or a remake at another speed ends with it too."""
        return int(self.run.choose("ended_at", lambda: self.log.nimg))

    def _changes(self) -> list[tuple[int, int]]:
        """How the plan was changed, before a kill or in the run that is remade."""
        choices = self.run.choices
        names = (f"pace_{part}" for part in itertools.count(1))
        return [tuple(choices[name]) for name in itertools.takewhile(choices.__contains__, names)]

    def _fit_the_rest(self) -> None:
        """A part of the plan is over: see as many more images as the time left allows. A choice, so that it can be made again."""
        pace, nimg, usable_sec = self.pace, self.log.nimg, self.settings.usable_sec
        if usable_sec is None:
            return
        now, (began, begin) = time.monotonic(), self.timed
        measured = pace.place(nimg) - pace.place(begin)
        if measured >= pace.planned / PARTS / 4:  # less says little
            self.slowness = (now - began) / pace.expected_sec(begin, nimg)
        self.timed = (now, nimg)
        fitting = pace.fitting(nimg, usable_sec - self.elapsed_sec, self.slowness)
        pace.change(*self.run.choose(f"pace_{pace.part}", lambda: [nimg, fitting]))

    def _eta_sec(self) -> float | None:
        """Seconds that are left, where the plan knows what images cost; it is going to be fitted to the time that there is."""
        pace, nimg, usable_sec = self.pace, self.log.nimg, self.settings.usable_sec
        if usable_sec is None:
            return None
        return max(0.0, min(self.slowness * pace.expected_sec(nimg, pace.total), usable_sec - self.elapsed_sec))

    def _count(self, told: Tensor, batch_size: int) -> None:
        """Account for a step, and let the augmentation's strength follow r_t."""
        self.log.step += 1
        self.log.nimg += batch_size
        names = self.trainer.told
        self.sums[: len(names)] += told
        self.sums[-1] += 1
        if self.adaptive is None or "r_t" not in names or not self._known():
            return
        self.sums[-2] += told[names.index("r_t")]
        if self.log.step % ADAPT_EVERY == 0:
            self.adaptive.p = self.log.augment_p
            self.log.augment_p = self.adaptive.update(float(self.sums[-2]) / ADAPT_EVERY, ADAPT_EVERY * batch_size)
            self.sums[-2] = 0

    def _tick(self) -> None:
        """Tell the means since the last tick."""
        log, steps = self.log, float(self.sums[-1])
        numbers = dict(zip(self.trainer.told, (self.sums[:-2] / steps).tolist(), strict=True))
        if self.watchdog.exploded(*(value for name, value in numbers.items() if name.startswith("loss"))):
            raise Exploded
        self.sums[:-2] = 0
        self.sums[-1] = 0
        judged = numbers | {"unsure": self.trainer.unsure(numbers["loss_D"])} if "won" in numbers else numbers
        self.watchdog.tick(log.nimg, self._share(), round(steps), judged, known=self._known())
        entry = {name: round(value, 4) for name, value in numbers.items()}
        if log.diversity is not None:
            entry["diversity"] = round(log.diversity, 4)
        if self.adaptive is not None:
            entry["augment_p"] = round(log.augment_p, 4)
        log.history.append({"kimg": log.nimg / 1000, **entry})
        (since, nimg), self._ticked = self._ticked, (time.monotonic(), log.nimg)
        rate = (log.nimg - nimg) / (self._ticked[0] - since)
        self.run.metric(nimg=log.nimg, images_per_sec=rate, **entry)

    def _known(self) -> bool:
        """True once D has seen each picture so often that it can know it by heart."""
        return self.log.nimg >= UNKNOWN_EPOCHS * len(self.pictures)

    def _share(self) -> float:
        """How much of the training is behind, 0 to 1."""
        return self.pace.place(self.log.nimg) / self.pace.planned

    def _apply_rates(self) -> None:
        watch = self.watchdog.watch
        left, decay = 1 - self._share(), self.settings.lr_decay
        scale = max(LOWEST_RATE, left / decay) if left < decay else 1.0
        self.trainer.rates(scale * watch.scale_G, scale * watch.scale_D, sparing=watch.sparing)

    def _snapshot(self, settle: int = SETTLE, *, drawn_at: int | None = None, final: bool = False) -> None:
        """Draw the fixed latents with the average of G, measure their diversity, and keep the sheet for the timelapse.

        Args:
            settle: latents on which batch statistics are measured.
            drawn_at: images seen by the average of G, if it is an earlier one.
            final: nothing is trained afterwards.
        """
        log = self.log
        self.trainer.schedule(int(self.pace.place(log.nimg if drawn_at is None else drawn_at)))
        images = self.trainer.settled(self.settle_z[:settle], self.grid_z, self.grid_labels)
        if not bool(torch.isfinite(images).all()):
            raise Exploded
        sheet = grid(images, COLUMNS)[None].cpu()
        losses: dict[str, float | None] = dict.fromkeys(name for name in self.trainer.told if name.startswith("loss"))
        latest = next((entry for entry in reversed(log.history) if losses.keys() <= entry.keys()), {})
        losses |= {name: latest[name] for name in losses if name in latest}
        self.run.sink("progress").append(Batch(sheet, [{"kimg": log.nimg / 1000, "nimg": log.nimg, **losses}]))
        log.snapshots += 1
        log.diversity = diversity.diversity(images * 2, self.real_spread)  # both in steps of [-1, 1]
        self.run.preview(images)
        self.run.metric(nimg=log.nimg, diversity=log.diversity)
        again = self.watchdog.snapshot(log.nimg, self._share(), log.diversity)
        if again and not final:
            self._roll_back(collapsed=True)
        elif not self.watchdog.watch.collapsed:
            tensors, state = self._state()
            if checkpoint.all_finite(tensors):
                self.good = ({name: value.clone() for name, value in tensors.items()}, copy.deepcopy(state))

    def _roll_back(self, *, collapsed: bool = False) -> None:
        """Return to the last good state."""
        tensors, state = self.good
        nimg, good_nimg = self.log.nimg, state["log"]["nimg"] if state else 0
        good = Watch(**state["log"]["watch"]) if state else None
        if collapsed and good:
            self.watchdog.collapsed_back(nimg, good_nimg, good)
        else:
            self.watchdog.roll_back(nimg, good_nimg, self.settings.rates, good)
        self._restore(tensors, state)
        self._ticked = (time.monotonic(), self.log.nimg)
        self.save()  # the checkpoint before it may count pictures that now go
        self.run.sink("progress").truncate(self.log.snapshots)

    def _evaluation_place(self) -> float:
        """Place of the next measurement in the plan, evenly spaced; the last comes with the end."""
        count = self.settings.evaluations
        place = (self.log.evaluations + 1) / count if count else 1.0
        return place * self.pace.planned if self.measure and place < 1 else float("inf")

    def _evaluate(self) -> None:
        """Measure the average of G, and keep it if it is the best so far."""
        log = self.log
        log.evaluations += 1
        if self.measure is None or not self.settings.evaluations:
            return
        self.trainer.schedule(int(self.pace.place(log.nimg)))
        ema.settle_statistics(self.trainer.G_ema, self.settle_z)
        numbers = self.measure(self.trainer)
        if self.watchdog.exploded(*numbers.values()):
            raise Exploded
        log.history.append({"kimg": log.nimg / 1000, **{name: round(value, 5) for name, value in numbers.items()}})
        self.run.metric(nimg=log.nimg, **numbers)
        if self.watchdog.evaluated(log.nimg, self._share(), numbers["kid"], self._phase()):
            self.best = {name: value.clone() for name, value in self.trainer.G_ema.state_dict().items()}

    def _phase(self) -> int:
        return self.trainer.phase(int(self.pace.place(self.log.nimg)))

    def _finish(self) -> None:
        """Measure and draw the end; the best state becomes the result if the last one is clearly worse."""
        watch, drawn_at = self.watchdog.watch, self.log.nimg
        if self.settings.deadline_sec is not None:
            self._ended()
        try:
            self._evaluate()
            last = next((entry["kid"] for entry in reversed(self.log.history) if "kid" in entry), None)
            best = watch.best_kid
            if self.settings.watch and self.best and last is not None and best is not None and last - best > (WORSE - 1) * abs(best):
                self.trainer.G_ema.load_state_dict(self.best)
                self.watchdog.kept_best(self.log.nimg)
                drawn_at = watch.best_nimg
            self._snapshot(SETTLE_RESULT, drawn_at=drawn_at, final=True)
        except Exploded:
            self._roll_back()  # it stops there, with the last good state
            self._snapshot(SETTLE_RESULT, final=True)

    def _latents(self, label: str, count: int) -> Tensor:
        return torch.randn(count, self.z_dim, generator=self.run.generator(label)).to(self.run.device)

    def _tell(self, trouble: str, act: str, message: str, nimg: int) -> None:
        self.run.alert(trouble, act, message, nimg=nimg)
