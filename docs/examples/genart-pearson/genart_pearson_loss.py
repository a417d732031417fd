"""The loss itself, which needs torch."""

from __future__ import annotations

from torch import Tensor

from genart.nn.losses import Loss


def conjugate(t: Tensor) -> Tensor:
    """Fenchel conjugate of (u - 1)²: t²/4 + t (Nowozin et al. 2016, table 6)."""
    return t.square() / 4 + t


def D(real_logits: Tensor, gen_logits: Tensor) -> Tensor:
    """Minus the bound of the divergence that D raises (eq. 4)."""
    return conjugate(gen_logits.float()).mean() - real_logits.float().mean()


def G(gen_logits: Tensor, real_logits: Tensor) -> Tensor:
    """G raises D's answers (section 3.2, which does not saturate)."""
    return -gen_logits.float().mean()


PEARSON = Loss(D, G)
