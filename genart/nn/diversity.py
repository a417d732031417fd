"""How much pictures differ from each other: the measure of mode collapse."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

#: Below this share of the real pictures' differences the generator makes the same picture over and over.
COLLAPSED = 0.2


def spread(images: Tensor, size: int = 8) -> float:
    """Mean distance between two pictures, seen coarsely.

    Args:
        images: (N, C, H, W), N at least 2, of any range.
        size: pictures are averaged to (size, size) first, so that noise does not count as variety.

    Returns:
        The mean over pairs of the root mean square difference per value, in the pictures' own range.
    """
    x = adaptive_avg_pool2d(images.float(), size).flatten(1).cpu()  # a few numbers; not every device has this distance
    return float(torch.pdist(x).mean() / x.shape[1] ** 0.5)


def diversity(gen_img: Tensor, real_spread: float) -> float:
    """Spread of generated pictures as a share of that of as many real ones: near 1 is good, near 0 is mode collapse."""
    return spread(gen_img) / real_spread if real_spread > 0 else 0.0
