"""Gradient noise (Perlin 2002, "Improving noise") and sums of its octaves, on a lattice drawn for one picture."""

from __future__ import annotations

import numpy as np

#: Side of the lattice, a power of two; beyond it the noise repeats.
SIDE = 256
#: Turn of each octave against the one before, so that no direction of the lattice shows.
TURN = 0.6435
#: Factor that brings the noise to about [-1, 1].
LOUDNESS = 1.55


class Noise:
    """One picture's noise.

    Args:
        rng: the picture's stream.
        octaves: sum so many, each of about twice the frequency of the one before.
        gain: height of an octave relative to the one before.
    """

    def __init__(self, rng: np.random.Generator, octaves: int = 1, gain: float = 0.5) -> None:
        angles = rng.uniform(0, 2 * np.pi, SIDE * SIDE)
        self._x, self._y = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        self._octaves, self._gain = octaves, gain

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Noise of features of about the size 1, float32 of the shape of `x` and `y`, of mean 0, nearly always within [-1, 1]."""
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        total, height, weight = np.zeros(np.broadcast(x, y).shape, np.float32), 1.0, 0.0
        cos, sin = np.float32(2.02 * np.cos(TURN)), np.float32(2.02 * np.sin(TURN))
        for octave in range(self._octaves):
            total += np.float32(height) * self._octave(x, y)
            weight += height**2
            height *= self._gain
            x, y = cos * x - sin * y + np.float32(17.3 + octave), sin * x + cos * y + np.float32(5.7)
        return total * np.float32(LOUDNESS / weight**0.5)

    def _octave(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        left, top = np.floor(x), np.floor(y)
        dx, dy = x - left, y - top
        i, j = left.astype(np.int32) & (SIDE - 1), top.astype(np.int32) & (SIDE - 1)
        across, down = (i + 1) & (SIDE - 1), ((j + 1) & (SIDE - 1)) * SIDE
        j = j * SIDE
        u, v = _fade(dx), _fade(dy)
        upper = _mix(self._corner(j + i, dx, dy), self._corner(j + across, dx - 1, dy), u)
        lower = _mix(self._corner(down + i, dx, dy - 1), self._corner(down + across, dx - 1, dy - 1), u)
        return _mix(upper, lower, v)

    def _corner(self, place: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        return np.asarray(self._x.take(place) * dx + self._y.take(place) * dy)


def _fade(t: np.ndarray) -> np.ndarray:
    """Perlin's quintic: first and second derivative are 0 at both ends."""
    return np.asarray(t * t * t * (t * (t * 6 - 15) + 10))


def _mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(a + t * (b - a))


def grid(size: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the pixels of a picture of (width, height), in units of its shorter side: x (1, W) and y (H, 1), float32."""
    width, height = size
    short = min(size)
    x = (np.arange(width, dtype=np.float32) + 0.5) / short + origin[0]
    y = (np.arange(height, dtype=np.float32) + 0.5) / short + origin[1]
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)
