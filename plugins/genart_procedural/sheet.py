"""A sheet to draw on, antialiased by supersampling.

Shapes are filled by OpenCV, which the project has anyway, without antialiasing on a sheet several times as large, with places to 1/16 of
its pixels, and averaged in linear light at the end: opaque shapes that touch leave no seam between them, which blending each one's own
coverage does. A library for vector graphics would draw no better for 40 MB.
"""

from __future__ import annotations

import cv2
import numpy as np

from .colour import ROWS, from_linear, from_oklab, to_bytes, to_linear

#: Binary digits after the point in OpenCV's coordinates.
SHIFT = 4
#: Sides of the large sheet, in pixels, below which it is four times as large, not twice.
LARGE = 8192
_LINEAR = to_linear(np.arange(256) / 255).astype(np.float32)
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 24, endpoint=False))], 1)


class Sheet:
    """A picture in the making.

    Args:
        size: (width, height) in pixels.
        ground: (3,) OKLab.
    """

    def __init__(self, size: tuple[int, int], ground: np.ndarray) -> None:
        self.size = size
        self.factor = 4 if 4 * max(size) <= LARGE else 2
        self._canvas = np.empty((size[1] * self.factor, size[0] * self.factor, 3), np.uint8)
        self._canvas[:] = to_bytes(from_oklab(ground))
        # a pixel of OpenCV's has its middle at a whole number
        self._scale = min(size) * self.factor * 2**SHIFT
        self._offset = 2 ** (SHIFT - 1)

    def _places(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(points * self._scale - self._offset).astype(np.int32))

    def polygon(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Fill a convex polygon: (N, 2) in units of the shorter side; `colour` is 8-bit sRGB."""
        cv2.fillConvexPoly(self._canvas, self._places(points), colour, cv2.LINE_8, SHIFT)

    def ribbon(self, points: np.ndarray, half_widths: np.ndarray, colour: tuple[int, int, int], run: int = 6) -> None:
        """Fill a line of changing width.

        It is filled piece by piece, so that it may cross itself.

        Args:
            points: (N, 2) in units of the shorter side, N at least 2, no two neighbours in one place.
            half_widths: (N,) in the same unit.
            colour: 8-bit sRGB.
            run: segments of a piece.
        """
        along = np.gradient(points, axis=0)
        normals = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(along[:, 0], along[:, 1]).clip(1e-9)[:, None]
        sides = normals * half_widths[:, None]
        left, right = self._places(points + sides), self._places(points - sides)
        for at in range(0, len(points) - 1, run):
            piece = np.concatenate([left[at : at + run + 1], right[at : at + run + 1][::-1]])
            cv2.fillPoly(self._canvas, [piece], colour, cv2.LINE_8, SHIFT)
        for end in (0, -1):
            self.polygon(points[end] + _CIRCLE * half_widths[end], colour)

    def finish(self) -> np.ndarray:
        """The picture: (H, W, 3) uint8, averaged in linear light."""
        out = np.empty((self.size[1], self.size[0], 3), np.uint8)
        for top in range(0, self.size[1], ROWS):
            rows = self._canvas[top * self.factor : (top + ROWS) * self.factor]
            light = cv2.resize(_LINEAR[rows], (self.size[0], rows.shape[0] // self.factor), interpolation=cv2.INTER_AREA)
            out[top : top + ROWS] = to_bytes(from_linear(light))
        return out


def as_rgb(lab: np.ndarray) -> tuple[int, int, int]:
    """(3,) OKLab as OpenCV takes a colour; the channels are in our order, red first."""
    red, green, blue = (int(value) for value in to_bytes(from_oklab(lab)))
    return red, green, blue


def above(field: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """How much of each pixel lies where a field is above a level: (H, W) to (H, W) in [0, 1], an edge one pixel wide."""
    down, across = np.gradient(field)
    return np.asarray(((field - level) / np.hypot(down, across).clip(1e-6) + 0.5).clip(0, 1))
