"""Adversarial losses: pure functions of logits, no input or output.

`real_logits` and `gen_logits` are D's answers, of any shape, before a sigmoid: positive means "real". Each function
returns a scalar; half-precision logits are widened first. Real is 1, generated is 0.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def bce_D(real_logits: Tensor, gen_logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of D (Goodfellow et al. 2014, eq. 1, negated).

    Args:
        real_logits: D's answers to real pictures.
        gen_logits: D's answers to generated pictures.
        label_smoothing: the label of a real picture is 1 minus this; one-sided (Salimans et al. 2016, section 3.4).

    Returns:
        The sum of the two mean cross-entropies: 2 ln 2 = 1.386 where D knows nothing, near 0 where it always wins.
    """
    real, gen = real_logits.float(), gen_logits.float()
    # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x) = softplus(-x) + x
    loss_real = softplus(-real) + label_smoothing * real
    return loss_real.mean() + softplus(gen).mean()


def bce_G(gen_logits: Tensor) -> Tensor:
    """Cross-entropy of G against the label "real": the non-saturating loss (Goodfellow et al. 2014, section 3).

    Args:
        gen_logits: D's answers to generated pictures.

    Returns:
        The mean: ln 2 = 0.693 where D knows nothing.
    """
    return softplus(-gen_logits.float()).mean()
