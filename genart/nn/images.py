"""Pictures as tensors: the one place where ranges change, and contact sheets.

Between stages pictures are float32 in [0, 1]; inside a GAN they are in [-1, 1]; at rest they are 8 bits per channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Bring pictures to [0, 1].

    Args:
        images: any shape; uint8 in [0, 255], or floating in [-1, 1] as a GAN's networks hold them.

    Returns:
        The same shape; float32 from uint8, else the same type. Not clamped, so that `to_signed` undoes it.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255.0)
    return images * 0.5 + 0.5


def to_signed(images: Tensor) -> Tensor:
    """Bring pictures to [-1, 1], the range of tanh.

    Args:
        images: any shape; uint8 in [0, 255], or floating in [0, 1].

    Returns:
        The same shape; float32 from uint8, else the same type. Not clamped, so that `to_unit` undoes it.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1.0)
    return images * 2.0 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """Bring pictures in [0, 1] to 8 bits, rounded to nearest; values outside are clamped.

    Args:
        images: any shape, floating in [0, 1]; uint8 passes through.

    Returns:
        The same shape, uint8 in [0, 255].
    """
    if images.dtype == torch.uint8:
        return images
    return images.to(torch.float32).clamp(0.0, 1.0).mul(255.0).round_().to(torch.uint8)


def grid(images: Tensor, columns: int | None = None, gap: int = 2, background: float | Sequence[float] | Tensor = 1.0) -> Tensor:
    """Lay pictures out in a contact sheet, row by row, with a gap between them and around them all.

    Args:
        images: (N, C, H, W), N at least 1, of any type and range.
        columns: pictures side by side; by default the smallest that makes the sheet no higher than wide, in cells.
        gap: pixels between pictures and around the sheet.
        background: one value for all channels, or C values, in the pictures' own range.

    Returns:
        (C, gap + rows * (H + gap), gap + columns * (W + gap)) of the pictures' type; cells left over show the background.

    Raises:
        ValueError: if there is no picture.
    """
    count, channels, height, width = images.shape
    if count == 0:
        raise ValueError("a contact sheet needs at least one picture")
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    fill = torch.as_tensor(background, dtype=images.dtype, device=images.device).expand(channels)
    sheet = fill[:, None, None].repeat(1, gap + rows * (height + gap), gap + columns * (width + gap))
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet
