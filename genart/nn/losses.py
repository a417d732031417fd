"""Adversarial losses and gradient penalties: pure functions, no input or output.

`real_logits` and `gen_logits` are D's answers, of any shape, before a sigmoid: positive means "real". Each loss returns a
scalar; half-precision logits are widened first. Real is 1, generated is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from genart import params

from . import shards

LOSS_NAMES: tuple[str, ...] = get_args(params.Loss)


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


def least_squares_D(real_logits: Tensor, gen_logits: Tensor) -> Tensor:
    """Least squares of D with the labels 1 and 0 (Mao et al. 2017, eq. 2 and 9): 0.25 where D always says one half."""
    return ((real_logits.float() - 1).square().mean() + gen_logits.float().square().mean()) / 2


def least_squares_G(gen_logits: Tensor) -> Tensor:
    """Least squares of G towards the label 1 (Mao et al. 2017, eq. 9)."""
    return (gen_logits.float() - 1).square().mean() / 2


def hinge_D(real_logits: Tensor, gen_logits: Tensor) -> Tensor:
    """Hinge loss of D (Lim and Ye 2017; Miyato et al. 2018, eq. 16): 2 where D says 0, and 0 once all answers are beyond 1."""
    return relu(1 - real_logits.float()).mean() + relu(1 + gen_logits.float()).mean()


def hinge_G(gen_logits: Tensor) -> Tensor:
    """Loss of G beside a hinge (Miyato et al. 2018, eq. 17): minus the mean answer."""
    return -gen_logits.float().mean()


def wgan_D(real_logits: Tensor, gen_logits: Tensor, drift: float = 1e-3) -> Tensor:
    """Wasserstein loss of the critic (Arjovsky et al. 2017, eq. 2), kept near zero by a drift term (Karras et al. 2018, appendix A.1)."""
    real = real_logits.float()
    return gen_logits.float().mean() - real.mean() + drift * real.square().mean()


def relativistic_average_D(real_logits: Tensor, gen_logits: Tensor) -> Tensor:
    """Relativistic average hinge loss of D (Jolicoeur-Martineau 2019, RaHingeGAN): real above the mean generated one, and the reverse."""
    real, gen = real_logits.float(), gen_logits.float()
    mean_real, mean_gen = shards.mean(real.mean()), shards.mean(gen.mean())
    return relu(1 - (real - mean_gen)).mean() + relu(1 + (gen - mean_real)).mean()


def relativistic_average_G(gen_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Relativistic average hinge loss of G: that of D with the roles exchanged (Jolicoeur-Martineau 2019)."""
    return relativistic_average_D(gen_logits, real_logits)


def relativistic_paired_D(real_logits: Tensor, gen_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of D (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2): each generated picture against a real one.

    Args:
        real_logits: D's answers to real pictures.
        gen_logits: D's answers to as many generated pictures.

    Returns:
        The mean of softplus(gen - real): ln 2 = 0.693 where D knows nothing.
    """
    return softplus(gen_logits.float() - real_logits.float()).mean()


def relativistic_paired_G(gen_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of G: softplus(real - gen) (Huang et al. 2024, eq. 2)."""
    return relativistic_paired_D(gen_logits, real_logits)


@dataclass(frozen=True)
class Loss:
    """The two sides of an adversarial loss.

    Attributes:
        D: (real_logits, gen_logits) to a scalar.
        G: (gen_logits, real_logits) to a scalar; only relativistic losses look at the second.
        relativistic: it compares answers with each other, so that an answer alone means nothing.
    """

    D: Callable[[Tensor, Tensor], Tensor]
    G: Callable[[Tensor, Tensor], Tensor]
    relativistic: bool = False


def range_of(loss: Loss) -> tuple[float, float]:
    """D's loss at its least, over logits within ±20, and at chance, where D answers 0 to all."""
    zero = torch.zeros(1)
    pairs = [(real[None], gen) for real in torch.linspace(-20, 20, 401) for gen in (zero - 20, zero, real[None] - 20)]
    return min(float(loss.D(real, gen)) for real, gen in pairs), float(loss.D(zero, zero))


def _alone(loss_G: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda gen_logits, real_logits: loss_G(gen_logits)


def named(name: str, label_smoothing: float = 0.0) -> Loss:
    """Return a loss by its name, one of `LOSS_NAMES`.

    "bce" and "non_saturating" are one loss under its two names; label smoothing belongs to "bce" alone.
    """
    return {
        "bce": Loss(partial(bce_D, label_smoothing=label_smoothing), _alone(bce_G)),
        "non_saturating": Loss(bce_D, _alone(bce_G)),
        "least_squares": Loss(least_squares_D, _alone(least_squares_G)),
        "hinge": Loss(hinge_D, _alone(hinge_G)),
        "wgan": Loss(wgan_D, _alone(hinge_G)),
        "relativistic_average": Loss(relativistic_average_D, relativistic_average_G, relativistic=True),
        "relativistic_paired": Loss(relativistic_paired_D, relativistic_paired_G, relativistic=True),
    }[name]


def squared_gradient(logits: Tensor, images: Sequence[Tensor]) -> Tensor:
    """Squared length of the gradient of each picture's summed answers with respect to the picture, differentiable once more.

    Args:
        logits: D's answers, (N, ...).
        images: what D saw, each (N, ...), with gradients required; more than one where a picture is seen at several sizes.

    Returns:
        (N,) float32.
    """
    gradients = torch.autograd.grad(logits.float().sum(), list(images), create_graph=True)
    squares = torch.stack([gradient.float().square().flatten(1).sum(1) for gradient in gradients])
    return squares.sum(0)


def zero_centred_penalty(logits: Tensor, images: Sequence[Tensor]) -> Tensor:
    """R1 of real pictures, R2 of generated ones, for gamma = 1: half the mean squared gradient (Mescheder et al. 2018, eq. 9 and 10)."""
    return squared_gradient(logits, images).mean() / 2


def one_centred_penalty(logits: Tensor, images: Sequence[Tensor]) -> Tensor:
    """Gradient penalty of WGAN-GP for lambda = 1, on pictures between real and generated ones (Gulrajani et al. 2017, eq. 3)."""
    return ((squared_gradient(logits, images) + 1e-12).sqrt() - 1).square().mean()
