"""Lines of text to stand under pictures."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor


def label_height(width: int) -> int:
    """Height of a label in pixels: readable below small pictures, modest below large ones."""
    return max(10, min(14, width // 8)) + 4


def label_width(text: str, height: int) -> int:
    """Pixels that a line of text takes in a label of this height."""
    return math.ceil(ImageFont.load_default(height - 4).getlength(text)) + 2


def label_strip(text: str, size: tuple[int, int], background: str) -> Tensor:
    """Draw a line of text, cut to fit.

    Args:
        text: what it says.
        size: width and height in pixels.
        background: "#rrggbb"; the text is black or white on it.

    Returns:
        (3, height, width) uint8.
    """
    strip = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size[1] - 4)
    if draw.textlength(text, font) > size[0]:
        while text and draw.textlength(text + "…", font) > size[0]:
            text = text[:-1]
        text += "…"
    light = sum(ImageColor.getrgb(background)) > 3 * 127
    draw.text((size[0] / 2, size[1] / 2), text, fill="black" if light else "white", font=font, anchor="mm")
    return torch.from_numpy(np.array(strip)).permute(2, 0, 1)
