"""The two networks of MSG-GAN (Karnewar and Wang 2020, section 2), for any power-of-two resolution from 8 on.

They are those of Karras et al. (2018), full-grown from the beginning: G draws a picture at every scale, and D sees each of them
where its features have that size, so that gradients reach every scale of G directly.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

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

#: A pixel's colours, and the channel that `minibatch_stddev` appends.
RGB, STDDEV = 3, 1


class DiscriminatorBlock(nn.Module):
    """A scale of D: (N, c_in, H, W) to (N, c_out, H/2, W/2). Unlike in the paper, the mean of 2x2 places comes before the rectifier."""

    def __init__(self, c_in: int, c: int, c_out: int) -> None:
        super().__init__()
        self.conv, self.down = EqualConv2d(c_in + STDDEV, c, 3), EqualConv2d(c, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H/2, W/2)."""
        return rectified(halved(rectified(self.conv(minibatch_stddev(x))), self.down))


class Generator(nn.Module):
    """G: z to pictures of every scale, through a dense layer to 4x4 and one doubling after another.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        z_dim: numbers in a latent vector.
        classes: number of classes; 0 for none.
        bounded: pictures are within [-1, 1] by a tanh; False for models of before there was one.
    """

    #: Latents are brought to one length (Karras et al. 2018, section 4.2), so that scaling them changes nothing.
    directions_only = True

    def __init__(self, resolution: int = 64, width: int = 16, z_dim: int = 64, classes: int = 0, *, bounded: bool = False) -> None:
        super().__init__()
        self.resolution, self.z_dim, self.bounded = resolution, z_dim, bounded
        widths = channels(2 * resolution, width)
        self.classes = nn.Embedding(classes, z_dim) if classes else None
        self.dense = EqualLinear(2 * z_dim if classes else z_dim, 16 * widths[0], gain=math.sqrt(2))
        self.conv = EqualConv2d(widths[0], widths[0], 3)
        self.blocks = nn.ModuleList(DoublingBlock(c_in, c_out) for c_in, c_out in pairwise(widths))
        self.to_rgb = nn.ModuleList(EqualConv2d(c, RGB, 1, gain=1.0) for c in widths)

    def features(self, z: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """Features of every scale, the smallest first: (N, z_dim) to (N, C, S, S) each; only the direction of z counts."""
        x = self.dense(with_labels(pixel_norm(z), labels, self.classes))
        x = x.view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        features = [pixel_norm(rectified(self.conv(pixel_norm(rectified(x)))))]
        for block in self.blocks:
            features.append(block(features[-1]))
        return features

    def scales(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """Pictures of every scale, as D sees them.

        Args:
            z: (N, z_dim).
            labels: (N,), or None for each class in turn.

        Returns:
            (N, 3, R, R), (N, 3, R/2, R/2), ..., (N, 3, 4, 4), float32; in [-1, 1] if bounded, else near it.
        """
        pictures = [coloured(to_rgb(x), bounded=self.bounded) for to_rgb, x in zip(self.to_rgb, self.features(z, labels), strict=True)]
        return tuple(pictures[::-1])

    def first_layer(self) -> Tensor:
        """Weights of the first layer that see z, (out, z_dim)."""
        return self.dense.weight[:, : self.z_dim]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        pictures = coloured(self.to_rgb[-1](self.features(z, labels)[-1]), bounded=self.bounded)
        return pictures.clamp(-1, 1)


class Discriminator(nn.Module):
    """D: a picture at every scale to a logit; the combine function is φ_simple, the pictures beside the features.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        classes: number of classes; 0 for none. What a class adds to the answer is a projection (Miyato and Koyama 2018).
    """

    def __init__(self, resolution: int = 64, width: int = 16, *, classes: int = 0) -> None:
        super().__init__()
        widths = channels(2 * resolution, width)[::-1]
        self.from_rgb = EqualConv2d(RGB, widths[0], 1)
        beside = [0] + [RGB] * (len(widths) - 2)  # the largest picture comes by from_rgb alone
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(c + more, c, c_out) for (c, c_out), more in zip(pairwise(widths), beside, strict=True)
        )
        self.conv = EqualConv2d(widths[-1] + RGB + STDDEV, widths[-1], 3)
        self.dense = EqualLinear(16 * widths[-1], widths[-1], gain=math.sqrt(2))
        self.to_logit = EqualLinear(widths[-1], 1)
        self.classes = nn.Embedding(classes, widths[-1]) if classes else None

    def forward(self, scales: tuple[Tensor, ...], labels: Tensor | None = None) -> Tensor:
        """scales: (N, 3, S, S) in [-1, 1] from S = resolution to 4, labels: (N,) or None. Returns logits (N,)."""
        x = rectified(self.from_rgb(scales[0]))
        for block, smaller in zip(self.blocks, scales[1:], strict=True):
            x = block(x)
            x = torch.cat([x, smaller.to(x.dtype)], 1)
        with in_float32(x):  # answers are compared with each other, and differ by little
            features = rectified(self.dense(rectified(self.conv(minibatch_stddev(x.float()))).flatten(1)))
            logits: Tensor = self.to_logit(features).flatten()
            return logits + projected_label(features * self.to_logit.scale, labels, self.classes)
