"""Pieces of a picture that are larger than what they stand for by what the network looks at, so that inside them nothing is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """Along one side: what a tile stands for (`start` to `stop`), and what it shows the network (`first` to `last`)."""

    start: int
    stop: int
    first: int
    last: int
    #: length of the picture's side
    side: int

    def features(self, stride: int) -> slice:
        """Which of a layer's positions inside the tile are its own."""
        stop = self.side // stride if self.stop == self.side else self.stop // stride
        return slice((self.start - self.first) // stride, stop - self.first // stride)


@dataclass(frozen=True)
class Tile:
    """A piece of a picture."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Pixels that the network is shown."""
        return (self.rows.last - self.rows.first) * (self.columns.last - self.columns.first)

    def cut(self, image: Tensor) -> Tensor:
        """The piece of (..., H, W) that the network is shown."""
        return image[..., self.rows.first : self.rows.last, self.columns.first : self.columns.last]

    def own(self, features: Tensor, stride: int) -> Tensor:
        """The positions of a layer (..., h, w), computed from the piece, that the tile stands for."""
        return features[..., self.rows.features(stride), self.columns.features(stride)]

    def place(self, stride: int) -> tuple[int, int]:
        """Row and column, in the whole layer, of the first of its own positions."""
        return self.rows.start // stride, self.columns.start // stride


def tiles(size: Size, side: int | None = None, *, stride: int = 1, halo: int = 0) -> list[Tile]:
    """Cut a picture into tiles.

    Args:
        size: height and width.
        side: of what a tile stands for, about; None for one tile.
        stride: of the deepest layer: tiles begin at multiples of it, so that poolings fall as they do in the whole picture.
        halo: pixels around a tile that its features depend on.
    """
    rows, columns = (_spans(length, side or length, stride, halo) for length in size)
    return [Tile(row, column) for row in rows for column in columns]


def _spans(length: int, side: int, stride: int, halo: int) -> list[Span]:
    side = max(stride, side // stride * stride)
    around = -(-halo // stride) * stride
    # a rest in which the deepest layer would have no position goes to the tile before
    starts = [0, *(start for start in range(side, length, side) if length - start >= stride)]
    stops = [*starts[1:], length]
    return [Span(a, b, max(0, a - around), min(length, b + around), length) for a, b in zip(starts, stops, strict=True)]


def halo_of(backbone: Any, layers: Sequence[str]) -> int:
    """Pixels around a piece that the features of some layers depend on."""
    return max((backbone.receptive_field(layer) - backbone.stride(layer) + 1) // 2 for layer in layers)
