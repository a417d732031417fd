"""style.compare: how far pictures are from a style and from their content, and a contact sheet with the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.color import rgb_to_lab
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genart import Batch, DataError, Images, Run
from genart.nn.flow import flicker
from genart.nn.images import grid, to_uint8

from ._compare import CompareParams
from .scene import Style, at_scale, check_layers, read_picture, read_styles, resized
from .schedule import Size, fitted
from .statistics import gram, relative_error

#: Of the colour distance: directions of projection, levels at which the distributions are compared, pixels of each picture.
DIRECTIONS, LEVELS, MOST_PIXELS = 64, 1024, 1 << 16
#: Of the sheet, in pixels: between the pictures, height of a line of text, and the widest that a sheet becomes.
GAP, LINE, WIDEST = 8, 16, 8192

Measures = dict[str, float]


# measures of one picture


def total_variation(image: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels along, plus that across, of (N, C, H, W); 0 for a flat picture.

    Unlike in the loss of the same name nothing is rounded at the bottom: nobody asks for the gradient of a measure.
    """
    return sum(float(d.abs().mean()) for d in (image.diff(dim=2), image.diff(dim=3)) if d.numel())


def colour_distance(a: Tensor, b: Tensor) -> float:
    """Distance between the colours of two pictures, wherever these lie: sliced Wasserstein in CIE Lab (Bonneel et al. 2015).

    The distributions are projected onto directions, where the Wasserstein distance W1 is the mean distance of the sorted values. Twice the
    mean over directions is given: then colours that are all moved by a vector are as far away as the vector is long.

    Args:
        a: (1, 3, H, W) in [0, 1].
        b: (1, 3, h, w) in [0, 1].

    Returns:
        Lab units (CIE76); 0 for the same colours, about 100 between black and white.
    """
    axes = directions(DIRECTIONS).to(a)
    return 2 * float((_levels(a, axes) - _levels(b, axes)).abs().mean())


def directions(count: int) -> Tensor:
    """Directions spread evenly over half of the sphere (a Fibonacci lattice), (count, 3): the same at every call."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - i / count, i * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], 1)


def _levels(image: Tensor, axes: Tensor) -> Tensor:
    """Quantiles of a picture's Lab colours along each axis, (D, LEVELS)."""
    step = math.ceil(math.sqrt(image.shape[2] * image.shape[3] / MOST_PIXELS))
    colours = rgb_to_lab(image[:, :, ::step, ::step])[0].flatten(1)
    ordered = (axes @ colours).sort(1).values
    place = (torch.arange(LEVELS, device=image.device) + 0.5) * ordered.shape[1] / LEVELS
    return ordered[:, place.long()]


