"""The watch over a training: what goes wrong, told apart, acted upon, and told to the user.

It decides from numbers that a resume has too (losses of a tick, a snapshot's diversity, an evaluation's KID), so it acts in
the same way at the same image after a kill. Every act is an event and a line in the training's history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from genart.errors import DivergedError

from . import diversity

#: A mean loss beyond this is an explosion, though not infinite yet.
EXPLODED = 1e3
#: Returns to the last good state, each with half the learning rates, before training is given up.
MAX_ROLLBACKS = 3
#: Share of the training after which collapsed pictures are worth an act: at the start they all are alike.
COLLAPSE_FROM = 0.25
#: D wins where it tells apart this share of the pairs of a real and a generated picture, over so many steps ...
WON, WON_STEPS = 0.99, 100
#: ... and is so sure of it that its loss has fallen to this share of the way from what it is at chance (1) to its least (0). A D that only
#: ranks all pairs rightly has much to teach yet.
SURE = 0.25
#: It has stopped winning below this share of the pairs.
EVEN = 0.9
#: Factor by which the rates are rebalanced, and the lowest share of D's own rate.
REBALANCE, LOWEST_SCALE = 0.7, 0.2
#: D overfits where r_t stays above this (Karras et al. 2020, section 3, aim at 0.6) over so many steps.
OVERFIT, OVERFIT_STEPS = 0.8, 200
#: Share of the training before which D may well be sure: G cannot draw yet.
OVERFIT_FROM = 0.25
#: An evaluation is better than the best so far if its KID is below this share of it.
BETTER = 0.97
#: Training stops after so many evaluations without a better one, and at least half of the training.
PATIENCE = 5
#: Share of samples that are nearly a training picture from which memorisation is worth a word.
MEMORISED = 0.05


@dataclass
class Watch:
    """What the watchdog remembers, as JSON in the checkpoint.

    Attributes:
        scale_G: factor of G's learning rate.
        scale_D: factor of D's.
        sparing: D does not learn in steps in which it tells every pair apart.
        rollbacks: returns to the last good state.
        winning: steps in a row in which D won.
        overfitting: steps in a row in which r_t was high.
        varied: the pictures were varied at some snapshot.
        collapsed: snapshots in a row that were collapsed.
        stale: evaluations in a row without a better KID.
        best_kid: the best KID so far, and where.
        best_nimg: images seen at the best KID.
        mark: the KID from which the next clear step is counted.
        phase: of the training, to which the best KID belongs.
        said: troubles that were told already, where once is enough.
        stopped: the trouble for which training is to end, if any.
        acts: everything done, for the history: dicts with nimg, trouble, act, message.
    """

    scale_G: float = 1.0
    scale_D: float = 1.0
    sparing: bool = False
    rollbacks: int = 0
    winning: int = 0
    overfitting: int = 0
    varied: bool = False
    collapsed: int = 0
    stale: int = 0
    best_kid: float | None = None
    best_nimg: int = 0
    mark: float = 1e9
    phase: int = 0
    said: list[str] = field(default_factory=list)
    stopped: str = ""
    acts: list[dict[str, Any]] = field(default_factory=list)


class Watchdog:
    """Judges numbers of the training and changes what it remembers; the loop does as that says.

    Args:
        tell: called as tell(trouble, act, message, nimg) with every act.
        on: act at all; explosions are watched for in any case.
        adaptive: the strength of the augmentation follows r_t by itself.
        critic: D is a Wasserstein critic, for which telling everything apart is no trouble (Gulrajani et al. 2017).
        calming: the learning rates fall towards the end, which is when much is gained: there is no plateau before.
    """

    def __init__(
        self,
        tell: Callable[[str, str, str, int], None],
        *,
        on: bool = True,
        adaptive: bool = False,
        critic: bool = False,
        calming: bool = False,
    ) -> None:
        self.tell, self.on, self.adaptive, self.critic, self.calming = tell, on, adaptive, critic, calming
        self.watch = Watch()

    @staticmethod
    def exploded(*losses: float) -> bool:
        """True if a mean loss is NaN, infinite or huge."""
        return not all(math.isfinite(loss) and abs(loss) < EXPLODED for loss in losses)

    def roll_back(self, nimg: int, good_nimg: int, rates: tuple[float, float], good: Watch | None) -> None:
        """Account for an explosion at `nimg`, after which the state of `good_nimg` returns.

        Args:
            nimg: images seen at the explosion.
            good_nimg: images seen at the last good state.
            rates: learning rates of G and D, as the user gave them.
            good: the memory that belongs to the good state; None where there was no good state yet.

        Raises:
            DivergedError: if it returned too often already, has nowhere to return to, or is not to act.
        """
        count = self.watch.rollbacks + 1
        if not self.on or good is None or count > MAX_ROLLBACKS:
            often = f" {count} times, although the rates were halved each time" if self.on and good else ""
            kept = "; the last good checkpoint is kept" if good else ""
            raise DivergedError(
                f"training diverged{often}: after {nimg / 1000:.1f} kimg a loss or a weight is huge or NaN",
                f"lower the learning rates (lr_G = {rates[0]:g}, lr_D = {rates[1]:g}; 0.0002 is usual){kept}",
            )
        scale_G, scale_D = self.watch.scale_G / 2, self.watch.scale_D / 2
        self._return_to(good)
        self.watch.scale_G, self.watch.scale_D = scale_G, scale_D
        self._act(
            "explosion", "rolled back", nimg, f"the losses exploded; back to {good_nimg / 1000:.1f} kimg with half the learning rates"
        )

    def tick(self, nimg: int, share: float, steps: int, numbers: dict[str, float], *, known: bool = True) -> None:
        """Look at the means over some steps: `won`, `unsure` and `r_t` where there are two players.

        Args:
            nimg: images seen.
            share: of the training that is done.
            steps: since the last look.
            numbers: means over them; `unsure` is D's loss, from 0 at its least to 1 at chance.
            known: D has seen the real pictures so often that it can know them.
        """
        if not self.on or "won" not in numbers or self.critic:
            return
        self._winning(nimg, steps, numbers["won"], numbers["unsure"])
        if share > OVERFIT_FROM and known:
            self._overfitting(nimg, steps, numbers["r_t"])

    def _winning(self, nimg: int, steps: int, won: float, unsure: float) -> None:
        watch = self.watch
        watch.winning = watch.winning + steps if won > WON and unsure < SURE else 0
        if watch.winning >= WON_STEPS:
            watch.winning = 0
            if not watch.sparing:
                watch.sparing = True
                self._act("D wins", "D-skip", nimg, f"D tells {won:.0%} of all pairs apart; it learns no more in steps where it tells all")
            elif watch.scale_D * REBALANCE >= LOWEST_SCALE:
                watch.scale_D *= REBALANCE
                self._act("D wins", "lr_D lowered", nimg, f"D still tells {won:.0%} apart; its learning rate is now {watch.scale_D:.0%}")
        elif won < EVEN and watch.sparing:
            watch.sparing = False
            self._act("D wins", "D-skip ended", nimg, f"D tells {won:.0%} of all pairs apart; it learns in every step again")
        elif won < EVEN and watch.scale_D < watch.scale_G:
            watch.scale_D = min(watch.scale_G, watch.scale_D / REBALANCE)
            self._act("D wins", "lr_D raised", nimg, f"D tells {won:.0%} apart again; its learning rate is now {watch.scale_D:.0%}")

    def _overfitting(self, nimg: int, steps: int, r_t: float) -> None:
        watch = self.watch
        watch.overfitting = watch.overfitting + steps if r_t > OVERFIT else 0
        if watch.overfitting >= OVERFIT_STEPS and "overfit" not in watch.said:
            watch.said.append("overfit")
            advice = "the augmentation of what D sees grows by itself" if self.adaptive else 'more pictures or augment = "adaptive" help'
            words = f"D is sure of pictures that it has seen many times (r_t = {r_t:.2f}), and may know them by heart: {advice}"
            self._act("D overfits", "told", nimg, words)

    def snapshot(self, nimg: int, share: float, variety: float) -> bool:
        """Look at a snapshot's diversity; returns True if training is to return to the last good state.

        Args:
            nimg: images seen.
            share: of the training that is done.
            variety: diversity of the fixed latents' pictures, as a share of the real ones'.
        """
        watch = self.watch
        if not self.on or share <= COLLAPSE_FROM or variety >= diversity.COLLAPSED:
            watch.collapsed, watch.varied = 0, watch.varied or variety >= 2 * diversity.COLLAPSED
            return False
        watch.collapsed += 1
        again = watch.varied and watch.collapsed >= 2 and watch.rollbacks < MAX_ROLLBACKS
        if "collapse" not in watch.said:
            watch.said.append("collapse")
            self._act(
                "mode collapse",
                "told",
                nimg,
                f"mode collapse: after {nimg / 1000:.1f} kimg the generated pictures differ from each other only {variety:.0%} as much as "
                "the real ones; a lower lr_G, a higher lr_D or more pictures may help",
            )
        return again

    def collapsed_back(self, nimg: int, good_nimg: int, good: Watch) -> None:
        """Account for a return to the last varied state, with half the learning rate of G."""
        scale_G = self.watch.scale_G / 2
        self._return_to(good)
        self.watch.scale_G, self.watch.sparing = scale_G, False  # against a D that stands still G would collapse again
        self._act("mode collapse", "rolled back", nimg, f"back to {good_nimg / 1000:.1f} kimg, where it was varied, with half lr_G")

    def _return_to(self, good: Watch) -> None:
        """Go on with the memory of a good state, and what outlives a return: what was done and told, and the best state's KID."""
        now = self.watch
        lasting = {"acts": now.acts, "said": now.said, "best_kid": now.best_kid, "best_nimg": now.best_nimg, "phase": now.phase}
        self.watch = Watch(**{**vars(good), **lasting, "rollbacks": now.rollbacks + 1})

    def evaluated(self, nimg: int, share: float, kid: float, phase: int = 0) -> bool:
        """Look at an evaluation's KID; returns True if it is the best of its phase so far. May end the training on a plateau.

        Args:
            nimg: images seen.
            share: of the training that is done.
            kid: how far the pictures are from the real ones.
            phase: of the training; a new one forgets the best KID, since small pictures are no match for large ones.
        """
        watch = self.watch
        if phase != watch.phase:
            watch.phase, watch.best_kid, watch.mark, watch.stale = phase, None, Watch.mark, 0
        better = watch.best_kid is None or kid < watch.best_kid
        clearly = kid < watch.mark - (1 - BETTER) * abs(watch.mark)
        watch.stale, watch.mark = (0, kid) if clearly else (watch.stale + 1, watch.mark)
        if better:
            watch.best_kid, watch.best_nimg = kid, nimg
        if self.on and not self.calming and watch.stale >= PATIENCE and share > 0.5 and not watch.stopped:
            watch.stopped = "plateau"
            self._act(
                "plateau", "stopped", nimg, f"no better KID since {watch.best_nimg / 1000:.1f} kimg: training stops and keeps that state"
            )
        return better

    def copies(self, nimg: int, share: float) -> None:
        """Look at the share of samples that are nearly a training picture."""
        if self.on and share > MEMORISED:
            self._act(
                "memorisation",
                "told",
                nimg,
                f"{share:.0%} of the samples are nearly a picture of the training set (see the output `nearest`): more pictures, "
                'augment = "adaptive" or a shorter training help',
            )

    def kept_best(self, nimg: int) -> None:
        """Tell that the result is an earlier state."""
        best = self.watch.best_nimg / 1000
        self._act("plateau", "kept the best", nimg, f"the result is the state of {best:.1f} kimg, whose KID was the best")

    def _act(self, trouble: str, act: str, nimg: int, message: str) -> None:
        self.watch.acts.append({"nimg": nimg, "trouble": trouble, "act": act, "message": message})
        self.tell(trouble, act, message, nimg)
