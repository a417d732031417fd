"""The two networks of a GAN that grows (Karras et al. 2018, section 2 and table 2), for any power-of-two resolution from 8 on.

Both draw and judge at a level: 0 is 4x4, and each further one doubles it. A new level fades in by `alpha`, from 0 to 1. What
`grow` sets, a place, is both in one number: 2.25 is level 3 with an alpha of 0.25, and 3 the whole of level 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genart.nn.layers import (
    DoublingBlock,
    EqualConv2d,
    EqualLinear,
    channels,
    coloured,
    halved,
    in_float32,
    minibatch_stddev,
    pixel_norm,
    projected_label,
    rectified,
    with_labels,
)


def level_at(place: float) -> tuple[int, float]:
    """Level and alpha, in (0, 1], at a place of the growth."""
    level = math.ceil(place)
    return level, place - level + 1


class DiscriminatorBlock(nn.Module):
    """A level of D: (N, c_in, H, W) to (N, c_out, H/2, W/2). Unlike in the paper, the mean of 2x2 places comes before the rectifier."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv, self.down = EqualConv2d(c_in, c_in, 3), EqualConv2d(c_in, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H/2, W/2)."""
        return rectified(halved(rectified(self.conv(x)), self.down))


class Generator(nn.Module):
    """G: z to pictures, through a dense layer to 4x4 and one doubling after another. As constructed it is full-grown.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        z_dim: numbers in a latent vector.
        classes: number of classes; 0 for none.
        bounded: pictures are within [-1, 1] by a tanh; False for models of before there was one.
    """

    #: Latents are brought to one length (Karras et al. 2018, section 4.2), so that scaling them changes nothing.
    directions_only = True

    place: Tensor

    def __init__(self, resolution: int = 64, width: int = 16, z_dim: int = 64, classes: int = 0, *, bounded: bool = False) -> None:
        super().__init__()
        self.resolution, self.z_dim, self.bounded = resolution, z_dim, bounded
        widths = channels(2 * resolution, width)
        self.classes = nn.Embedding(classes, z_dim) if classes else None
        self.dense = EqualLinear(2 * z_dim if classes else z_dim, 16 * widths[0], gain=math.sqrt(2))
        self.conv = EqualConv2d(widths[0], widths[0], 3)
        self.blocks = nn.ModuleList(DoublingBlock(c_in, c_out) for c_in, c_out in pairwise(widths))
        self.to_rgb = nn.ModuleList(EqualConv2d(c, 3, 1, gain=1.0) for c in widths)
        # Among the weights, so that a model whose training ended early draws as far as it grew.
        self.register_buffer("place", torch.zeros(()))
        self.grow(len(self.blocks))

    def grow(self, place: float) -> None:
        """Draw at this place of the growth, 0 for 4x4 to the number of doublings; a multiple of 1/1024 is kept exactly."""
        self.level, self.alpha = level_at(place)
        self.place.fill_(place)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over weights, and draw at the place that they had grown to."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self.grow(float(self.place))
        return keys

    def draw(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The level's own pictures.

        Args:
            z: (N, z_dim); only its direction counts (section 4.2).
            labels: (N,), or None for each class in turn.

        Returns:
            (N, 3, S, S) float32, S = 4 << level; in [-1, 1] if bounded, else near it.
        """
        x = self.dense(with_labels(pixel_norm(z), labels, self.classes))
        x = x.view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        x = pixel_norm(rectified(self.conv(pixel_norm(rectified(x)))))
        before = x
        for block in self.blocks[: self.level]:
            before, x = x, block(x)
        pictures = coloured(self.to_rgb[self.level](x), bounded=self.bounded)
        if self.alpha < 1:
            coarse = F.interpolate(coloured(self.to_rgb[self.level - 1](before), bounded=self.bounded), scale_factor=2.0)
            pictures = torch.lerp(coarse, pictures, self.alpha)
        return pictures

    def first_layer(self) -> Tensor:
        """Weights of the first layer that see z, (out, z_dim)."""
        return self.dense.weight[:, : self.z_dim]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        pictures = self.draw(z, labels)
        if pictures.shape[-1] != self.resolution:
            pictures = F.interpolate(pictures, self.resolution, mode="nearest")
        return pictures.clamp(-1, 1)


class Discriminator(nn.Module):
    """D: pictures of a level to logits; it mirrors G. As constructed it is full-grown.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        classes: number of classes; 0 for none. What a class adds to the answer is a projection (Miyato and Koyama 2018).
    """

    def __init__(self, resolution: int = 64, width: int = 16, *, classes: int = 0) -> None:
        super().__init__()
        widths = channels(2 * resolution, width)
        self.from_rgb = nn.ModuleList(EqualConv2d(3, c, 1) for c in widths)
        self.blocks = nn.ModuleList(DiscriminatorBlock(c_in, c_out) for c_out, c_in in pairwise(widths))
        self.conv = EqualConv2d(widths[0] + 1, widths[0], 3)
        self.dense = EqualLinear(16 * widths[0], widths[0], gain=math.sqrt(2))
        self.to_logit = EqualLinear(widths[0], 1)
        self.classes = nn.Embedding(classes, widths[0]) if classes else None
        self.grow(len(self.blocks))

    def grow(self, place: float) -> None:
        """Judge at this place of the growth, 0 for 4x4 to the number of doublings."""
        self.level, self.alpha = level_at(place)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: (N, 3, S, S) in [-1, 1] with S = 4 << level, labels: (N,) or None. Returns logits (N,)."""
        x = rectified(self.from_rgb[self.level](images))
        for level in range(self.level, 0, -1):
            x = self.blocks[level - 1](x)
            if level == self.level and self.alpha < 1:
                coarse = rectified(self.from_rgb[level - 1](F.avg_pool2d(images, 2)))
                x = torch.lerp(coarse, x, self.alpha)
        with in_float32(x):  # answers are compared with each other, and differ by little
            features = rectified(self.dense(rectified(self.conv(minibatch_stddev(x.float()))).flatten(1)))
            logits: Tensor = self.to_logit(features).flatten()
            return logits + projected_label(features * self.to_logit.scale, labels, self.classes)
