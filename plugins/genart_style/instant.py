"""style.instant: one network's pass per size, from coarse to fine, with colours, transparency and the frames before kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from genart import Batch, Images, Run
from genart.nn.samples import FILES, data_folder
from genart.nn.side_by_side import each_picture
from genart.nn.stylize import LEAST, AnyStyle, FixedStyles, Style, Transformer

from . import colour, memory, scene
from ._instant import InstantParams
from .film import Carried, opaque, walk
from .scene import Region, read_picture, resized, with_detail
from .schedule import Size, fitted

#: Of the picture before, where the motion can be trusted: the share that a frame is painted over, and the share that stays.
PAINTED_OVER, STAYS = 0.3, 0.7
#: Longer side that the coarsest size doesn't go below: the network was trained on pictures hardly larger.
COARSEST = 384
#: Bytes per pixel that painting takes at its peak, and those that matching colours adds; as measured.
PIXEL_BYTES, MATCH_BYTES = 190, 50


@dataclass(frozen=True)
class Look:
    """What pictures are painted with.

    Attributes:
        transformer: the network.
        style: its style.
        scales: number of sizes, or None for as many as begin at `COARSEST`.
    """

    transformer: Transformer
    style: Style
    scales: int | None


@torch.no_grad()
def instant(images: Images, params: InstantParams, run: Run) -> Iterator[Batch]:
    """Paint every picture; see the stage."""
    look = read_look(params, run)
    if params.temporal:
        yield from walk(images, run, lambda frame, carried: of_film(frame, carried, look, params, run), loop=params.loop)
        return
    run.expect(images.count, images.fps)
    run.apart(1)
    # one by one: a picture doesn't depend, in its last bits, on those beside it
    yield from each_picture(lambda batch: alone(batch, look, params, run), images, run.workers, params.resolution)


@torch.no_grad()
def alone(batch: Batch, look: Look, params: InstantParams, run: Run) -> Batch:
    """Paint a picture that no other goes before."""
    given, alpha = opaque(batch, run.device)
    image = finished(sized(given, params, run), None, look, params)
    if alpha is not None:
        image = torch.cat([image, resized(alpha, (image.shape[2], image.shape[3]))], 1)
    return batch.with_pixels(image.cpu())


@torch.no_grad()
def of_film(batch: Batch, carried: Carried | None, look: Look, params: InstantParams, run: Run) -> Tensor:
    """Paint a frame so that it goes on from the one before; (1, 3, H, W).

    A share of the picture before is painted over together with the frame, which keeps strokes where they are; and a share of it stays,
    which takes away the shimmer that is left.
    """
    image = finished(sized(opaque(batch, run.device)[0], params, run), carried, look, params)
    return image if carried is None else torch.lerp(image, carried.image, STAYS * carried.weight)


def finished(content: Tensor, carried: Carried | None, look: Look, params: InstantParams) -> Tensor:
    """Paint a picture (1, 3, H, W) in [0, 1], and give it back what is to be kept of it."""
    seen = content if carried is None else torch.lerp(content, carried.image, PAINTED_OVER * carried.weight)
    image = colour.kept_colours(painted(seen, look), content, params.preserve_color)
    # a style's numbers could be blended with the picture's own instead (Ghiasi et al. 2017, section 4.1), but not down to the picture
    # itself: in its own style it comes out with other colours, and in a film with ever changing ones
    return image if params.strength == 1 else torch.lerp(content, image, params.strength)


def sized(image: Tensor, params: InstantParams, run: Run) -> Tensor:
    """Bring the longer side of (1, 3, H, W) to `resolution`, if there is one.

    Raises:
        ResourceError: if the memory is not enough to paint at that size.
    """
    size: Size = (image.shape[2], image.shape[3])
    if params.resolution is not None:
        size = fitted(size, params.resolution)
    per_pixel = PIXEL_BYTES + (MATCH_BYTES if params.preserve_color == "match" else 0)
    memory.check(per_pixel, size, run, "give a smaller `resolution`")
    return resized(image, size)


@torch.no_grad()
def stylized(content: Tensor, regions: Sequence[Region], device: str) -> Tensor:
    """Paint a picture as `style.instant` does by default: each of several regions in its own styles, or all of it in those of the only one.

    Args:
        content: (1, 3, H, W) in [0, 1].
        regions: what goes where.
        device: "cpu", "cuda" or "mps".

    Returns:
        (1, 3, H, W) in [0, 1], on the device; of several regions, the content where none of them is.
    """
    content = content.to(device)
    images = [painted(content, blended(region.styles, device)) for region in regions]
    if len(images) == 1:
        return images[0]
    size = (content.shape[2], content.shape[3])
    weights = [resized(region.weight, size) for region in regions if region.weight is not None]
    total = torch.stack(weights).sum(0)
    mixed = torch.stack([weight * image for weight, image in zip(weights, images, strict=True)]).sum(0)
    return (mixed + (1 - total).clamp_min(0) * content) / total.clamp_min(1)


def blended(styles: Sequence[scene.Style], device: str) -> Look:
    """What paints in a blend of styles by their shares, which sum to 1."""
    network = any_style(device)
    size = InstantParams.model_fields["style_size"].default
    numbers = [style.share * network.numbers(style.picture.to(device), size) for style in styles if style.share > 0]
    return Look(network.transformer, network.style(torch.stack(numbers).sum(0)), None)


@cache
def any_style(device: str) -> AnyStyle:
    """The network for any style, loaded once per device."""
    return AnyStyle(device)


@cache
def fixed_styles(device: str) -> FixedStyles:
    """The network of the presets, loaded once per device."""
    return FixedStyles(device)


# what to paint with


def read_look(params: InstantParams, run: Run) -> Look:
    """Read the styles and blend them.

    Raises:
        DataError: if a picture cannot be read, or the weights of the networks are missing or damaged.
    """
    if params.preset:
        fixed = fixed_styles(run.device)
        shares: dict[int, float] = {}
        for preset, share in zip(params.preset, shares_of(params.style_weights, len(params.preset)), strict=True):
            shares[preset] = shares.get(preset, 0.0) + share
        return Look(fixed.transformer, fixed.style(shares), params.scales or 1)
    network = any_style(run.device)
    pictures = [read_picture(path, run) for path in (*params.style, *(data_folder() / FILES[name] for name in params.style_photos))]
    numbers = [network.numbers(picture.to(run.device), params.style_size) for picture in pictures]
    weights = torch.tensor(shares_of(params.style_weights, len(numbers)), device=run.device)
    return Look(network.transformer, network.style(weights @ torch.stack(numbers)), params.scales)


def shares_of(weights: tuple[float, ...] | None, count: int) -> list[float]:
    """Share of each style, 1 in all."""
    given = weights or (1.0,) * count
    return [weight / sum(given) for weight in given]


# painting


def painted(content: Tensor, look: Look) -> Tensor:
    """Paint a picture (1, 3, H, W) in [0, 1] from coarse to fine.

    The network's strokes are a few pixels wide, whatever the size. So broad ones are painted on a reduced picture, and the next size
    repaints its enlargement together with the content's detail that the smaller could not show: it sharpens the strokes that are there
    instead of drawing new, finer ones all over.
    """
    size: Size = (content.shape[2], content.shape[3])
    sizes = ladder(size, look.scales)
    image = transformed(resized(content, sizes[0]), look)
    for larger in sizes[1:]:
        image = transformed(with_detail(image, content, larger), look)
    return resized(image, size)


def ladder(size: Size, scales: int | None) -> list[Size]:
    """Sizes from coarse to fine, each twice the one before; the last is `size`, enlarged where a side is too short for the network.

    Args:
        size: height and width of the result.
        scales: how many; by default as many as begin at a longer side of 384 to 768 pixels.
    """
    count = scales or max(1, (max(size) // COARSEST).bit_length())
    sizes = [(max(LEAST, round(size[0] / 2**k)), max(LEAST, round(size[1] / 2**k))) for k in reversed(range(count))]
    return list(dict.fromkeys(sizes))


def transformed(image: Tensor, look: Look) -> Tensor:
    """Pass a picture (1, 3, H, W) of at least `LEAST` pixels along a side through the network, whose steps are of 4 pixels."""
    height, width = image.shape[2:]
    result: Tensor = look.transformer(F.pad(image, (0, -width % 4, 0, -height % 4), mode="reflect"), look.style)
    return result[:, :, :height, :width]
