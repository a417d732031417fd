"""What a picture is to become: styles, the regions that they are for, and the terms of the loss that follow at one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genart import Batch, DataError, Images, Run, did_you_mean
from genart.nn.pictures import Unreadable, Want, decode
from genart.nn.samples import FILES, data_folder

from .objective import Extract, Strides, StyleTerm, gather
from .statistics import SAMPLES, Probe, Statistic, Terms
from .tiles import Size, tiles

#: A style that would be reduced by less than to this share of its size is taken as it is: that would only blur it.
AS_IT_IS = 0.95
#: A mask may differ so much from the picture's proportions, by rounding.
PROPORTIONS = 0.02


@dataclass(frozen=True)
class Style:
    """One style: (1, 3, H, W) in [0, 1], its share of the whole, its scale, and its name for messages."""

    picture: Tensor
    share: float
    name: str
    scale: float = 1.0


@dataclass(frozen=True)
class Region:
    """Where some styles go: (1, 1, H, W) in [0, 1], or None for everywhere; and how much its pixels count beside those of other regions."""

    weight: Tensor | None
    styles: tuple[Style, ...]
    share: float = 1.0


def check_layers(backbone: Any, backbone_name: str, layers: Sequence[str], where: str) -> None:
    """Refuse layers that the backbone doesn't have.

    Raises:
        DataError: naming the parameter, the layer and the nearest name.
    """
    for layer in layers:
        if layer not in backbone.layers:
            raise DataError(
                f"{where}: {backbone_name} has no layer '{layer}'{did_you_mean(layer, backbone.layers)}",
                f"layers: {', '.join(backbone.layers)}",
            )


def read_picture(path: Path, run: Run, index: int = 0, count: int | None = None) -> Tensor:
    """Read a picture as (1, 3, H, W) in [0, 1]: upright, sRGB, transparency over white.

    Args:
        path: a file, or the id of a stage.
        run: knows what the stage gave.
        index: which of a stage's pictures; one that gave a single picture gives it always.
        count: number of pictures to paint, where each may have its own; those painted ahead of a film have an index from -`count` on.

    Raises:
        DataError: if it cannot be read, or if a stage gave neither one picture nor `count`; for a single one the first will do.
    """
    side = run.sides.get(str(path))
    if isinstance(side, Images):
        if not len(side):
            raise DataError(f"{run.stage_id}: the stage '{path}' gave no picture")
        if count not in (None, 1) and len(side) not in (1, count):
            raise DataError(
                f"{run.stage_id}: the stage '{path}' gave {len(side)} pictures for {count}", "it may give one for all, or one for each"
            )
        pixels = side[index if len(side) > 1 else 0].pixels
        return pixels if pixels.shape[1] == 3 else pixels[:, :3] * pixels[:, 3:] + 1 - pixels[:, 3:]
    try:
        array = decode(path, Want())
    except Unreadable as error:
        raise DataError(f"{run.stage_id}: {path.name} cannot be read: {error}", "give a PNG, JPEG, WebP, GIF, BMP or TIFF") from error
    return Batch.from_array(np.asarray(array)[None]).pixels


def read_styles(params: Any, run: Run, backbone: Any) -> list[Style]:
    """Read the styles, the embedded ones too.

    Args:
        params: with `style`, `style_photos`, `style_weights`, `style_layers`, and perhaps `style_scale`.
        run: of the stage.
        backbone: whose deepest style layer a style must be large enough for.

    Raises:
        DataError: if one cannot be read or is too small for the layers.
    """
    files = [*params.style, *(data_folder() / FILES[name] for name in params.style_photos)]
    weights = params.style_weights or (1.0,) * len(files)
    scales = getattr(params, "style_scale", (1.0,))
    styles = []
    for i, (path, weight) in enumerate(zip(files, weights, strict=True)):
        picture = read_picture(path, run)
        _check_size(picture, path.name, params.style_layers, run, backbone)
        styles.append(Style(picture.to(run.device), weight / sum(weights), path.name, scales[i if len(scales) > 1 else 0]))
    return styles


def _check_size(picture: Tensor, name: str, layers: Sequence[str], run: Run, backbone: Any) -> None:
    height, width = picture.shape[2:]
    least = max(backbone.stride(layer) for layer in layers)
    if min(height, width) < least:
        raise DataError(
            f"{name}: a style of {width}x{height} pixels is too small: {layers[-1]} sees nothing below {least}",
            "take a larger picture, or shallower `style_layers`",
        )
    field = max(backbone.receptive_field(layer) for layer in layers)
    if min(height, width) < field:
        run.warn(f"{name} is only {width}x{height} pixels, less than the deepest layer looks at ({field}): large forms are lost")


def read_regions(masks: Sequence[Path], styles: Sequence[Style], size: Size, run: Run, index: int, count: int) -> list[Region]:
    """Read the masks of one picture.

    Args:
        masks: none, one for all styles, or one for each.
        styles: to distribute.
        size: height and width of the picture.
        run: of the stage.
        index: of the picture, where a stage gives a mask for each.
        count: of the pictures.

    Raises:
        DataError: if a mask has other proportions than the picture, or shows nothing; see also `read_picture`.
    """
    if not masks:
        return [Region(None, tuple(styles))]
    weights = [_read_mask(path, size, run, index, count) for path in masks]
    if len(weights) == 1:
        return [Region(weights[0], tuple(styles))]
    most = max(style.share for style in styles)
    return [Region(weight, (replace(style, share=1.0),), style.share / most) for weight, style in zip(weights, styles, strict=True)]


def _read_mask(path: Path, size: Size, run: Run, index: int, count: int) -> Tensor:
    mask = read_picture(path, run, index, count).mean(1, keepdim=True).to(run.device)
    height, width = mask.shape[2:]
    if abs(width * size[0] / (height * size[1]) - 1) > PROPORTIONS:
        raise DataError(
            f"{run.stage_id}: the mask {path.name} is {width}x{height} pixels, the picture {size[1]}x{size[0]}: other proportions",
            "give a mask of the picture's size, or of one with the same proportions",
        )
    if float(mask.max()) < 1 / 255:
        raise DataError(f"{run.stage_id}: the mask {path.name} is black all over: nothing would be painted", "paint white what is meant")
    return mask


def resized(image: Tensor, size: Size) -> Tensor:
    """Bring (N, C, H, W) to another size, bicubic, antialiased where it shrinks."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def with_detail(image: Tensor, guide: Tensor, size: Size) -> Tensor:
    """Enlarge the picture so far and add what of the content no smaller size can show.

    The detail is the content less its own reduced and enlarged self; without it a new size would begin blurred, and spend most of its
    iterations on getting back what the content holds ready.
    """
    content = resized(guide, size)
    small = F.interpolate(content, size=image.shape[2:], mode="bicubic", align_corners=False, antialias=True)
    blurred = F.interpolate(small, size=size, mode="bicubic", align_corners=False)
    enlarged = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    return (enlarged + content - blurred).clamp(0, 1)