class Judge:
    """Measures pictures against a style, each by itself: none depends on which others are judged, or in which order.

    Args:
        backbone: gives the features.
        styles: what the manner is compared with, blended by their shares.
        style_layers: whose Gram matrices are compared.
        content_layers: whose features are compared.
        resolution: longer side in pixels that a picture is brought to first.
    """

    def __init__(
        self, backbone: Any, styles: Sequence[Style], style_layers: Sequence[str], content_layers: Sequence[str], resolution: int
    ) -> None:
        self.backbone, self.styles, self.resolution = backbone, styles, resolution
        self.style_layers, self.content_layers = tuple(style_layers), tuple(content_layers)
        self.least = max(backbone.stride(layer) for layer in (*style_layers, *content_layers))
        self._target: tuple[Size, list[Tensor], dict[str, Tensor]] | None = None

    def size(self, picture: Tensor) -> Size:
        """Height and width at which a picture is judged.

        Raises:
            DataError: if it is so long and narrow that the layers see nothing of it.
        """
        size = fitted((picture.shape[2], picture.shape[3]), self.resolution)
        if min(size) < self.least:
            raise DataError(
                f"a picture of {picture.shape[3]}x{picture.shape[2]} pixels is {size[1]}x{size[0]} where all are judged, "
                f"and the deepest layer needs {self.least}",
                "give a larger `resolution`, or shallower layers",
            )
        return size

    @torch.no_grad()
    def measure(self, picture: Tensor, content: Tensor | None = None) -> Measures:
        """Judge one picture.

        Args:
            picture: (1, 3, H, W) in [0, 1].
            content: (1, 3, h, w) in [0, 1], stretched to the picture's size.

        Returns:
            `style` and `style_<layer>`: mean over the layers, and of each, s = |G - A|^2 / |A|^2 (Frobenius), 0 for the style itself.
            `content`: mean over its layers of |F - P|^2 / |P|^2.
            `tv`, `color_style`, `color_content`: see `total_variation` and `colour_distance`.
        """
        size = self.size(picture)
        picture = resized(picture, size)
        styles, target = self._reference(size)
        features = self.backbone(picture, (*self.style_layers, *self.content_layers))
        errors = {layer: float(relative_error(gram(features[layer])[0], target[layer])) for layer in self.style_layers}
        found = {"style": _mean(errors.values()), **{f"style_{layer}": error for layer, error in errors.items()}}
        if content is not None:
            content = resized(content, size)
            wanted = self.backbone(content, self.content_layers)
            found["content"] = _mean(float(relative_error(features[layer], wanted[layer])) for layer in self.content_layers)
        found["tv"] = total_variation(picture)
        found["color_style"] = sum(s.share * colour_distance(picture, shown) for s, shown in zip(self.styles, styles, strict=True))
        if content is not None:
            found["color_content"] = colour_distance(picture, content)
        return found

    def _reference(self, size: Size) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The styles at the area of `size`, as style.transfer takes them, and their blended Gram matrices."""
        if self._target is None or self._target[0] != size:
            shown = [at_scale(style, size, self.least) for style in self.styles]
            blended = dict.fromkeys(self.style_layers, torch.zeros(()))
            for style, picture in zip(self.styles, shown, strict=True):
                features = self.backbone(picture, self.style_layers)
                blended = {layer: total.to(picture) + style.share * gram(features[layer])[0] for layer, total in blended.items()}
            self._target = size, shown, blended
        return self._target[1:]


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held)


# the stage


@dataclass(frozen=True)
class Judged:
    """A picture as it was judged, (1, 3, H, W) in [0, 1], its name and its numbers."""

    picture: Tensor
    name: str
    measures: Measures


def compare(images: Images, params: CompareParams, run: Run) -> Iterator[Batch]:
    """Judge every picture and yield the one sheet; see the stage.

    Raises:
        DataError: if there is no picture, or if pictures and contents don't fit together.
    """
    backbone = run.backbone(params.backbone)
    for name in ("style_layers", "content_layers"):
        check_layers(backbone, params.backbone, getattr(params, name), f"{run.stage_id}.{name}")
    judge = Judge(backbone, read_styles(params, run, backbone), params.style_layers, params.content_layers, params.resolution)
    count = images.count if images.count is not None else len(images)
    contents = Contents(params.content, run)
    contents.check(count)
    run.expect(1)
    columns = params.columns or math.ceil(math.sqrt(count))
    shown_side = min(params.resolution, WIDEST // columns)
    judged = []
    for batch in images.batches(1):
        one = _judged(batch, judge, contents, run)
        run.metric(picture=batch.start, **one.measures)
        run.progress(batch.start + 1, count)
        run.check()
        judged.append(Judged(resized(one.picture, fitted(_size(one.picture), shown_side)).cpu(), one.name, one.measures))
    about: dict[str, Any] = {"pictures": count, "measures": [{"picture": one.name, **one.measures} for one in judged]}
    if params.film and count > 1:
        about["flicker"] = _flicker(images, contents, judge, run)
        run.metric(flicker=about["flicker"])
    yield Batch.from_array(sheet(judged, columns), [about])


def _judged(batch: Batch, judge: Judge, contents: Contents, run: Run) -> Judged:
    """Judge the one picture of a batch."""
    picture, content = over_white(batch.pixels).to(run.device), contents.of(batch.start)
    name = str(batch.meta[0].get("source", f"picture {batch.start + 1}"))
    try:
        size = judge.size(picture)
        if content is not None and not _alike(_size(content), _size(picture)):
            run.warn(f"{name} has other proportions than its content, which is stretched to be compared")
        return Judged(resized(picture, size), name, judge.measure(picture, content))
    except DataError as error:
        raise DataError(f"{run.stage_id}: {name}: {error.message}", error.hint) from error


def _size(picture: Tensor) -> Size:
    return picture.shape[2], picture.shape[3]


def _alike(a: Size, b: Size) -> bool:
    """True if two sizes have the same proportions, up to a rounded pixel of the smaller one."""
    smaller = min(*a, *b)
    return abs(math.log(a[0] * b[1] / (a[1] * b[0]))) <= 1.5 / smaller


def over_white(pixels: Tensor) -> Tensor:
    """Lay (N, 3 or 4, H, W) over white, as files with transparency are read: (N, 3, H, W)."""
    colours, alpha = pixels[:, :3], pixels[:, 3:]
    return colours if alpha.shape[1] == 0 else colours * alpha + (1 - alpha)


class Contents:
    """What was painted over: one picture for all, or one for each, from files and from other stages.

    Args:
        paths: as the parameter has them.
        run: knows the stages among them, and the device.
    """

    def __init__(self, paths: Sequence[Path], run: Run) -> None:
        self.run = run
        #: a file, or a picture of a stage's by index
        self._places: list[tuple[Path, int]] = []
        for path in paths:
            side = run.sides.get(str(path))
            self._places += [(path, i) for i in range(len(side) if isinstance(side, Images) else 1)]
        self._read: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._places)

    def check(self, count: int) -> None:
        """Refuse what cannot be compared.

        Raises:
            DataError: if there are no pictures, or neither one content nor one for each of `count`.
        """
        if count == 0:
            raise DataError(f"{self.run.stage_id}: there is no picture to judge", "the stage before gave none")
        if len(self) not in (0, 1, count):
            raise DataError(
                f"{self.run.stage_id}.content: {len(self)} contents for {count} pictures",
                "give one content for all pictures, or one for each, in their order",
            )

    def of(self, index: int) -> Tensor | None:
        """The content of picture `index`, (1, 3, H, W) in [0, 1] on the run's device; None if none was given."""
        if not self._places:
            return None
        at = index if len(self) > 1 else 0
        if self._read is None or self._read[0] != at:
            path, place = self._places[at]
            self._read = at, read_picture(path, self.run, place).to(self.run.device)
        return self._read[1]


