"""What is minimised: the loss of Gatys et al. 2016 with each term normalised by its target's energy, over a picture whole or in tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .statistics import EPSILON, Probe, Statistic, Terms
from .tiles import Tile

Extract = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
Strides = Mapping[str, int]


@dataclass(frozen=True)
class Weights:
    """Weights of the losses."""

    content: float
    style: float
    tv: float
    temporal: float = 0.0


@dataclass(frozen=True)
class StyleTerm:
    """What one region is to have at one layer.

    Attributes:
        layer: whose features.
        probe: measures them in the region.
        statistic: compares what is measured.
        target: prepared terms of the style.
        share: of this term in the style loss; all sum to 1.
    """

    layer: str
    probe: Probe
    statistic: Statistic
    target: Terms
    share: float


@dataclass(frozen=True)
class Anchor:
    """A picture to stay near to, (1, 3, H, W), and how much at each pixel, (1, 1, H, W) in [0, 1]: the frame before, carried along."""

    image: Tensor
    weight: Tensor

    def loss(self, image: Tensor) -> Tensor:
        """Mean squared difference (Ruder et al. 2016, eq. 7)."""
        return ((image - self.image).square() * self.weight).mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels (N, C, H, W), along and across, which no size changes by itself."""
    total = images.new_zeros(())
    for difference in (images.diff(dim=2), images.diff(dim=3)):
        if difference.numel():
            # rounded at the bottom, over a step of 8 bits, so that its gradient doesn't jump
            total = total + (difference.square() + (1 / 255) ** 2).sqrt().mean()
    return total


def features_of(extract: Extract, image: Tensor, tile: Tile, layers: Sequence[str], strides: Strides) -> dict[str, Tensor]:
    """Features of the positions that a tile stands for, by layer."""
    found = extract(tile.cut(image), layers)
    return {layer: tile.own(found[layer], strides[layer]) for layer in layers}


@torch.no_grad()
def gather(extract: Extract, image: Tensor, tiles: Sequence[Tile], probes: Sequence[tuple[str, Probe]], strides: Strides) -> list[Terms]:
    """Measure a picture, tile by tile.

    Args:
        extract: maps pictures and layers to features.
        image: (1, 3, H, W).
        tiles: of the picture.
        probes: with the layer that each is for.
        strides: pixels per position of each layer.

    Returns:
        The terms of each probe.
    """
    layers = list(dict.fromkeys(layer for layer, _ in probes))
    sums: list[Terms] = []
    for tile in tiles:
        features = features_of(extract, image, tile, layers, strides)
        parts = [probe(features[layer], *tile.place(strides[layer])) for layer, probe in probes]
        sums = [tuple(map(torch.add, a, b)) for a, b in zip(sums, parts, strict=True)] if sums else parts
    return sums


@torch.no_grad()
def content_features(
    extract: Extract, image: Tensor, tiles: Sequence[Tile], layers: Sequence[str], strides: Strides
) -> list[dict[str, Tensor]]:
    """Features to keep, by tile and layer."""
    return [features_of(extract, image, tile, layers, strides) for tile in tiles]


