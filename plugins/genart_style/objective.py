"""What is minimised: the loss of Gatys et al. 2016 with each term normalised by its target's energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .statistics import Terms

#: Keeps a term finite whose target is nothing: a black picture, a flat style.
EPSILON = 1e-8


@dataclass(frozen=True)
class Weights:
    """Weights of the three losses."""

    content: float
    style: float
    tv: float


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    """Squared distance to a target, as a share of the target's own energy: 0 when equal, 1 when `value` is nothing."""
    return (value - target).square().sum() / (target.square().sum() + EPSILON)


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels (N, C, H, W), along and across, which no size changes by itself."""
    total = images.new_zeros(())
    for difference in (images.diff(dim=2), images.diff(dim=3)):
        if difference.numel():
            # rounded at the bottom, over a step of 8 bits, so that its gradient doesn't jump
            total = total + (difference.square() + (1 / 255) ** 2).sqrt().mean()
    return total


@torch.no_grad()
def style_target(
    backbone: Any, statistic: Callable[[Tensor], Terms], layers: Sequence[str], styles: Sequence[Tensor], shares: Sequence[float]
) -> dict[str, Terms]:
    """Blend the statistics of styles, by layer; `shares` sum to 1."""
    blended: dict[str, Terms] = {}
    for picture, share in zip(styles, shares, strict=True):
        features = backbone(picture, layers)
        for layer in layers:
            terms = tuple(share * term for term in statistic(features[layer]))
            blended[layer] = tuple(a + b for a, b in zip(blended[layer], terms, strict=True)) if layer in blended else terms
    return blended


class Objective:
    """Total loss of a picture at one size, and its gradient.

    L = content_weight * mean_l |F_l - P_l|^2 / |P_l|^2 + style_weight * mean_l mean_t |S_t - A_t|^2 / |A_t|^2 + tv_weight * TV
    (Gatys et al. 2016, eq. 1, 5 and 7; unlike the paper every term is divided by its target's energy rather than by counts, so that one
    set of weights fits every backbone, layer and size).

    Args:
        backbone: maps pictures and layers to features.
        statistic: of the style's features.
        content: (1, 3, H, W) in [0, 1].
        content_layers: layers of the content loss.
        style: the statistics to reach, by layer.
        weights: of the three losses.
    """

    def __init__(
        self,
        backbone: Any,
        statistic: Callable[[Tensor], Terms],
        content: Tensor,
        content_layers: Sequence[str],
        style: dict[str, Terms],
        weights: Weights,
    ) -> None:
        self.backbone, self.statistic, self.style, self.weights = backbone, statistic, style, weights
        self.layers = [*content_layers, *style]
        with torch.no_grad():
            self.content = backbone(content, content_layers)
        #: the three losses, unweighted, of the picture evaluated last
        self.losses: dict[str, float] = {}

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Return the loss of (1, 3, H, W) and its gradient, of the same shape."""
        x = image.detach().requires_grad_(True)
        with torch.enable_grad():
            features = self.backbone(x, self.layers)
            content = torch.stack([relative_error(features[layer], target) for layer, target in self.content.items()]).mean()
            style = torch.stack([self._style_loss(features[layer], target) for layer, target in self.style.items()]).mean()
            tv = total_variation(x)
            total = self.weights.content * content + self.weights.style * style + self.weights.tv * tv
            (gradient,) = torch.autograd.grad(total, x)
        self.losses = {"content": content.item(), "style": style.item(), "tv": tv.item()}
        return total.item(), gradient.contiguous()

    def _style_loss(self, features: Tensor, target: Terms) -> Tensor:
        return torch.stack([relative_error(a, b) for a, b in zip(self.statistic(features), target, strict=True)]).mean()
