"""The feed-forward network that paints in one pass (Johnson et al. 2016), small enough to learn a style on two cores in minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Pixels of the picture per position of the coarsest features, along a side.
STRIDE = 4
#: Side of the smallest picture that goes through as it is: below it the coarsest maps are too small for their statistics to mean much.
LEAST = 32
#: Residual blocks at the coarsest features.
BLOCKS = 5
#: Keeps the variance of a flat map from dividing by nothing; so large that a nearly flat sky isn't blown up to noise.
EPSILON = 1e-3


def reflected(x: Tensor, border: Sequence[int]) -> Tensor:
    """Continue maps (N, C, H, W), mirrored, by so many positions to the left, right, top and bottom; see `doubled` for the type."""
    with torch.autocast(x.device.type, enabled=False):
        return F.pad(x, tuple(border), mode="reflect")


def doubled(x: Tensor) -> Tensor:
    """Enlarge maps twice to nearest neighbours: (N, C, H, W) to (N, C, 2H, 2W).

    Autocast would compute it in float32, needlessly: to bring bfloat16 there and back takes longer than all convolutions.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Conv(nn.Conv2d):
    """A convolution that sees the picture mirrored at its edges, so that no frame is drawn.

    Args:
        c_in: channels in.
        c_out: channels out.
        size: side of the kernel, odd.
        stride: pixels per position.
        bias: add one; needless before a normalisation, which takes it off again.
    """

    def __init__(self, c_in: int, c_out: int, size: int, stride: int = 1, *, bias: bool = False) -> None:
        super().__init__(c_in, c_out, size, stride, bias=bias)
        self.border = size // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H / stride, W / stride), rounded up."""
        return super().forward(reflected(x, (self.border,) * 4))


class InstanceNorm(nn.Module):
    """Each map of each picture standardised over its positions, then scaled and shifted (Ulyanov et al. 2017, eq. 3).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        # The normalisation of a batch of one: unlike torch's instance_norm it leaves the channels last in memory, where the convolutions
        # want them, and takes a third of its time forwards and backwards.
        parts = [F.batch_norm(part, None, None, self.weight, self.bias, training=True, eps=EPSILON) for part in x.split(1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class Layer(nn.Module):
    """Convolution, instance normalisation and ReLU; `up` enlarges twice to nearest neighbours first.

    Enlarging before an ordinary convolution draws no checkerboard artefacts, as a transposed one does (Odena et al. 2016).
    """

    def __init__(self, c_in: int, c_out: int, size: int = 3, stride: int = 1, *, up: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.up = Conv(c_in, c_out, size, stride), InstanceNorm(c_out), up

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, h, w)."""
        if self.up:
            x = doubled(x)
        return F.relu_(self.norm(self.conv(x)))


class Block(nn.Module):
    """A residual block; nothing follows the sum (Johnson et al. 2016, supplementary material)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = Layer(channels, channels)
        self.conv, self.norm = Conv(channels, channels, 3), InstanceNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.norm(self.conv(self.layer(x)))


class StyleNetwork(nn.Module):
    """Pictures to paintings (Johnson et al. 2016, table 1 of the supplementary material, with instance normalisation).

    Unlike in the paper the first and last kernels are 5x5, and nothing bounds the result: a tanh keeps training from pure colours.

    Args:
        width: channels at full size, a multiple of 8; twice and four times as many at half and a quarter.
        blocks: residual blocks at a quarter of the size.
    """

    def __init__(self, width: int = 16, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.width, self.blocks = width, blocks
        self.encode = nn.Sequential(Layer(3, width, 5), Layer(width, 2 * width, stride=2), Layer(2 * width, 4 * width, stride=2))
        self.transform = nn.Sequential(*(Block(4 * width) for _ in range(blocks)))
        self.decode = nn.Sequential(Layer(4 * width, 2 * width, up=True), Layer(2 * width, width, up=True))
        self.to_rgb = Conv(width, 3, 5, bias=True)

    @property
    def arguments(self) -> dict[str, int]:
        """The arguments that make another one like it."""
        return {"width": self.width, "blocks": self.blocks}

    def forward(self, images: Tensor) -> Tensor:
        """Paint pictures.

        Args:
            images: (N, 3, H, W) in [0, 1], H and W multiples of 4 and at least 8; see `framed`.

        Returns:
            (N, 3, H, W) float32, nominally in [0, 1], not clamped.
        """
        x: Tensor = self.decode(self.transform(self.encode(images - 0.5)))
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would show as bands: it has 128 values from a half to one
            painted: Tensor = 0.5 + self.to_rgb(x.float())
        return painted


@torch.no_grad()
def initialise(painter: StyleNetwork, generator: torch.Generator) -> None:
    """Convolutions from N(0, 2 / fan_in) (He et al. 2015), the last one smaller: the first results have about the contrast of pictures."""
    for module in painter.modules():
        if isinstance(module, Conv):
            module.weight.normal_(0.0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
    painter.to_rgb.weight.mul_(0.25)
    assert painter.to_rgb.bias is not None
    painter.to_rgb.bias.zero_()


def framed(images: Tensor) -> Tensor:
    """Continue pictures (N, C, H, W), mirrored, to the right and below, to sides that are multiples of 4 and at least 32.

    However small a picture is: it is mirrored again and again.
    """
    for dim in (2, 3):
        side = images.shape[dim]
        wanted = max(LEAST, -(-side // STRIDE) * STRIDE)
        if wanted != side:
            images = images.index_select(dim, mirrored(side, wanted, images.device))
    return images


def mirrored(side: int, wanted: int, device: torch.device | str = "cpu") -> Tensor:
    """Indices (wanted,) that go from 0 to `side` - 1, back and forth, without naming an edge twice in a row."""
    period = max(1, 2 * (side - 1))
    at = torch.arange(wanted, device=device) % period
    return torch.minimum(at, period - at) if side > 1 else torch.zeros_like(at)
