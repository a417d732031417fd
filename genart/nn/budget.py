"""Measuring the machine for a moment, to choose a size and a number of images that fit a time budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

#: Share of a budget that training plans to use; the rest is for a machine that slows down at the end.
PLANNED = 0.9
#: Share of a budget at which training stops although it is not done.
DEADLINE = 0.95
#: A size that costs so little more than the one below it is taken although fewer images are seen than wanted.
NEARLY_FREE = 0.85
#: A batch of twice the size has half the steps, and must see at least so many times the images per second.
BATCH_GAIN = 1.4


def synchronize(device: str) -> None:
    """Wait until the device has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def seconds_per_call(call: Callable[[], object], device: str, seconds: float = 1.0, warmup: int = 2) -> float:
    """Measure a call: the median over about `seconds`, at least two calls, after a warm-up."""
    for _ in range(warmup):
        call()
    synchronize(device)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        began = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def largest_that_fits(candidates: Sequence[int], rate: Callable[[int], float], wanted: float, seconds: float) -> int:
    """Choose the largest size at which `wanted` images fit into `seconds`, or that is nearly as fast as the one below; else the smallest.

    Small networks are bound by what a step costs whatever its width: there a wider one learns more from each image for nothing.

    Args:
        candidates: sizes, ascending; each is measured until one is too slow.
        rate: images per second at a size.
        wanted: images that training should see.
        seconds: time for them.
    """
    chosen, fastest = candidates[0], rate(candidates[0]) if len(candidates) > 1 else 0.0
    for size in candidates[1:]:
        images_per_sec = rate(size)
        if images_per_sec * seconds < wanted and images_per_sec < NEARLY_FREE * fastest:
            break
        chosen = size
    return chosen


def batch_that_pays(candidates: Sequence[int], rate: Callable[[int], float]) -> int:
    """Choose the largest batch size each doubling up to which brings `BATCH_GAIN` times the images: fewer steps must be worth it.

    Args:
        candidates: sizes, ascending; each is measured until one does not pay. A single one is not measured.
        rate: images per second at a size.
    """
    chosen, images_per_sec = candidates[0], rate(candidates[0]) if len(candidates) > 1 else 0.0
    for size in candidates[1:]:
        larger = rate(size)
        if larger < images_per_sec * BATCH_GAIN ** math.log2(size / chosen):
            break
        chosen, images_per_sec = size, larger
    return chosen


def gains_from_bfloat16(device: str) -> bool:
    """True where matrix products in bfloat16 are faster than in float32: newer CUDA devices, CPUs with the instructions for it."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "cpu":
        tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in tests)
    return False
