"""The two networks of a style-based GAN (Karras et al. 2019 and 2020), for any power-of-two resolution from 8 on.

G turns a latent z into a style w, and draws from a constant: at every layer the style scales the feature maps, and noise, where
it is asked for, adds what is random in detail. D is residual, without normalisation (Karras et al. 2020, section 4.1 and figure 7c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genart.nn import shards
from genart.nn.layers import (
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
    upsampled,
    with_labels,
)

#: Share of the learning rate at which the layers learn that map latents to styles (Karras et al. 2019, appendix C).
MAPPING_RATE = 0.01


def scaled(x: Tensor, factors: Tensor) -> Tensor:
    """Feature maps times a factor for each: (N, C, H, W) and (N, C) to (N, C, H, W)."""
    return x * factors[:, :, None, None].to(x.dtype)


class StyledConv(nn.Module):
    """A convolution of 3x3 that a style modulates, then noise and a rectifier (Karras et al. 2020, section 2.2 and figure 2d).

    The kernel of each picture, eq. 1 and 3, is that of the layer with its inputs scaled by the style and its outputs scaled to unit
    variance. Scaling the feature maps instead does the same, and leaves one plain convolution for the batch.

    Args:
        c_in: channels in.
        c_out: channels out.
        w_dim: numbers in a style.
        double: enlarge to nearest neighbours before the convolution.
        smooth: smooth what was enlarged, so that it holds no pattern of the pixel grid.
        noise: add noise, of a strength that is learnt.
    """

    def __init__(self, c_in: int, c_out: int, w_dim: int, *, double: bool = False, smooth: bool = False, noise: bool = True) -> None:
        super().__init__()
        self.doubles, self.smooth = double, smooth
        self.style = EqualLinear(w_dim, c_in, bias_start=1.0)
        self.conv = EqualConv2d(c_in, c_out, 3, bias=False)
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Draw on.

        Args:
            x: (N, c_in, H, W).
            w: (N, w_dim).
            noise: (1 or N, 1, S, S), or None for a layer without; S is H, or 2H if it doubles.

        Returns:
            (N, c_out, S, S).
        """
        kernel = self.conv.weight * self.conv.scale
        style = self.style(w)
        x = scaled(x, style)
        x = upsampled(x, kernel.transpose(0, 1), smooth=self.smooth) if self.doubles else F.conv2d(x, kernel, padding=1)
        bias = self.bias[None, :, None, None].to(x.dtype)
        x = torch.addcmul(bias, x, demodulation(kernel, style)[:, :, None, None].to(x.dtype))
        return rectified(x if noise is None else x.add_((noise * self.noise_strength).to(x.dtype)))


def demodulation(kernel: Tensor, style: Tensor) -> Tensor:
    """What brings a modulated convolution of independent inputs of unit variance to variance 2, which a rectifier halves.

    Args:
        kernel: (c_out, c_in, y, x).
        style: (N, c_in).

    Returns:
        (N, c_out): √2 / √(Σ (style · kernel)² + ε) over inputs and places (Karras et al. 2020, eq. 3).
    """
    energy = F.linear(style.square(), kernel.square().sum((2, 3)))
    return (energy.float() / 2 + 1e-8).rsqrt()