def _flicker(images: Images, contents: Contents, judge: Judge, run: Run) -> float:
    """Mean warped difference between neighbouring frames; the motion is that of the contents if there is one for each frame."""

    def results() -> Iterator[Tensor]:
        for batch in images.settled().batches(1):
            picture = over_white(batch.pixels).to(run.device)
            yield resized(picture, judge.size(picture))

    def frames() -> Iterator[Tensor]:
        for index, result in enumerate(results()):
            content = contents.of(index)
            yield result if content is None else resized(content, _size(result))

    return float(flicker(frames() if len(contents) > 1 else results(), results()))


# the sheet


def sheet(judged: Sequence[Judged], columns: int) -> np.ndarray:
    """Lay pictures out with their numbers below, (1, H, W, 3) uint8."""
    height, width = (max(one.picture.shape[axis] for one in judged) for axis in (2, 3))
    tiles = torch.cat([_tile(one, (height, width)) for one in judged])
    return grid(tiles, columns, GAP, 255).permute(1, 2, 0)[None].contiguous().numpy()


def _tile(one: Judged, size: Size) -> Tensor:
    """A picture in the middle of a white cell of `size`, its text below: (1, 3, H, W) uint8."""
    lines = caption(one)
    text = torch.from_numpy(drawn(lines, size[1])).permute(2, 0, 1)[None]
    cell = torch.full((1, 3, *size), 255, dtype=torch.uint8)
    height, width = _size(one.picture)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    cell[:, :, top : top + height, left : left + width] = to_uint8(one.picture)
    return torch.cat([cell, text], 2)


def caption(one: Judged) -> list[str]:
    """What stands below a picture: its name, the two errors, the layers, the rest; always as many lines."""
    m = one.measures
    layers = [value for name, value in m.items() if name.startswith("style_")]
    content = f"   content {m['content']:.3g}" if "content" in m else ""
    from_content = f", from content {m['color_content']:.3g}" if "color_content" in m else ""
    return [
        one.name,
        f"style {m['style']:.3g}{content}   variation {m['tv']:.2g}",
        "layers " + "  ".join(f"{value:.2g}" for value in layers),
        f"colours: from style {m['color_style']:.3g}{from_content}",
    ]


def drawn(lines: Sequence[str], width: int) -> np.ndarray:
    """Draw lines of text, each cut to fit: (H, width, 3) uint8, black and grey on white."""
    strip = Image.new("RGB", (width, LINE * len(lines) + 4), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(LINE - 4)
    for i, line in enumerate(lines):
        while line and draw.textlength(line, font) > width:
            line = line[:-2].rstrip(" …") + "…" if len(line) > 2 else ""
        draw.text((0, 4 + i * LINE), line, fill="black" if i < 2 else "#606060", font=font)
    return np.array(strip)
