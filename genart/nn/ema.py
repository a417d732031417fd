"""The exponential moving average of G, counted in images, and its batch statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: The half-life is this share of the images seen so far, until it reaches its limit.
RAMP = 0.05


def half_life(nimg: int, limit_kimg: float, ramp: float = RAMP) -> float:
    """Half-life of the average, in images, after `nimg` images.

    A fixed half-life keeps the grey start in the average for a large part of a short training; a share of the images
    seen so far forgets it at every length of training (Karras et al. 2020, "limited data", use the same share).

    Args:
        nimg: real images seen.
        limit_kimg: the half-life never exceeds this many thousand images.
        ramp: share of `nimg`.
    """
    return min(limit_kimg * 1000, nimg * ramp)


def decay(images: int, half_life_nimg: float) -> float:
    """Weight that the average keeps when `images` more have been seen: 0.5 after one half-life, 0 for a half-life of 0."""
    return 0.5 ** (images / half_life_nimg) if half_life_nimg > 0 else 0.0


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, beta: float) -> None:
    """Move the average towards the module: `average = beta * average + (1 - beta) * module`.

    Buffers are left alone: batch statistics that belong to averaged weights are not averages of batch statistics
    (see `settle_statistics`).
    """
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - beta)


@torch.no_grad()
def settle_statistics(G: nn.Module, z: Tensor, batch_size: int = 32) -> None:
    """Measure the batch-normalisation statistics of G on fixed latents, then leave it in evaluation mode.

    "Standing statistics" (Brock et al. 2019, section 2 and appendix B); a function of the weights and of z alone.

    Args:
        G: a generator; one without batch normalisation is put into evaluation mode. One with a method `settle` of its own, for what else
            belongs to averaged weights, has it called with z.
        z: (N, z_dim).
        batch_size: latents at a time; a remainder is dropped, so that all batches weigh the same.
    """
    norms = [module for module in G.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    if norms:
        G.train()
        for part in z[: max(1, len(z) // batch_size) * batch_size].split(batch_size):
            G(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    G.train(False)
    settle = getattr(G, "settle", None)
    if callable(settle):
        settle(z)
