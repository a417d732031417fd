"""The two networks of DCGAN (Radford et al. 2015, section 3 and figure 1), for any power-of-two resolution from 16 on."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The coarsest layer has at most this many times the channels of the finest.
MAX_WIDENING = 8


def channels(resolution: int, width: int) -> list[int]:
    """Channels of the feature maps from 4x4 to half the resolution: for 64 px and width 64, 512, 256, 128, 64."""
    sizes = [4 << i for i in range(resolution.bit_length() - 3)]  # 4, 8, ..., resolution / 2
    return [width * min(MAX_WIDENING, resolution // 2 // size) for size in sizes]


def smoothed(kernel: Tensor) -> Tensor:
    """A kernel (a, b, y, x) convolved with the binomial [1, 2, 1] / 4 both ways: (a, b, y + 2, x + 2).

    The binomial is zero at the finest frequency of the pixel grid, so what such a kernel draws holds no pattern of a
    period of two pixels, and what it reads is blind to one. (Zhang 2019 smooths like this before subsampling.)
    """
    line = kernel.new_tensor([0.25, 0.5, 0.25])
    flat = kernel.flatten(0, 1)[:, None]
    return F.conv2d(flat, torch.outer(line, line)[None, None], padding=2).view(*kernel.shape[:2], *(side + 2 for side in kernel.shape[2:]))


class Upsample(nn.Module):
    """Doubles the size: (N, c_in, H, W) to (N, c_out, 2H, 2W).

    "transposed" is a 4x4 transposed convolution of stride 2. "resize" enlarges to nearest neighbours and convolves 3x3
    (Odena et al. 2016, against the chequer pattern); it is computed, exactly and with 4/9 of the products, as a
    transposed convolution whose kernel is the 3x3 kernel convolved with a 2x2 box of ones. `smooth` smooths the result
    (see `smoothed`), again inside the kernel.
    """

    def __init__(self, c_in: int, c_out: int, kind: str, *, bias: bool = False, smooth: bool = False) -> None:
        super().__init__()
        self.kind, self.smooth = kind, smooth
        size = 3 if kind == "resize" else 4
        # (c_in, c_out, y, x), as a transposed convolution holds it: a 3x3 kernel is that of the plain convolution, rotated by 180 degrees.
        self.weight = nn.Parameter(torch.empty(c_in, c_out, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        nn.init.normal_(self.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, 2H, 2W)."""
        kernel = self.weight
        if self.kind == "resize":
            kernel = F.avg_pool2d(kernel, 2, stride=1, padding=1, divisor_override=1)  # the sum over the box: 4x4
        if self.smooth:
            return F.conv_transpose2d(x, smoothed(kernel), self.bias, stride=2, padding=2)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class Generator(nn.Module):
    """G: z to pictures, through a dense layer to 4x4 and one doubling after another.

    Args:
        resolution: pixels along a side, a power of two from 16 on.
        width: channels at half the resolution.
        z_dim: numbers in a latent vector.
        upsample: "resize" or "transposed".
    """

    def __init__(self, resolution: int = 64, width: int = 64, z_dim: int = 64, upsample: str = "resize") -> None:
        super().__init__()
        self.resolution, self.z_dim = resolution, z_dim
        widths = channels(resolution, width)
        self.dense = nn.Linear(z_dim, 16 * widths[0], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths)
        self.ups = nn.ModuleList(Upsample(c_in, c_out, upsample) for c_in, c_out in pairwise(widths))
        self.to_rgb = Upsample(widths[-1], 3, upsample, bias=True, smooth=upsample == "resize")

    def forward(self, z: Tensor) -> Tensor:
        """z: (N, z_dim). Returns (N, 3, resolution, resolution) in [-1, 1]."""
        x = self.dense(z).view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        x = F.relu_(self.norms[0](x))
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = F.relu_(norm(up(x)))
        return torch.tanh(self.to_rgb(x))


class Discriminator(nn.Module):
    """D: pictures to logits, through convolutions of stride 2; it mirrors G.

    Its batch normalisation always uses the batch's own statistics, so none are kept.

    Args:
        resolution: pixels along a side, a power of two from 16 on.
        width: channels at half the resolution.
        smooth: see the pictures smoothed, so that no gradient ever asks G for a pattern of a period of two pixels: the
            convolutions of stride 2 ask for one otherwise (Odena et al. 2016), and a G that smooths could not answer.
    """

    def __init__(self, resolution: int = 64, width: int = 64, *, smooth: bool = False) -> None:
        super().__init__()
        self.smooth = smooth
        widths = channels(resolution, width)[::-1]
        self.from_rgb = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.downs = nn.ModuleList(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False) for c_in, c_out in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, track_running_stats=False) for c in widths[1:])
        self.to_logit = nn.Conv2d(widths[-1], 1, 4)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, resolution, resolution) in [-1, 1]. Returns logits (N,)."""
        first = self.from_rgb
        kernel, padding = (smoothed(first.weight), 2) if self.smooth else (first.weight, 1)
        x = F.leaky_relu_(F.conv2d(images, kernel, first.bias, stride=2, padding=padding), 0.2)
        for down, norm in zip(self.downs, self.norms, strict=True):
            x = F.leaky_relu_(norm(down(x)), 0.2)
        return self.to_logit(x).flatten()


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights from N(0, 0.02) and scales from N(1, 0.02) (Radford et al. 2015, section 4); biases 0."""
    for parameter_name, parameter in module.named_parameters():
        if parameter_name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.02, generator=generator)
