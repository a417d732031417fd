"""Enlarging and reducing pictures with Kornia."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from kornia.geometry.transform import resize as kornia_resize
from torch import Tensor

from genart import Batch, Images, Run, UsageError

#: Bytes of float32 RGBA pixels, before or after, that one step works on: few enough to stay in a CPU's cache, which
#: is faster than any larger number.
STEP_BYTES = 4 << 20
#: Largest number of pixels of one result.
MAX_PIXELS = 1 << 28


def resize_images(
    run: Run, images: Images, *, resolution: int | tuple[int, int] | None, scale: float | None, interpolation: str
) -> Iterator[Batch]:
    """Yield every picture in its new size, with its metadata.

    Args:
        run: says where to compute.
        images: of any sizes.
        resolution: length of the shorter side, or (width, height).
        scale: factor, used when there is no resolution.
        interpolation: "bicubic", "bilinear", "area" or "nearest".

    Raises:
        UsageError: if the result would be too large to hold.
    """
    run.expect(images.count, images.fps)
    for batch in images:
        height, width = size_for(batch.array.shape[1:3], resolution, scale)
        largest = max(height * width, batch.array.shape[1] * batch.array.shape[2])
        if largest > MAX_PIXELS:
            raise UsageError(f"images.resize: {width}x{height} pixels is too large", f"at most {MAX_PIXELS} pixels fit")
        step = max(1, STEP_BYTES // (16 * largest))
        for at in range(0, len(batch), step):
            part = batch.part(at, min(at + step, len(batch)))
            yield part.with_pixels(resize(part.pixels.to(run.device), (height, width), interpolation))


def size_for(size: tuple[int, ...], resolution: int | tuple[int, int] | None, scale: float | None) -> tuple[int, int]:
    """Return the new (height, width) of a picture of this (height, width); at least one pixel each."""
    height, width = size
    if isinstance(resolution, tuple):
        return resolution[1], resolution[0]
    factor = resolution / min(height, width) if resolution is not None else scale or 1.0
    return max(1, round(height * factor)), max(1, round(width * factor))


@torch.no_grad()
def resize(images: Tensor, size: tuple[int, int], interpolation: str = "bicubic") -> Tensor:
    """Resize pictures; pixels weigh by their alpha, so that colours hidden under transparency never bleed out.

    Args:
        images: (N, 3 or 4, H, W) float in [0, 1].
        size: new (height, width).
        interpolation: "bicubic", "bilinear", "area" or "nearest". The first two blur with a Gaussian of sigma (factor - 1) / 2
            pixels before they reduce.

    Returns:
        (N, 3 or 4, height, width) in [0, 1].
    """
    if images.shape[-2:] == size:
        return images
    # Kornia's "nearest" picks corners; "nearest-exact" picks centres, as the other filters do.
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    smooth = interpolation in ("bicubic", "bilinear")
    if images.shape[1] == 3:
        return torch.clamp(kornia_resize(images, size, mode, antialias=smooth), 0, 1)
    alpha = images[:, 3:]
    sized = kornia_resize(torch.cat([images[:, :3] * alpha, alpha], 1), size, mode, antialias=smooth).clamp(0, 1)
    colours, alpha = sized[:, :3], sized[:, 3:]
    return torch.cat([(colours / alpha.clamp_min(1 / 1024)).clamp(0, 1), alpha], 1)
