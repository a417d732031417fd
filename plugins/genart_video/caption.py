"""Captions: one line in the lower left corner, white with a dark outline, so that it reads on any picture."""

from __future__ import annotations

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
        fps: frames per second, for {seconds}.
    """

    def __init__(self, template: str | None, fps: float) -> None:
        self.template = template
        self.fps = fps
        self._last: tuple[object, np.ndarray] | None = None

    def text(self, meta: Meta, index: int, *, small: bool = False) -> str:
        """Fill the template for picture `index`, which may be small.

        Raises:
            DataError: if the template names metadata that the picture lacks.
        """
        template = self.template
        if template is None:
            template = "" if "kimg" not in meta else PROGRESS_SMALL if small else PROGRESS
        values = {"frame": index, "seconds": index / self.fps, **meta}
        return FIELD.sub(lambda field: _show(values, field, index), template)[:LONGEST]

    def draw(self, frames: np.ndarray, metas: Sequence[Meta], indices: Sequence[int]) -> np.ndarray:
        """Return captioned copies of (N, H, W, 3) uint8, or the frames themselves when there is nothing to say."""
        small = min(frames.shape[1:3]) < SMALL_SIDE
        texts = [self.text(meta, index, small=small) for meta, index in zip(metas, indices, strict=True)]
        if not any(texts):
            return frames
        drawn = frames.copy()
        for frame, text in zip(drawn, texts, strict=True):
            if text:
                self._paste(frame, text)
        return drawn

    def colours(self, metas: Sequence[Meta]) -> tuple[tuple[int, int, int], ...]:
        """Colours that a palette must have for the caption to stay crisp."""
        return (INK, OUTLINE) if any(self.text(meta, 0) for meta in metas) else ()

    def _paste(self, frame: np.ndarray, text: str) -> None:
        """Blend the text into (H, W, 3) uint8 in place."""
        key = (text, frame.shape)
        if self._last is None or self._last[0] != key:
            self._last = (key, render(text, frame.shape[1], frame.shape[0]))
        patch = self._last[1]
        height, width = patch.shape[:2]
        area = frame[frame.shape[0] - height :, :width]
        alpha = patch[..., 3:].astype(np.float32) / 255
        area[...] = np.rint(patch[..., :3] * alpha + area * (1 - alpha))


def render(text: str, width: int, height: int) -> np.ndarray:
    """Draw the text to fit a picture: (h, w, 4) uint8, its margin included, at most as wide as the picture."""
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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if digits is not None and number:
        return f"{value:.{digits}f}"
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())