def over_mean(pixels: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor | None]:
    """Lay a picture over its own mean colour, so that nothing is painted of what transparency hides.

    Args:
        pixels: (1, 3, H, W).
        alpha: (1, 1, H, W), or (1, 0, H, W) for none.
    """
    if alpha.shape[1] == 0:
        return pixels, None
    mean = (pixels * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return pixels * alpha + mean * (1 - alpha), alpha


def at_scale(style: Style, size: Size, least: int) -> Tensor:
    """Bring a style to the area of `size` times its scale along a side: never larger than it is, nor below `least` pixels."""
    height, width = style.picture.shape[2:]
    factor = style.scale * ((size[0] * size[1]) / (height * width)) ** 0.5
    factor = 1.0 if factor > AS_IT_IS else max(factor, min(1.0, least / min(height, width)))
    return resized(style.picture, (max(least, round(height * factor)), max(least, round(width * factor))))


def coverage(regions: Sequence[Region], size: Size) -> Tensor | None:
    """Where anything is painted, (1, 1, H, W) in [0, 1]; None for everywhere."""
    if any(region.weight is None for region in regions):
        return None
    shown = [resized(region.weight, size) for region in regions if region.weight is not None]
    return torch.stack(shown).sum(0).clamp(max=1)


@dataclass(frozen=True)
class Look:
    """How pictures are looked at: what measuring a style and measuring the picture have in common.

    Attributes:
        extract: maps pictures and layers to features.
        strides: pixels per position of each layer.
        layers: of the style.
        statistic: to compare.
        tile: side of tiles, or None.
        halo: around a tile.
        generator: makes the random stream of a label.
        weights: of the layers; None for all alike.
    """

    extract: Extract
    strides: Strides
    layers: Sequence[str]
    statistic: Statistic
    tile: int | None
    halo: int
    generator: Callable[[str], torch.Generator]
    weights: Sequence[float] | None = None

    @property
    def stride(self) -> int:
        """That of the deepest layer, of the content's too."""
        return max(self.strides.values())

    def probe(self, layer: str, size: Size, weight: Tensor | None, label: str, count: int = SAMPLES) -> Probe:
        """The probe of a layer of a picture of `size`; `weight` is (1, 1, H, W)."""
        stride = self.strides[layer]
        inside = (size[0] // stride, size[1] // stride)
        small = None if weight is None else F.adaptive_avg_pool2d(weight, inside)[0, 0]
        return Probe.of(self.statistic.needs, inside, small, self.generator(label), count)

    def measure(self, picture: Tensor, share: float, label: str) -> list[Terms]:
        """Terms of a style at each layer, of as many samples as are its share."""
        size = (picture.shape[2], picture.shape[3])
        count = max(1, round(SAMPLES * share))
        probes = [(layer, self.probe(layer, size, None, f"{label} {layer}", count)) for layer in self.layers]
        pieces = tiles(size, self.tile, stride=self.stride, halo=self.halo)
        return gather(self.extract, picture, pieces, probes, self.strides)

    def target(self, pictures: Sequence[tuple[Tensor, float]], label: str) -> list[Terms]:
        """Prepared terms, by layer, of styles (with their shares) as if they were parts of one picture."""
        measured = [(self.measure(picture, share, f"{label} {i}"), share) for i, (picture, share) in enumerate(pictures) if share > 0]
        blended = []
        for k, layer in enumerate(self.layers):
            parts = [(terms[k], share) for terms, share in measured]
            if self.statistic.needs == "samples":
                terms: Terms = (torch.cat([term for (term,), _ in parts], 1),)
            else:
                terms = tuple(
                    torch.stack([share * term for term, share in column]).sum(0)
                    for column in zip(*([(term, share) for term in terms] for terms, share in parts), strict=True)
                )
            blended.append(self.statistic.prepare(terms, self.generator(f"{label} {layer} prepared")))
        return blended

    def terms(self, targets: Sequence[Sequence[Terms]], regions: Sequence[Region], size: Size, alpha: Tensor | None) -> list[StyleTerm]:
        """Terms of the loss for a picture of `size`.

        Args:
            targets: by region and layer.
            regions: of the picture.
            size: height and width.
            alpha: (1, 1, H, W): what is transparent doesn't count.
        """
        found: list[tuple[str, Probe, Terms, float]] = []
        for r, region in enumerate(regions):
            weight = None if region.weight is None else resized(region.weight, size)
            if alpha is not None:
                weight = resized(alpha, size) if weight is None else weight * resized(alpha, size)
            probes = [(layer, self.probe(layer, size, weight, f"region {r} {layer}")) for layer in self.layers]
            found += [(layer, probe, targets[r][k], region.share * probe.total) for k, (layer, probe) in enumerate(probes)]
        area = {layer: sum(part for name, _, _, part in found if name == layer) for layer in self.layers}
        weights = self.weights or (1.0,) * len(self.layers)
        shares = {layer: weight / sum(weights) for layer, weight in zip(self.layers, weights, strict=True)}
        return [StyleTerm(layer, probe, self.statistic, goal, part / area[layer] * shares[layer]) for layer, probe, goal, part in found]