class Objective:
    """Total loss of a picture at one size, and its gradient.

    L = content_weight * mean_l |F_l - P_l|^2 / |P_l|^2 + style_weight * sum_t share_t S_t + tv_weight * TV + temporal_weight * A
    (Gatys et al. 2016, eq. 1, 5 and 7; unlike the paper every term is divided by its target's energy rather than by counts, so that one
    set of weights fits every backbone, layer and size).

    A picture in several tiles is looked at twice: the statistics, which belong to the whole picture, are gathered first, and the second
    time each tile is given its part of their gradient. The result is that of the whole picture up to rounding.

    Args:
        extract: maps pictures and layers to features.
        strides: pixels per position of each layer.
        tiles: of the picture.
        content: features to keep, by tile and layer.
        style: what each region is to have.
        weights: of the losses.
        anchor: a picture to stay near to.
    """

    def __init__(
        self,
        extract: Extract,
        strides: Strides,
        tiles: Sequence[Tile],
        content: Sequence[Mapping[str, Tensor]],
        style: Sequence[StyleTerm],
        weights: Weights,
        anchor: Anchor | None = None,
    ) -> None:
        self.extract, self.strides, self.tiles, self.content = extract, strides, tiles, content
        self.style, self.weights, self.anchor = style, weights, anchor
        self.energies = {layer: sum(float(part[layer].float().square().sum()) for part in content) + EPSILON for layer in content[0]}
        self.layers = list(dict.fromkeys([*content[0], *(term.layer for term in style)]))
        #: the losses, unweighted, of the picture evaluated last
        self.losses: dict[str, float] = {}

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Return the loss of (1, 3, H, W) and its gradient, of the same shape."""
        content, style, gradient = (self._whole if len(self.tiles) == 1 else self._tiled)(image)
        near, pixels = self._pixels(image)
        self.losses = {"content": content, "style": style} | near
        weights = self.weights
        total = weights.content * content + weights.style * style + weights.tv * near["tv"]
        return total + weights.temporal * near.get("temporal", 0.0), gradient.add_(pixels)

    def _pixels(self, image: Tensor) -> tuple[dict[str, float], Tensor]:
        """The losses that are functions of pixels, and their weighted gradient."""
        x = image.detach().requires_grad_(True)
        with torch.enable_grad():
            losses = {"tv": total_variation(x)}
            total = self.weights.tv * losses["tv"]
            if self.anchor is not None:
                losses["temporal"] = self.anchor.loss(x)
                total = total + self.weights.temporal * losses["temporal"]
            (gradient,) = torch.autograd.grad(total, x)
        return {name: loss.item() for name, loss in losses.items()}, gradient

    def _whole(self, image: Tensor) -> tuple[float, float, Tensor]:
        x = image.detach().requires_grad_(True)
        with torch.enable_grad():
            features = features_of(self.extract, x, self.tiles[0], self.layers, self.strides)
            content = self._content_loss(features, self.content[0])
            style = self._style_loss([term.probe(features[term.layer]) for term in self.style])
            (gradient,) = torch.autograd.grad(self.weights.content * content + self.weights.style * style, x)
        return content.item(), style.item(), gradient.contiguous()

    def _tiled(self, image: Tensor) -> tuple[float, float, Tensor]:
        terms = gather(self.extract, image, self.tiles, [(term.layer, term.probe) for term in self.style], self.strides)
        leaves = [tuple(part.requires_grad_(True) for part in value) for value in terms]
        with torch.enable_grad():
            style = self._style_loss(leaves)
            wanted = torch.autograd.grad(style, [part for value in leaves for part in value])
        gradient, content = torch.zeros_like(image), 0.0
        for tile, kept in zip(self.tiles, self.content, strict=True):
            x = tile.cut(image).detach().requires_grad_(True)
            with torch.enable_grad():
                found = self.extract(x, self.layers)
                features = {layer: tile.own(found[layer], self.strides[layer]) for layer in self.layers}
                here = self._content_loss(features, kept)
                parts = [part for term in self.style for part in term.probe(features[term.layer], *tile.place(self.strides[term.layer]))]
                along = torch.stack([(part * slope).sum() for part, slope in zip(parts, wanted, strict=True)]).sum()
                (piece,) = torch.autograd.grad(self.weights.content * here + self.weights.style * along, x)
            tile.cut(gradient).add_(piece)
            content += here.item()
        return content, style.item(), gradient

    def _content_loss(self, features: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Tensor:
        parts = [(features[layer].float() - target.float()).square().sum() / self.energies[layer] for layer, target in kept.items()]
        return torch.stack(parts).mean()

    def _style_loss(self, measured: Sequence[Terms]) -> Tensor:
        losses = [term.share * term.statistic.loss(value, term.target) for term, value in zip(self.style, measured, strict=True)]
        return torch.stack(losses).sum()
