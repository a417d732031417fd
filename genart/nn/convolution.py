"""3x3 convolutions of frozen networks, by the fastest way that a CPU has for each shape.

PyTorch's convolution runs on oneDNN. NNPACK's Winograd kernels, which PyTorch ships without using them, are up to twice as fast for one
large picture on CPUs with AVX2, and slower for small ones; on CPUs with AVX-512 they gain little. So both are measured, once per shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: Convolutions smaller than this many positions are not worth a measurement: NNPACK transforms the weights at every call.
SMALLEST = 48 * 48
#: NNPACK must be this much faster to be chosen, lest noise decides.
GAIN = 1.15


def nnpack_is_there() -> bool:
    """True if this PyTorch and this processor can run NNPACK; also initialises it, without which its first call fails."""
    return hasattr(torch, "_nnpack_spatial_convolution") and bool(torch.backends.nnpack.is_available())


class _NNPACK(torch.autograd.Function):
    """Convolution with stride 1 and padding 1 whose gradient goes to the picture alone: the same convolution, weights turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch._nnpack_spatial_convolution(x.contiguous(), weight.contiguous(), bias, [1, 1], [1, 1])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (weight,) = ctx.saved_tensors
        turned = weight.flip(2, 3).transpose(0, 1).contiguous()
        return torch._nnpack_spatial_convolution(gradients[0].contiguous(), turned, None, [1, 1], [1, 1]), None, None


def nnpack(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with NNPACK.

    Args:
        x: (N, C, H, W) float32 on the CPU.
        weight: (O, C, 3, 3), frozen: no gradient is computed for it.
        bias: (O,), frozen.

    Returns:
        (N, O, H, W), padded with zeros by 1; differs from oneDNN's result by some 1e-6 of its size.
    """
    return _NNPACK.apply(x, weight, bias)  # type: ignore[no-any-return]


def gains_from_nnpack(weight: Tensor, bias: Tensor, size: tuple[int, int]) -> bool:
    """Measure whether NNPACK convolves one picture of `size`, forth and back, faster than oneDNN does; costs a few convolutions."""
    if weight.device.type != "cpu" or size[0] * size[1] < SMALLEST or not nnpack_is_there():
        return False
    x = torch.randn(1, weight.shape[1], *size, generator=torch.Generator().manual_seed(0)).relu_()
    last = x.contiguous(memory_format=torch.channels_last)

    def onednn() -> Tensor:
        return F.conv2d(last.requires_grad_(True), weight, bias, padding=1)

    return _seconds(onednn, last) > GAIN * _seconds(lambda: nnpack(x.requires_grad_(True), weight, bias), x)


def _seconds(convolve: Callable[[], Tensor], x: Tensor) -> float:
    """Shortest of three times that a convolution and its gradient take."""
    times = []
    with torch.enable_grad():
        for _ in range(3):
            began = time.perf_counter()
            y = convolve()
            torch.autograd.grad(y, x, torch.ones_like(y))
            times.append(time.perf_counter() - began)
    return min(times)
