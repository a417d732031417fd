"""What a frozen network sees of pictures, and its random projections (Sauer et al. 2021, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genart.nn.data import Pictures
from genart.nn.efficientnet import efficientnet_lite0
from genart.nn.images import to_unit
from genart.nn.players import Seen

__all__ = ["Frozen", "Projection", "Remembered", "efficientnet_lite0"]

#: Channels of the projected features for each stride at which they are seen, in pixels of what the frozen network looks at; the last layer
#: of each is. Section 4 sees the same but for stride 2, of pictures enlarged to 256 px, whose own pixels stride 4 tells apart. Pictures as
#: small as they are need stride 2: else nothing says what is to be between four pixels, and G fills them with a pattern. It is narrow, for
#: it would cost more than all others together.
WIDTHS = {2: 16, 4: 64, 8: 64, 16: 64, 32: 64}
#: A scale with fewer positions along a side says nothing of places.
SMALLEST = 2
#: Pictures whose features are computed together before they are remembered.
CHUNK = 64
#: Bytes of features that are remembered, at most.
MEMORY = 512 << 20


class Frozen:
    """Features of a frozen network at several scales, fine to coarse.

    Args:
        backbone: see the hook genart_backbones.
        px: pixels along a side of what it looks at; other pictures are scaled to it.
        device: where it is.

    Attributes:
        layers: the backbone's names of the features, one a scale.
        channels: of each scale.
        sizes: positions along a side of each scale.
        widths: channels to which each is projected.
    """

    def __init__(self, backbone: Any, px: int, device: str) -> None:
        self.backbone, self.px = backbone, px
        last = {backbone.stride(layer): layer for layer in backbone.layers}
        strides = [stride for stride in WIDTHS if stride in last and px // stride >= SMALLEST]
        self.layers, self.widths = tuple(last[stride] for stride in strides), tuple(WIDTHS[stride] for stride in strides)
        shapes = [part.shape for part in self(torch.zeros(1, 3, px, px, device=device))]
        self.channels, self.sizes = tuple(shape[1] for shape in shapes), tuple(shape[2] for shape in shapes)

    def __call__(self, images: Tensor) -> Seen:
        """(N, 3, R, R) in [-1, 1] to (N, C, h, h) for each scale, fine to coarse."""
        x = to_unit(images.float())
        if x.shape[-1] != self.px:
            x = F.interpolate(x, (self.px, self.px), mode="bilinear", antialias=x.shape[-1] > self.px)
        found = self.backbone(x, self.layers)
        return tuple(found[layer] for layer in self.layers)


class Projection(nn.Module):
    """Random mixtures of features that never learn: across channels, and across scales from coarse to fine (section 3.2, figure 2).

    They are buffers, so that they are saved with the D that learned to read them.

    Args:
        channels: of each scale, fine to coarse.
        widths: channels of each mixture.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.count = len(channels)
        coarser = [*widths[1:], widths[-1]]  # channels of what is added to each
        for index, (c_in, c_out) in enumerate(zip(channels, coarser, strict=True)):
            self.register_buffer(f"channels{index}", nn.init.kaiming_normal_(torch.empty(c_out, c_in, 1, 1), nonlinearity="linear"))
        for index, (c_out, c_in) in enumerate(pairwise(widths)):
            self.register_buffer(f"scales{index}", nn.init.kaiming_normal_(torch.empty(c_out, c_in, 3, 3), nonlinearity="linear"))

    def forward(self, features: Seen) -> Seen:
        """(N, C, h, h) for each scale, fine to coarse, to (N, widths[i], h, h) each; a fine one holds what the coarser ones see too."""
        mixed: list[Tensor] = []
        for index in reversed(range(self.count)):
            x = F.conv2d(features[index], self.get_buffer(f"channels{index}").to(features[index].dtype))
            if mixed:
                x = x + F.interpolate(mixed[-1], x.shape[2:], mode="bilinear")
                x = F.conv2d(x, self.get_buffer(f"scales{index}").to(x.dtype), padding=1)
            mixed.append(x)
        return tuple(reversed(mixed))


class Remembered:
    """What D sees of the real pictures, computed once for each.

    Pictures are computed in chunks that do not depend on the order in which they are asked for, so that a resume, which begins with
    nothing remembered, computes the same numbers.

    Args:
        pictures: the data set.
        see: pictures (n, 3, R, R) in [-1, 1] to what D sees.
        versions: how many there are: the pictures, and as many more if they are mirrored.
    """

    def __init__(self, pictures: Pictures, see: Callable[[Tensor], Seen], versions: int) -> None:
        self.pictures, self.see, self.versions = pictures, see, versions
        self.known = np.zeros(-(-versions // CHUNK), bool)
        self.memory: tuple[Tensor, ...] = ()

    def __call__(self, versions: Tensor) -> Seen:
        """(N,) int64 on the CPU, as `RealBatch.versions` counts, to what D sees of them."""
        for chunk in np.unique(versions.numpy() // CHUNK):
            if not self.known[chunk]:
                self._learn(int(chunk))
        rows = versions.to(self.memory[0].device)
        return tuple(part[rows].permute(0, 3, 1, 2) for part in self.memory)

    def _learn(self, chunk: int) -> None:
        places = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.versions))
        seen = [part.permute(0, 2, 3, 1) for part in self.see(self.pictures.version(places))]
        if not self.memory:
            self.memory = tuple(part.new_empty(self.versions, *part.shape[1:]) for part in seen)
        for memory, part in zip(self.memory, seen, strict=True):
            memory[places[0] : places[0] + len(places)] = part
        self.known[chunk] = True
