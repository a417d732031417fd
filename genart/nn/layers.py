"""Building blocks that several families share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import shards

T = TypeVar("T")

#: Pictures of a batch that `minibatch_stddev` compares with each other.
GROUP = 4
#: The coarsest layer has at most this many times the channels of the finest.
MAX_WIDENING = 8


def channels(resolution: int, width: int, widening: int = MAX_WIDENING) -> list[int]:
    """Channels of the feature maps from 4x4 to half the resolution: for 64 px and width 64, 512, 256, 128, 64."""
    sizes = [4 << i for i in range(resolution.bit_length() - 3)]  # 4, 8, ..., resolution / 2
    return [width * min(widening, resolution // 2 // size) for size in sizes]


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
    (Odena et al. 2016, against checkerboard artefacts); it is computed, exactly and with 4/9 of the products, as a
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
        return upsampled(x, self.weight, self.bias, box=self.kind == "resize", smooth=self.smooth)


def upsampled(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, box: bool = True, smooth: bool = False) -> Tensor:
    """Enlarge to nearest neighbours and convolve, in one transposed convolution; see `Upsample`.

    Args:
        x: (N, c_in, H, W).
        weight: (c_in, c_out, 3, 3) with `box`, else (c_in, c_out, 4, 4).
        bias: (c_out,).
        box: the enlarging is to be done by the kernel.
        smooth: smooth the result.

    Returns:
        (N, c_out, 2H, 2W).
    """
    kernel = F.avg_pool2d(weight, 2, stride=1, padding=1, divisor_override=1) if box else weight  # the sum over the box: 4x4
    if smooth:
        return F.conv_transpose2d(x, smoothed(kernel), bias, stride=2, padding=2)
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate (Karras et al. 2018, section 4.1): weights from N(0, 1), scaled when used.

    Args:
        c_in: numbers in.
        c_out: numbers out.
        gain: what the layer multiplies the variance's root by; sqrt(2) before a rectifier.
        lr_multiplier: share of the learning rate at which this layer learns (Karras et al. 2019, appendix C).
        bias_start: first value of the bias.
    """

    def __init__(self, c_in: int, c_out: int, *, gain: float = 1.0, lr_multiplier: float = 1.0, bias_start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((c_out,), bias_start / lr_multiplier))
        self.scale, self.lr_multiplier = gain * lr_multiplier / math.sqrt(c_in), lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in) to (N, c_out)."""
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate (Karras et al. 2018, section 4.1), size kept by padding.

    Args:
        c_in: channels in.
        c_out: channels out.
        size: side of the kernel, odd.
        gain: see `EqualLinear`.
        bias: with a bias.
    """

    def __init__(self, c_in: int, c_out: int, size: int, *, gain: float = math.sqrt(2), bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.scale, self.padding = gain / math.sqrt(c_in * size * size), size // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H, W)."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def coloured(x: Tensor, *, bounded: bool) -> Tensor:
    """What a generator draws, as float32 pictures: within [-1, 1] by a tanh, or as it is, near [-1, 1].

    Where much of a picture is plain black or white, an unbounded G never quite meets it, and D wins by that alone.
    """
    return x.float().tanh() if bounded else x.float()


def rectified(x: Tensor) -> Tensor:
    """The leaky rectifier of most families, with a slope of 0.2, in place."""
    return F.leaky_relu_(x, 0.2)


def doubled(x: Tensor, conv: EqualConv2d) -> Tensor:
    """Enlarge to nearest neighbours, then convolve 3x3: (N, c_in, H, W) to (N, c_out, 2H, 2W)."""
    weight = (conv.weight * conv.scale).transpose(0, 1).contiguous(memory_format=torch.channels_last)  # in which pooling it is fast
    return upsampled(x, weight, conv.bias)


def halved(x: Tensor, conv: EqualConv2d) -> Tensor:
    """Convolve, then take the mean of 2x2 places; as one convolution of stride 2, with 4/9 of the products.

    Args:
        x: (N, c_in, H, W), H and W even.
        conv: a convolution of 3x3.

    Returns:
        (N, c_out, H/2, W/2).
    """
    kernel = F.avg_pool2d(conv.weight * conv.scale, 2, stride=1, padding=1)  # 4x4
    return F.conv2d(x, kernel, conv.bias, stride=2, padding=1)


class _PixelNorm(torch.autograd.Function):
    """`pixel_norm` and its gradient in closed form, computed in float32: products with one number for each place are slow in half."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = widened(x)
        inverse = _inverse_rms(wide)
        y = (wide * inverse).to(x.dtype)
        ctx.save_for_backward(x, y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, y, inverse = ctx.saved_tensors
        gradient, wide = widened(gradients[0]), widened(y)
        if torch.is_grad_enabled():  # the gradient is differentiated again
            inverse = _inverse_rms(widened(x))
            wide = widened(x) * inverse
        along = (gradient * wide).mean(1, keepdim=True)
        return (torch.addcmul(gradient, wide, along, value=-1) * inverse).to(x.dtype)


def widened(x: Tensor) -> Tensor:
    """What is in half precision in float32, all else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _inverse_rms(x: Tensor) -> Tensor:
    """One over the root of the mean square of the feature vector of each place: (N, C, ...) to (N, 1, ...)."""
    inverse: Tensor = (torch.linalg.vector_norm(x, dim=1, keepdim=True).square() / x.shape[1] + 1e-8).rsqrt()
    return inverse


def pixel_norm(x: Tensor) -> Tensor:
    """Bring the feature vector of each place to unit mean square: (N, C, ...) to the same (Karras et al. 2018, section 4.2)."""
    if x.ndim == 2:  # vectors are few, and torch.func may go through them
        return x * _inverse_rms(x)
    y: Tensor = _PixelNorm.apply(x)
    return y


def minibatch_stddev(x: Tensor, group: int = GROUP) -> Tensor:
    """Append one channel that says how much the pictures of a group differ (Karras et al. 2018, section 3; groups as in its code, 4).

    Args:
        x: (N, C, H, W); groups are made of pictures that lie N / group apart. A batch that cannot be grouped is one group.
        group: pictures in a group.

    Returns:
        (N, C + 1, H, W); the last channel is the standard deviation over the group, averaged over channels and places.
    """
    if len(x) % group == 0:  # in a shared batch too: see `shards`
        channel = _Spread.apply(x, group)
    else:
        everybody = shards.whole(widened(x))
        channel = shards.active().own(_Spread.apply(everybody, group if len(everybody) % group == 0 else len(everybody)))
    beside = channel.to(x.dtype)[:, None, None, None].expand(len(x), *x.shape[2:], 1)
    return torch.cat([x.permute(0, 2, 3, 1), beside], 3).permute(0, 3, 1, 2)  # channels last, which a plain cat would lose


class _Spread(torch.autograd.Function):
    """Standard deviation over each group, averaged over channels and places: (N, C, H, W) to (N,); its gradient in closed form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: int) -> Tensor:
        mean, std = _moments(widened(x).chunk(group))
        ctx.save_for_backward(x, mean, std)
        ctx.group = group
        return std.mean((1, 2, 3)).repeat(group)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, mean, std = ctx.saved_tensors
        parts = widened(x).chunk(ctx.group)
        if torch.is_grad_enabled():  # a penalty differentiates the gradient again
            mean, std = _moments(parts)
        share = gradients[0].view(ctx.group, -1).sum(0) / (ctx.group * x[0].numel())
        scale = share[:, None, None, None] / std
        return torch.cat([((part - mean) * scale).to(x.dtype) for part in parts]), None


def _moments(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the pictures of each group, of which each part has one: (M, C, H, W) both."""
    # Sums over whole parts run at the speed of memory; torch's variance over the first dimension takes many times as long.
    mean = reduce(torch.add, parts) / len(parts)
    squares = reduce(lambda total, part: torch.addcmul(total, part, part), [part - mean for part in parts], torch.zeros_like(mean))
    return mean, (squares / len(parts) + 1e-8).sqrt()


def with_labels(z: Tensor, labels: Tensor | None, table: nn.Embedding | None) -> Tensor:
    """Latents with their classes' vectors, brought to unit mean square, beside them.

    Args:
        z: (N, z_dim).
        labels: (N,) integers, or (N, classes) shares of the classes, whose vectors are then blended before they are brought to unit
            mean square; left out, classes are taken in turn.
        table: a vector for each class, or None for a network that knows no classes.

    Returns:
        (N, z_dim + table's width), or z as it is without a table.
    """
    return z if table is None else torch.cat([z, pixel_norm(class_vectors(z, labels, table)).to(z.dtype)], 1)


def in_float32(x: Tensor) -> AbstractContextManager[Any]:
    """Context in which nothing is computed in half precision on the device of `x`."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def class_vectors(z: Tensor, labels: Tensor | None, table: nn.Embedding) -> Tensor:
    """Each latent's vector of its class: (N, width of the table); for z and labels see `with_labels`."""
    if labels is None:
        labels = torch.arange(len(z), device=z.device) % table.num_embeddings
    vectors: Tensor = labels.to(table.weight.dtype) @ table.weight if labels.is_floating_point() else table(labels)
    return vectors


def of_class(x: Tensor, kind: Tensor | None) -> Tensor:
    """Normalised features, scaled and shifted by what their classes give each channel (de Vries et al. 2017, section 3).

    Args:
        x: (N, C, H, W).
        kind: (N, 2 C), by how much to scale more than by 1, then by how much to shift; None for a network that knows no classes.

    Returns:
        (N, C, H, W).
    """
    if kind is None:
        return x
    scale, shift = kind.to(x.dtype)[:, :, None, None].chunk(2, 1)
    return torch.addcmul(x + shift, x, scale)


def projected_label(features: Tensor, labels: Tensor | None, table: nn.Embedding | None) -> Tensor | float:
    """What a picture's class adds to D's answer: the product of its features with its class's vector (Miyato and Koyama 2018, eq. 3).

    Args:
        features: (N, C).
        labels: (N,) integers.
        table: a vector of C numbers for each class, or None for a D that knows no classes.

    Returns:
        (N,), or 0 without a table.
    """
    if table is None or labels is None:
        return 0.0
    told: Tensor = (table(labels).to(features.dtype) * features).sum(1)
    return told


def seeded(make: Callable[[], T], generator: torch.Generator) -> T:
    """Make a network whose layers draw their first weights from torch's global stream, and leave that stream as it was.

    Args:
        make: constructs it, on the CPU.
        generator: where the weights come from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return make()


def pyramid(images: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Pictures at several sizes, by averaging: (N, C, R, R) to one (N, C, s, s) for each size."""
    return tuple(images if size == images.shape[-1] else F.adaptive_avg_pool2d(images, size) for size in sizes)


class DoublingBlock(nn.Module):
    """A scale of a generator of Karras et al. (2018, table 2): (N, c_in, H, W) to (N, c_out, 2H, 2W)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.up, self.conv = EqualConv2d(c_in, c_out, 3), EqualConv2d(c_out, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, 2H, 2W)."""
        x = pixel_norm(rectified(doubled(x, self.up)))
        return pixel_norm(rectified(self.conv(x)))
