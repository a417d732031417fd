"""Two players and their rules: what a family brings to the training loop, and one step of both."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from . import checkpoint, diffaugment, ema, losses, shards
from .changes import Changes
from .data import RealBatch
from .images import to_unit
from .layers import GROUP

#: What D looks at: pictures, or their features, or one of either for each scale.
Seen = tuple[Tensor, ...]


@dataclass(frozen=True)
class Penalties:
    """Gradient penalties of D.

    Attributes:
        r1_gamma: weight of the squared gradient at real pictures (Mescheder et al. 2018, eq. 9).
        r2_gamma: the same at generated ones (eq. 10).
        gp_lambda: weight of WGAN-GP's penalty between both (Gulrajani et al. 2017, eq. 3).
        every: computed in every n-th step only, with n times the weight (Karras et al. 2020, StyleGAN2, appendix B).
    """

    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_lambda: float = 0.0
    every: int = 1

    def due(self, step: int) -> bool:
        """True if step `step` computes any."""
        return (self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_lambda > 0) and step % self.every == 0


class Game:
    """What a family brings. Families override what differs from two plain networks.

    Args:
        G: a module with `z_dim` and `resolution`; G(z, labels) maps (N, z_dim) and (N,) to pictures (N, 3, R, R) in [-1, 1].
        D: D(seen, labels) maps what `see` gives to answers: one tensor (N, ...), or a tuple of them, of which each counts the same.
        loss: the adversarial loss.
        penalties: gradient penalties of D.

    Attributes:
        joint: nothing in D joins the pictures of a batch but `minibatch_stddev`, so that one pass can answer for real and generated ones.
    """

    joint = False

    def __init__(self, G: nn.Module, D: nn.Module, loss: losses.Loss, penalties: Penalties = Penalties()) -> None:
        self.G, self.D, self.loss, self.penalties = G, D, loss, penalties

    def batch_size(self, nimg: int, batch_size: int) -> int:
        """Pictures in the step after `nimg` images; `batch_size` is what the plan says."""
        return batch_size

    def phase(self, nimg: int) -> int:
        """Number of the training's phase after `nimg` images; the quality in one is not compared with that in another."""
        return 0

    def schedule(self, networks: Sequence[nn.Module], nimg: int) -> None:
        """Set what depends on the images seen (a level, a fade-in) in G, D and the average of G."""

    def probes(self, total_nimg: int) -> list[tuple[float, int]]:
        """Shares of the training that cost the same, each with the images seen at a typical place of it: to estimate the whole."""
        return [(1.0, total_nimg)]

    def generate(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Seen:
        """Pictures in training: (N, z_dim) to one (N, 3, R, R) in [-1, 1], or one for each scale, the largest first.

        Args:
            z: latents.
            labels: (N,) classes, or None.
            generator: for what is random in G beside z; on the CPU.
        """
        return (self.G(z, labels),)

    def real(self, real_img: Tensor) -> Seen:
        """Real pictures (N, 3, R, R) as `generate` would give them."""
        return (real_img,)

    def see(self, pictures: Seen) -> Seen:
        """What D judges, made of the pictures by something that does not learn; both players' steps share it."""
        return pictures

    def see_real(self, pictures: Seen, versions: Tensor | None) -> Seen:
        """The same for real pictures; `versions` (N,) says which ones they are, unless augmentation changed them."""
        return self.see(pictures)

    def penalty_scale(self) -> float:
        """Factor of R1's and R2's weights at this moment of the training."""
        return 1.0

    def judge(self, seen: Seen, labels: Tensor | None) -> Seen:
        """D's answers, (N, ...) each."""
        answers = self.D(seen if len(seen) > 1 else seen[0], labels)
        return answers if isinstance(answers, tuple) else (answers,)


class Trainer(Protocol):
    """What the loop trains: two players here, an autoencoder elsewhere."""

    G: nn.Module
    G_ema: nn.Module
    #: names of the numbers that `step` gives; "loss_D" and "loss_G" are what people know
    told: tuple[str, ...]

    @property
    def penalised(self) -> bool:
        """True if some steps cost more than others, for gradient penalties."""

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that a checkpoint holds, by name."""

    def batch_size(self, nimg: int) -> int:
        """Pictures in the step after `nimg` images."""

    def phase(self, nimg: int) -> int:
        """Number of the training's phase after `nimg` images; the quality in one is not compared with that in another."""

    def schedule(self, nimg: int) -> None:
        """Set what depends on the images seen."""

    def probes(self, total_nimg: int) -> list[tuple[float, int]]:
        """Shares of the training that cost the same, each with the images seen at a typical place of it."""

    def step(self, step: int, real: RealBatch, z: Tensor, generator: torch.Generator, augment_p: float) -> Tensor:
        """One step: (len(told),) float32 on the device."""

    def rates(self, scale_G: float, scale_D: float, *, sparing: bool = False) -> None:
        """Set the learning rates to multiples of those of the rules; `sparing`: D is not to learn where it tells every pair apart."""

    def unsure(self, loss_D: float) -> float:
        """D's loss, from 0 where it is at its least to 1 where D answers by chance."""

    def settled(self, settle_z: Tensor, z: Tensor, labels: Tensor | None) -> Tensor:
        """Pictures of the average of G: (N, 3, R, R) float32 in [0, 1]."""


@dataclass
class Rules:
    """How the two play.

    Attributes:
        batch_size: images per step.
        lr_G: Adam's learning rate for G.
        lr_D: Adam's learning rate for D; the two differ in TTUR (Heusel et al. 2017).
        betas: Adam's; 0.5 steadies a GAN (Radford et al. 2015, section 4), 0 one with penalties (Karras et al. 2018, appendix A.1).
        skip_D_below: D does not learn in a step where its loss is below this.
        bfloat16: compute matrix products in bfloat16; weights stay float32.
        policy: augmentations of what D sees, by name.
        changes: augmentations of Kornia that come before them; see `genart.nn.changes`.
    """

    batch_size: int
    lr_G: float = 2e-4
    lr_D: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    skip_D_below: float = 0.0
    bfloat16: bool = False
    policy: tuple[str, ...] = ()
    changes: tuple[dict[str, Any], ...] = ()


class Players:
    """G, D, their optimisers and the average of G, on their device.

    Args:
        game: the networks, taken over.
        rules: learning rates, precision, augmentation.
        device: "cpu", "cuda" or "mps".
    """

    told: tuple[str, ...] = ("loss_D", "loss_G", "skipped", "won", "r_t")

    def __init__(self, game: Game, rules: Rules, device: str) -> None:
        self.game, self.rules, self.device = game, rules, device
        # Channels last is what the convolutions compute in: any other format is converted at every call.
        self.G = game.G.to(device=device).to(memory_format=torch.channels_last).train()
        self.D = game.D.to(device=device).to(memory_format=torch.channels_last).train()
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        self.changes = Changes(rules.changes)
        self.sparing = False
        self._learning_D = [parameter for parameter in self.D.parameters() if parameter.requires_grad]
        fused = device in ("cpu", "cuda")
        self.opt_G = torch.optim.Adam(self.G.parameters(), rules.lr_G, rules.betas, fused=fused)
        self.opt_D = torch.optim.Adam(self._learning_D, rules.lr_D, rules.betas, fused=fused)

    @property
    def penalised(self) -> bool:
        """True if D has gradient penalties."""
        return self.game.penalties.due(0)

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that a checkpoint holds, by name."""
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema, "opt_G": self.opt_G, "opt_D": self.opt_D}

    def batch_size(self, nimg: int) -> int:
        """Pictures in the step after `nimg` images."""
        return self.game.batch_size(nimg, self.rules.batch_size)

    def phase(self, nimg: int) -> int:
        """Number of the training's phase after `nimg` images."""
        return self.game.phase(nimg)

    def probes(self, total_nimg: int) -> list[tuple[float, int]]:
        """Shares of the training that cost the same, each with the images seen at a typical place of it."""
        return self.game.probes(total_nimg)

    def schedule(self, nimg: int) -> None:
        """Set what depends on the images seen."""
        self.game.schedule((self.G, self.D, self.G_ema), nimg)

    def rates(self, scale_G: float, scale_D: float, *, sparing: bool = False) -> None:
        """Set the learning rates to multiples of those of the rules; `sparing`: D does not learn where it tells every pair apart."""
        self.sparing = sparing
        for optimizer, rate in ((self.opt_G, self.rules.lr_G * scale_G), (self.opt_D, self.rules.lr_D * scale_D)):
            for group in optimizer.param_groups:
                group["lr"] = rate

    @cached_property
    def _range_D(self) -> tuple[float, float]:
        return losses.range_of(self.game.loss)

    def unsure(self, loss_D: float) -> float:
        """D's loss, from 0 where it is at its least to 1 where D answers by chance."""
        least, chance = self._range_D
        return (loss_D - least) / (chance - least)

    def step(self, step: int, real: RealBatch, z: Tensor, generator: torch.Generator, augment_p: float = 1.0) -> Tensor:
        """One step of both players (Goodfellow et al. 2014, algorithm 1, with one step of D).

        One pass through G, and one through what D sees by, serve both: D learns from detached pictures, G from the graph
        that is kept.

        Args:
            step: its number.
            real: pictures and labels; generated pictures get the same labels.
            z: (N, z_dim).
            generator: for everything random in the step; on the CPU.
            augment_p: probability of each augmentation of what D sees (Karras et al. 2020, section 2.3).

        Returns:
            (5,) float32 on the device: D's loss, G's loss, 1 if D was skipped, the share of pairs of a real and a generated
            picture that D tells apart, and r_t (Karras et al. 2020, eq. 1).
        """
        game = self.game
        with self.autocast():
            gen_seen = game.see(self._augmented(game.generate(z, real.labels, generator), augment_p, generator))
            with torch.no_grad():
                pictures = game.real(real.images)
                changed = self._augmented(pictures, augment_p, generator)
                real_seen = game.see_real(changed, real.versions if changed is pictures else None)
        loss_D, numbers = self.step_D(step, real_seen, tuple(part.detach() for part in gen_seen), real.labels, generator)
        loss_G = self.step_G(gen_seen, real_seen, real.labels)
        return torch.stack([loss_D, loss_G, *numbers])

    def step_D(
        self, step: int, real_seen: Seen, gen_seen: Seen, labels: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Teach D real from generated, unless it wins already; returns its loss and (skipped, won, r_t)."""
        game, penalties = self.game, self.game.penalties
        due = penalties.due(step)
        real_seen, gen_seen = (tuple(part.detach().requires_grad_(due) for part in seen) for seen in (real_seen, gen_seen))
        with self.autocast():
            real_logits, gen_logits = self._judged(real_seen, gen_seen, labels, apart=due)
        loss_D = _mean([game.loss.D(real, gen) for real, gen in zip(real_logits, gen_logits, strict=True)])
        with torch.no_grad():
            won = _mean([(real > gen).float().mean() for real, gen in zip(real_logits, gen_logits, strict=True)])
            signs = _mean([real.float().sign().mean() for real in real_logits])
        below = self.rules.skip_D_below
        skipped = below > 0 and float(shards.mean(loss_D.detach())) < below
        skipped = skipped or (self.sparing and not due and float(shards.mean(won)) == 1)
        if not skipped:
            total = loss_D
            if due:
                total = total + penalties.every * self._penalty(real_seen, real_logits, gen_seen, gen_logits, labels, generator)
            self.opt_D.zero_grad(set_to_none=True)
            total.backward(inputs=self._learning_D)
            self.opt_D.step()
        r_t = 2 * won - 1 if game.loss.relativistic else signs  # where answers mean something only against each other
        return loss_D.detach(), (torch.full_like(loss_D, skipped), won, r_t)

    def _judged(self, real_seen: Seen, gen_seen: Seen, labels: Tensor | None, *, apart: bool) -> tuple[Seen, Seen]:
        """D's answers to real and to generated pictures, unless `apart` by one pass: two of half the size take much longer.

        The two batches are laid together quarter by quarter, which leaves the groups of `minibatch_stddev` as they are.
        """
        game, count = self.game, len(real_seen[0])
        if apart or not game.joint or count % GROUP:
            return game.judge(real_seen, labels), game.judge(gen_seen, labels)

        def together(real: Tensor, gen: Tensor) -> Tensor:
            return torch.cat([part for pair in zip(real.chunk(GROUP), gen.chunk(GROUP), strict=True) for part in pair])

        both = tuple(together(real, gen) for real, gen in zip(real_seen, gen_seen, strict=True))
        answers = game.judge(both, None if labels is None else together(labels, labels))
        parts = [answer.unflatten(0, (GROUP, 2, count // GROUP)) for answer in answers]
        return tuple(part[:, 0].flatten(0, 1) for part in parts), tuple(part[:, 1].flatten(0, 1) for part in parts)

    def _penalty(
        self, real_seen: Seen, real_logits: Seen, gen_seen: Seen, gen_logits: Seen, labels: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Weighted sum of the gradient penalties, of what D sees: the distribution that it is to be smooth on."""
        penalties, total = self.game.penalties, real_seen[0].new_zeros((), dtype=torch.float32)
        scale = self.game.penalty_scale()
        if penalties.r1_gamma:
            total = total + scale * penalties.r1_gamma * losses.zero_centred_penalty(_summed(real_logits), real_seen)
        if penalties.r2_gamma:
            total = total + scale * penalties.r2_gamma * losses.zero_centred_penalty(_summed(gen_logits), gen_seen)
        if penalties.gp_lambda:
            place = shards.drawn(lambda n: torch.rand(n, generator=generator), len(real_seen[0])).to(real_seen[0].device)
            between = tuple(
                torch.lerp(gen.detach().float(), real.detach().float(), place.view(-1, *[1] * (gen.ndim - 1))).requires_grad_()
                for real, gen in zip(real_seen, gen_seen, strict=True)
            )
            with self.autocast():
                answers = self.game.judge(between, labels)
            total = total + penalties.gp_lambda * losses.one_centred_penalty(_summed(answers), between)
        return total

    def step_G(self, gen_seen: Seen, real_seen: Seen, labels: Tensor | None) -> Tensor:
        """Teach G to be taken for real, D being frozen: no gradient of D's weights is computed. Returns its loss."""
        game = self.game
        with self._frozen_D(), self.autocast():
            gen_logits = game.judge(gen_seen, labels)
            if game.loss.relativistic:
                with torch.no_grad():
                    real_logits = game.judge(real_seen, labels)
            else:
                real_logits = gen_logits  # nobody looks at them
        loss_G = _mean([game.loss.G(gen, real) for gen, real in zip(gen_logits, real_logits, strict=True)])
        self.opt_G.zero_grad(set_to_none=True)
        loss_G.backward()
        self.opt_G.step()
        return loss_G.detach()

    @contextmanager
    def _frozen_D(self) -> Iterator[None]:
        for parameter in self._learning_D:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self._learning_D:
                parameter.requires_grad_(True)

    def _augmented(self, pictures: Seen, p: float, generator: torch.Generator) -> Seen:
        """Pictures as D is to see them, every scale of a picture changed alike; what is given if there is nothing to change."""
        if not (self.rules.policy or self.rules.changes) or p <= 0:
            return pictures
        pictures = self.changes(pictures, p, generator)
        shard = shards.active()
        drawn = diffaugment.draw(self.rules.policy, len(pictures[0]) * shard.size, p, generator).of(shard.own)
        return tuple(diffaugment.augment(part, drawn) for part in pictures)

    def autocast(self) -> torch.autocast:
        """Context of the networks' passes."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.rules.bfloat16)

    @torch.inference_mode()
    def settled(self, settle_z: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Settle the statistics of the average of G on `settle_z` and draw z: (N, 3, R, R) float32 in [0, 1]."""
        ema.settle_statistics(self.G_ema, settle_z)
        parts = z.split(64)
        classes = [None] * len(parts) if labels is None else labels.split(64)
        return torch.cat([to_unit(self.G_ema(part, kind).float()).clamp(0, 1) for part, kind in zip(parts, classes, strict=True)])


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _summed(logits: Seen) -> Tensor:
    """One answer per picture: (N, ...) each to (N,)."""
    first, *rest = (part.float().reshape(len(part), -1).sum(1) for part in logits)
    return sum(rest, first)
