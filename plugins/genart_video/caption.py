"""Captions in the lower left corner and titles on top: white with a dark outline, so that they read on any picture."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genart import DataError, Meta, did_you_mean

#: {name} or {name:.2f}. Not str.format, whose fields can reach into objects and whose widths can fill the memory.
FIELD = re.compile(r"\{(\w+)(?::\.(\d)f)?\}")
#: What pictures of a training say; a decimal point would be lost in the small letters of small ones.
PROGRESS, PROGRESS_SMALL = "{kimg:.1f} kimg", "{kimg:.0f} kimg"
SMALL_SIDE = 200
INK, OUTLINE = (255, 255, 255), (16, 16, 16)
#: Height of the letters as a share of the picture's shorter side, and the least that can be read.
SHARE, SMALLEST = 0.06, 9
#: Longest caption, in letters.
LONGEST = 200


class Caption:
    """Draws a template filled from each picture's metadata.

    Args:
        template: text with {names}; None captions pictures that carry `kimg`, "" none.
        fps: pictures per second, for {seconds}.
    """

    def __init__(self, template: str | None, fps: float) -> None:
        self.template = template
        self.fps = fps

    def text(self, meta: Meta, index: int, *, small: bool = False) -> str:
        """Fill the template for picture `index`, which may be small.

        Raises:
            DataError: if the template names metadata that the picture lacks.
        """
        template = self.template
        if template is None:
            template = progress(meta, small=small)
        values = {"frame": index, "seconds": index / self.fps, **meta}
        return FIELD.sub(lambda field: _show(values, field, index), template)[:LONGEST]

    def drawn(self, frame: np.ndarray, meta: Meta, index: int) -> np.ndarray:
        """Return a captioned copy of (H, W, 3 or 4) uint8, or the frame itself when there is nothing to say."""
        text = self.text(meta, index, small=min(frame.shape[:2]) < SMALL_SIDE)
        if not text:
            return frame
        drawn = frame.copy()
        patch = render(text, frame.shape[1], frame.shape[0])
        paste(drawn[drawn.shape[0] - patch.shape[0] :, : patch.shape[1]], patch)
        return drawn

    def colours(self, metas: Sequence[Meta], *, titled: bool) -> tuple[tuple[int, int, int], ...]:
        """Colours that a palette must have for the caption, and titles if there are some, to stay crisp."""
        return (INK, OUTLINE) if titled or any(self.text(meta, 0) for meta in metas) else ()


def progress(meta: Meta, *, small: bool) -> str:
    """The template for a picture of a training: its kimg, and the losses where there is room."""
    if "kimg" not in meta:
        return ""
    losses = [name for name in meta if name.startswith("loss_")]
    if small or not losses:
        return PROGRESS_SMALL if small else PROGRESS
    return "   ".join([PROGRESS, *(f"{name.removeprefix('loss_')} {{{name}:.2f}}" for name in losses)])


def draw_title(area: np.ndarray, text: str) -> None:
    """Write a text at the top of a picture, (H, W, 3 or 4) uint8, in its middle, in place."""
    if text.strip():
        patch = render(" ".join(text.split())[:LONGEST], area.shape[1], area.shape[0])
        left = (area.shape[1] - patch.shape[1]) // 2
        paste(area[: patch.shape[0], left : left + patch.shape[1]], patch)


def paste(area: np.ndarray, patch: np.ndarray) -> None:
    """Blend a patch, (h, w, 4) uint8, into as large an area, (h, w, 3 or 4) uint8, in place."""
    alpha = patch[..., 3:].astype(np.float32) / 255
    if area.shape[2] == 4:  # letters are opaque wherever they stand
        under = area[..., 3:].astype(np.float32) / 255 * (1 - alpha)
        whole = alpha + under
        area[..., :3] = np.rint((patch[..., :3] * alpha + area[..., :3] * under) / np.maximum(whole, 1e-6))
        area[..., 3:] = np.rint(255 * whole)
    else:
        area[...] = np.rint(patch[..., :3] * alpha + area * (1 - alpha))


@functools.lru_cache(maxsize=64)
def render(text: str, width: int, height: int) -> np.ndarray:
    """Draw the text to fit a picture: (h, w, 4) uint8, its margin included, at most as wide as the picture. Not to be written into."""
    size = max(SMALLEST, round(SHARE * min(width, height)))
    font, box = _measure(text, size)
    while size > SMALLEST and box[2] - box[0] + size > width:
        size -= 1
        font, box = _measure(text, size)
    stroke, margin = _stroke(size), max(1, size // 3)
    canvas = Image.new("RGBA", (int(box[2] - box[0]) + 2 * margin, int(box[3] - box[1]) + 2 * margin), (*OUTLINE, 0))
    place = (margin - box[0], margin - box[1])
    ImageDraw.Draw(canvas).text(place, text, INK, font, stroke_width=stroke, stroke_fill=OUTLINE)
    patch = np.asarray(canvas)
    return patch[-min(height, patch.shape[0]) :, :width]


def _stroke(size: int) -> int:
    return max(1, round(size / 9))


def _measure(text: str, size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, tuple[float, float, float, float]]:
    font = ImageFont.load_default(size)
    # Measured on digits as well, so that a running count keeps its baseline.
    return font, ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font, stroke_width=_stroke(size))


def _show(values: Meta, field: re.Match[str], index: int) -> str:
    name, digits = field.groups()
    if name not in values:
        raise DataError(
            f"the caption asks for {{{name}}}, which picture {index} does not carry{did_you_mean(name, values)}",
            f"it carries: {', '.join(sorted(values))}",
        )
    value = values[name]
    if value is None:  # as a loss before the first step
        return "-"  # the font that comes with Pillow has no dash
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if digits is not None and number:
        return f"{value:.{digits}f}"
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())