class StyledRGB(nn.Module):
    """Features to colours, by a convolution of 1x1 that a style modulates.

    Its outputs are not scaled back: colours have no variance that they should have (Karras et al. 2020, section 4.1).
    """

    def __init__(self, c: int, w_dim: int) -> None:
        super().__init__()
        self.style = EqualLinear(w_dim, c, bias_start=1.0)
        self.conv = EqualConv2d(c, 3, 1, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x: (N, c, S, S), w: (N, w_dim). Returns (N, 3, S, S) float32."""
        colours: Tensor = self.conv(scaled(x, self.style(w)))
        return colours.float()


class GeneratorBlock(nn.Module):
    """A scale of G: two layers, and the colours that they add to the enlarged picture (Karras et al. 2020, figure 7b)."""

    def __init__(self, c_in: int, c_out: int, w_dim: int, *, smooth: bool = False, noise: bool = True) -> None:
        super().__init__()
        self.up = StyledConv(c_in, c_out, w_dim, double=True, smooth=smooth, noise=noise)
        self.conv = StyledConv(c_out, c_out, w_dim, noise=noise)
        self.to_rgb = StyledRGB(c_out, w_dim)

    def forward(self, x: Tensor, pictures: Tensor, ws: Tensor, noise: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Features (N, c_in, S, S), pictures (N, 3, S, S), ws (N, 3, w_dim) and the noise of two layers to both of twice the size."""
        x = self.up(x, ws[:, 0], noise[0])
        x = self.conv(x, ws[:, 1], noise[1])
        return x, F.interpolate(pictures, scale_factor=2.0, mode="bilinear") + self.to_rgb(x, ws[:, 2])


class Generator(nn.Module):
    """G: z to a style, and styles to pictures.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        z_dim: numbers in a latent vector.
        w_dim: numbers in a style.
        mapping_layers: layers between both.
        classes: number of classes; 0 for none.
        bounded: pictures are within [-1, 1] by a tanh; False for models of before there was one.
        noise: each convolution adds noise (Karras et al. 2019, section 3.2). It is random detail for nothing, and a training of minutes
            learns to draw with little else.

    Attributes:
        layers: number of styles that a picture takes, one for each convolution and the last colours: 2 log2(resolution) - 2.
        mean_w: (w_dim,), the mean style, once `settle` has measured it.
    """

    mean_w: Tensor

    def __init__(
        self,
        resolution: int = 64,
        width: int = 16,
        z_dim: int = 64,
        w_dim: int = 64,
        mapping_layers: int = 2,
        classes: int = 0,
        *,
        bounded: bool = False,
        noise: bool = True,
    ) -> None:
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.bounded, self.noise = resolution, z_dim, w_dim, bounded, noise
        widths = channels(2 * resolution, width)
        self.classes = nn.Embedding(classes, z_dim) if classes else None
        sizes = [2 * z_dim if classes else z_dim] + [w_dim] * mapping_layers
        self.to_w = nn.ModuleList(EqualLinear(a, b, gain=math.sqrt(2), lr_multiplier=MAPPING_RATE) for a, b in pairwise(sizes))
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.conv, self.to_rgb = StyledConv(widths[0], widths[0], w_dim, noise=noise), StyledRGB(widths[0], w_dim)
        last = len(widths) - 2  # where a smooth kernel costs most, and where a pattern would be seen
        blocks = [GeneratorBlock(a, b, w_dim, smooth=at == last, noise=noise) for at, (a, b) in enumerate(pairwise(widths))]
        self.blocks = nn.ModuleList(blocks)
        self.layers = 2 * len(self.blocks) + 2
        self.register_buffer("mean_w", torch.zeros(w_dim))
        # Among the weights, so that the same z gives the same picture in every detail wherever the model is loaded.
        for layer, side in enumerate(self.noise_sides() if noise else ()):
            self.register_buffer(f"noise_{layer}", torch.randn(1, 1, side, side))

    def noise_sides(self) -> list[int]:
        """Pixels along a side of each convolution's noise: 4, 8, 8, 16, 16, ..."""
        return [4, *(8 << block for block in range(len(self.blocks)) for _ in range(2))]

    def fixed_noise(self) -> Sequence[Tensor | None]:
        """The noise of finished pictures: (1, 1, S, S) for each convolution, or None for each."""
        return [self.get_buffer(f"noise_{layer}") if self.noise else None for layer in range(len(self.noise_sides()))]

    def fresh_noise(self, count: int, generator: torch.Generator) -> Sequence[Tensor | None]:
        """Noise of its own for each picture: (count, 1, S, S) for each convolution, or None for each; the generator is on the CPU."""
        if not self.noise:
            return self.fixed_noise()

        def drawn(side: int) -> Tensor:
            return shards.drawn(lambda n: torch.randn(n, 1, side, side, generator=generator), count)

        return [drawn(side).to(self.start.device) for side in self.noise_sides()]

    def mapping(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The style of a latent.

        Args:
            z: (N, z_dim); only its direction counts (Karras et al. 2019, section 4.2).
            labels: (N,), or None for each class in turn.

        Returns:
            (N, w_dim).
        """
        w = with_labels(pixel_norm(z), labels, self.classes)
        for layer in self.to_w:
            w = rectified(layer(w))
        return w

    @torch.no_grad()
    def settle(self, z: Tensor) -> None:
        """Measure the mean style on latents (N, z_dim), over all classes."""
        self.mean_w.copy_(self.mapping(z).mean(0))

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Styles nearer to the mean one (Karras et al. 2019, appendix B).

        Args:
            w: (..., w_dim).
            psi: 1 changes nothing, 0 gives the mean style.

        Returns:
            The shape of w.
        """
        return torch.lerp(self.mean_w.to(w.dtype), w, psi)

    def first_layer(self) -> Tensor:
        """Weights that see w, of all layers one below the other: (out, w_dim)."""
        blocks: Any = self.blocks
        styled = [self.conv, self.to_rgb, *(part for block in blocks for part in (block.up, block.conv, block.to_rgb))]
        return torch.cat([part.style.weight * part.style.scale for part in styled])

    def synthesis(self, ws: Tensor, noise: Sequence[Tensor | None] | None = None) -> Tensor:
        """Draw styles.

        Args:
            ws: (N, layers, w_dim), a style for each layer, the coarsest first; or (N, w_dim), one for all.
            noise: (1 or N, 1, S, S) for each convolution; left out, it is the fixed noise.

        Returns:
            (N, 3, resolution, resolution) float32; in [-1, 1] if bounded, else near it.
        """
        if ws.ndim == 2:
            ws = ws[:, None].expand(-1, self.layers, -1)
        noise = self.fixed_noise() if noise is None else noise
        x = self.start.expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv(x, ws[:, 0], noise[0])
        pictures: Tensor = self.to_rgb(x, ws[:, 1])
        for at, block in enumerate(self.blocks):  # its first layer shares a style with the colours before it
            x, pictures = block(x, pictures, ws[:, 2 * at + 1 : 2 * at + 4], noise[2 * at + 1 : 2 * at + 3])
        return coloured(pictures, bounded=self.bounded)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        return self.synthesis(self.mapping(z, labels)).clamp(-1, 1)


class DiscriminatorBlock(nn.Module):
    """A scale of D, residual: (N, c_in, H, W) to (N, c_out, H/2, W/2).

    Unlike in the paper, the mean of 2x2 places halves the size, and it comes before the rectifier: so it is part of the kernel. Both
    ways are scaled by √½, which keeps the variance of their sum (Karras et al. 2020, section 4.1).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv, self.down = EqualConv2d(c_in, c_in, 3), EqualConv2d(c_in, c_out, 3, gain=1.0)
        self.skip = EqualConv2d(c_in, c_out, 1, gain=math.sqrt(0.5), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H/2, W/2)."""
        skipped: Tensor = self.skip(F.avg_pool2d(x, 2))
        return skipped + rectified(halved(rectified(self.conv(x)), self.down))


class Discriminator(nn.Module):
    """D: pictures to logits.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at the resolution.
        classes: number of classes; 0 for none. What a class adds to the answer is a projection (Miyato and Koyama 2018).
        stddev: see how much the pictures of a batch differ (Karras et al. 2018, section 3).
    """

    def __init__(self, resolution: int = 64, width: int = 16, *, classes: int = 0, stddev: bool = True) -> None:
        super().__init__()
        self.stddev = stddev
        widths = channels(2 * resolution, width)[::-1]
        self.from_rgb = EqualConv2d(3, widths[0], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(c_in, c_out) for c_in, c_out in pairwise(widths))
        self.conv = EqualConv2d(widths[-1] + stddev, widths[-1], 3)
        self.dense = EqualLinear(16 * widths[-1], widths[-1], gain=math.sqrt(2))
        self.to_logit = EqualLinear(widths[-1], 1)
        self.classes = nn.Embedding(classes, widths[-1]) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: (N, 3, resolution, resolution) in [-1, 1], labels: (N,) or None. Returns logits (N,)."""
        x = rectified(self.from_rgb(images))
        for block in self.blocks:
            x = block(x)
        with in_float32(x):  # answers are compared with each other, and differ by little
            x = x.float()
            x = rectified(self.conv(minibatch_stddev(x) if self.stddev else x))
            features = rectified(self.dense(x.flatten(1)))
            logits: Tensor = self.to_logit(features).flatten()
            return logits + projected_label(features * self.to_logit.scale, labels, self.classes)
