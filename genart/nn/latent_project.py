"""The way back from a picture to a latent: optimisation until a network that sees as people do finds both alike.

As the projector of Karras et al. 2020 (appendix D), without its noise: several latents start at the best of many drawn ones, and those of z
stay on the sphere on which nearly all latents from N(0, 1) lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .images import to_unit
from .latent_space import Space

#: Layers of VGG whose features are compared, of those that a picture is large enough for.
LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
#: Larger pictures are compared at this size.
LARGEST = 256
#: Weight of the mean squared difference of pixels, in [0, 1], beside the features'.
PIXEL_WEIGHT = 1.0
#: Latents that are drawn for each one that is optimised.
DRAWN_PER_START = 16
#: Weight, in w, of a style's distance from the mean one in standard deviations, so that it stays where styles are.
STYLE_WEIGHT = 0.002

Distance = Callable[[Tensor], Tensor]


def perceptual_distance(backbone: Any, target: Tensor) -> Distance:
    """How far pictures are from one, to a network.

    Features are brought to unit length at each place, their squared differences averaged over places and summed over layers
    (Zhang et al. 2018, eq. 1, without learnt weights), and the mean squared difference of pixels is added.

    Args:
        backbone: gives features at named layers.
        target: (1, 3, R, R) in [0, 1].

    Returns:
        A function of (N, 3, R, R) in [0, 1], differentiable, that gives (N,).
    """

    def seen(images: Tensor) -> Tensor:
        return F.interpolate(images, LARGEST, mode="area") if images.shape[-1] > LARGEST else images

    known = set(getattr(backbone, "layers", LAYERS))
    side = seen(target).shape[-1]
    layers = [layer for layer in LAYERS if layer in known and backbone.stride(layer) * 4 <= side]

    def features(images: Tensor) -> list[Tensor]:
        found = backbone(seen(images), layers)
        return [F.normalize(found[layer].float(), dim=1, eps=1e-6) for layer in layers]

    with torch.no_grad():
        wanted = features(target)

    def distance(images: Tensor) -> Tensor:
        apart = PIXEL_WEIGHT * (images - target).square().mean((1, 2, 3))
        for found, one in zip(features(images), wanted, strict=True):
            apart = apart + (found - one).square().sum(1).mean((1, 2))
        return apart

    return distance


class Starts(NamedTuple):
    """Latents to begin with.

    Attributes:
        points: (S, dim) of the space.
        kinds: (S, classes), or None.
    """

    points: Tensor
    kinds: Tensor | None


@torch.no_grad()
def best_starts(space: Space, distance: Distance, count: int, label: str | None, generator: torch.Generator) -> Starts:
    """The best of many drawn latents, with the class `label`, or where that is None with each class in turn."""
    z = torch.randn(DRAWN_PER_START * count, space.z_dim, generator=generator)
    labels = [label or space.class_of(i) for i in range(len(z))]
    rows = [kind for kind in map(space.kind, labels) if kind is not None]
    kinds = torch.stack(rows).to(space.device) if rows else None
    points = z.to(space.device)
    if space.name == "w":
        points = space.G.mapping(points, *(() if kinds is None else (kinds,)))
    found = torch.cat([distance(drawn(space, points[i : i + 1], None if kinds is None else kinds[i : i + 1])) for i in range(len(z))])
    order = found.argsort(stable=True)[:count]
    return Starts(on_sphere(points[order], space), None if kinds is None else kinds[order])


def drawn(space: Space, points: Tensor, kinds: Tensor | None) -> Tensor:
    """Pictures of latents, differentiable: (S, dim) to (S, 3, R, R) near [0, 1]."""
    images: Tensor = space.G.synthesis(points) if space.name == "w" else space.G(points, *(() if kinds is None else (kinds,)))
    return to_unit(images.float())


def on_sphere(points: Tensor, space: Space) -> Tensor:
    """Latents of z at the length that those from N(0, 1) have, √z_dim; styles as they are."""
    if space.name == "w":
        return points
    scaled: Tensor = points * (math.sqrt(space.z_dim) / points.norm(dim=1, keepdim=True).clamp(min=1e-6))
    return scaled


class Projection:
    """Latents on their way to a picture; their state is exact in `points`, `best`, `found` and `optimizer`.

    Args:
        space: where they lie.
        distance: from the picture.
        starts: where they begin.
        lr: learning rate of Adam at the start.
        style_spread: (dim,), the standard deviation of styles, or None in z.

    Attributes:
        points: (S, dim).
        best: (S, dim), where each was nearest.
        found: (S,), how near that was.
    """

    def __init__(self, space: Space, distance: Distance, starts: Starts, lr: float, style_spread: Tensor | None = None) -> None:
        self.space, self.distance, self.kinds, self.lr, self.style_spread = space, distance, starts.kinds, lr, style_spread
        self.points = starts.points.detach().clone().requires_grad_()
        self.best = starts.points.detach().clone()
        self.found = torch.full((len(self.best),), math.inf, device=self.best.device)
        self.optimizer = torch.optim.Adam([self.points], lr=lr, betas=(0.9, 0.99))

    def step(self, share: float) -> float:
        """Go one step, at a share of the way from 0 to 1; returns the nearest of all distances so far."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 + math.cos(math.pi * share)) / 2
        self.optimizer.zero_grad(set_to_none=True)
        apart = self.distance(drawn(self.space, self.points, self.kinds))
        loss = apart.sum()
        if self.style_spread is not None:
            loss = loss + STYLE_WEIGHT * ((self.points - self.space.G.mean_w) / self.style_spread).square().mean(1).sum()
        loss.backward()
        with torch.no_grad():
            nearer = apart < self.found
            self.best = torch.where(nearer[:, None], self.points, self.best)
            self.found = torch.where(nearer, apart, self.found)
            self.optimizer.step()
            self.points.copy_(on_sphere(self.points, self.space))
        return float(self.found.min())

    def result(self) -> tuple[Tensor, Tensor | None, float]:
        """The best latent (dim,), its shares of classes (classes,) or None, and its distance."""
        i = int(self.found.argmin())
        return self.best[i].detach().cpu(), None if self.kinds is None else self.kinds[i].cpu(), float(self.found[i])
