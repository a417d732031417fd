"""A painter's layers of full size, strip by strip, for pictures whose maps would fill the memory.

Those layers hold nearly all of the memory that painting takes: at 4096x4096 pixels each of their maps is a gigabyte. A strip sees its
neighbours' rows where a kernel reaches over its edge, and the instance normalisation is that of the whole map: its mean and variance are
gathered in a pass of their own. So the result is that of the whole picture up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .networks import EPSILON, Conv, InstanceNorm, Layer, StyleNetwork, doubled, reflected

#: Pixels of a strip, about.
STRIP_PIXELS = 1 << 18
#: Pictures of more pixels than these are painted in strips.
MOST_WHOLE = 1 << 21


@torch.no_grad()
def paint_in_strips(painter: StyleNetwork, images: Tensor) -> Tensor:
    """What `painter(images)` gives, for (N, 3, H, W) whose sides are multiples of 4, in far less memory."""
    height, width = images.shape[2:]
    stem, down, _ = painter.encode
    middle, last = painter.decode

    def stem_rows(rows: range) -> Tensor:
        seen = rows_seen(stem.conv, rows, height)
        return conv_rows(stem.conv, images[:, :, seen.start : seen.stop] - 0.5, seen.start, height, rows)

    standardise = affine(stem.norm, (stem_rows(rows) for rows in strips(height, width)))

    def down_rows(rows: range) -> Tensor:
        seen = rows_seen(down.conv, rows, height)
        return conv_rows(down.conv, standardise(stem_rows(seen)), seen.start, height, rows)

    halves = list(strips(height // 2, 2 * width))
    x = joined(down.norm, map(down_rows, halves))
    x = painter.transform(painter.encode[2](x))
    x = joined(middle.norm, (up_rows(middle, x, rows) for rows in halves))
    standardise = affine(last.norm, (up_rows(last, x, rows) for rows in strips(height, width)))
    painted = torch.empty_like(images)
    for rows in strips(height, width):
        seen = rows_seen(painter.to_rgb, rows, height)
        features = standardise(up_rows(last, x, seen)).float()
        with torch.autocast(images.device.type, enabled=False):  # as in StyleNetwork.forward
            painted[:, :, rows.start : rows.stop] = 0.5 + conv_rows(painter.to_rgb, features, seen.start, height, rows)
    return painted


def strips(height: int, width: int) -> Iterator[range]:
    """Ranges of rows, of about `STRIP_PIXELS` pixels and at least 8 rows; the last may have up to twice as many."""
    step = max(8, STRIP_PIXELS // width)
    starts = list(range(0, max(1, height - step + 1), step))
    yield from (range(start, stop) for start, stop in zip(starts, [*starts[1:], height], strict=True))


def rows_seen(conv: Conv, rows: range, height: int) -> range:
    """Rows of a map of `height` rows that a convolution looks at for some rows of its result."""
    first, last = rows.start * conv.stride[0] - conv.border, (rows.stop - 1) * conv.stride[0] + conv.border
    return range(max(0, first), min(height, last + 1))


def conv_rows(conv: Conv, x: Tensor, start: int, height: int, rows: range) -> Tensor:
    """Some rows of what a convolution makes of a map.

    Args:
        conv: mirrors the map at its edges.
        x: (N, C, h, W), rows of the map from `start` on, all that are seen.
        start: first row in `x`.
        height: rows of the whole map.
        rows: of the result.
    """
    border = conv.border
    first, last = rows.start * conv.stride[0] - border, (rows.stop - 1) * conv.stride[0] + border
    seen = x[:, :, max(0, first) - start : min(height, last + 1) - start]
    above, below = max(0, -first), max(0, last + 1 - height)
    return F.conv2d(reflected(seen, (border, border, above, below)), conv.weight, conv.bias, conv.stride)


def up_rows(layer: Layer, x: Tensor, rows: range) -> Tensor:
    """Some rows of what the convolution of an enlarging layer makes of a map (N, C, h, w) that is there as a whole."""
    height = 2 * x.shape[2]
    seen = rows_seen(layer.conv, rows, height)
    top = seen.start // 2
    enlarged = doubled(x[:, :, top : -(-seen.stop // 2)])
    return conv_rows(layer.conv, enlarged, 2 * top, height, rows)


def joined(norm: InstanceNorm, parts: Iterable[Tensor]) -> Tensor:
    """Put the strips of a map together, standardise it, and cut off what is negative."""
    return F.relu_(norm(torch.cat(list(parts), 2)))


def affine(norm: InstanceNorm, parts: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """Instance normalisation and ReLU with the mean and variance that all parts of a map have together."""
    count, sums = 0, torch.zeros(())
    for part in parts:
        x = part.float()
        sums = sums + torch.stack([x.sum((2, 3)), x.square().sum((2, 3))]).cpu().double()  # not every device has float64
        count += part.shape[2] * part.shape[3]
    mean, square = sums / count
    scale = norm.weight.cpu() * ((square - mean.square()).clamp_min(0) + EPSILON).rsqrt()
    shift = norm.bias.cpu() - mean * scale
    scale, shift = (value.to(norm.weight)[..., None, None] for value in (scale, shift))
    return lambda x: F.relu_(torch.addcmul(shift, x.float(), scale)).to(x.dtype)
