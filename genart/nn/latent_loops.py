"""Closed courses through latent space that need no row of keys: circles, and simplex noise on a circle.

The noise is our own few lines rather than a package's: a frame needs it for all numbers of a latent at once, which packages compute one
by one in Python, and the same seed must give the same film whatever version of a package is installed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Distance of the skewed grid of triangles from the square one, both ways (Gustavson 2005).
SKEW, UNSKEW = (math.sqrt(3) - 1) / 2, (3 - math.sqrt(3)) / 6
#: Places of the noise that two numbers of a latent see lie somewhere in a square of this side.
FIELD = 1 << 16


def angle_of(frame: int, frames: int) -> float:
    """Angle of a frame on its circle, in [0, 2π): the same to the bit for `frame` and `frame + frames`."""
    return 2 * math.pi * (frame % frames) / frames


def circle(a: Tensor, b: Tensor, angle: float) -> Tensor:
    """Point on the circle through two latents: `a` at 0, `b` at a quarter.

    Of two latents from N(0, 1), every point is from N(0, 1) again: in many dimensions they are nearly at right angles and of one length.
    """
    return math.cos(angle) * a + math.sin(angle) * b


def around(centre: Tensor, moved: Tensor, radius: float) -> Tensor:
    """A point that keeps to the neighbourhood of another, at N(0, 1) where both are: 0 gives the centre, 1 what moves."""
    return math.sqrt(1 - radius**2) * centre + radius * moved


def noise_loop(z_dim: int, angle: float, turns: float, seed: int) -> Tensor:
    """Latent on a closed random course: each of its numbers is simplex noise along a circle of its own.

    Args:
        z_dim: numbers in a latent vector.
        angle: where on the circle, from 0 to 2π.
        turns: features of the noise that the circle passes, about as many as different pictures.
        seed: of the course.

    Returns:
        (z_dim,) of the length √z_dim, that of latents from N(0, 1).
    """
    places = torch.rand(2, z_dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * FIELD
    radius = turns / (2 * math.pi)
    z = simplex_noise(places[0] + radius * math.cos(angle), places[1] + radius * math.sin(angle))
    loop: Tensor = z * (math.sqrt(z_dim) / z.norm().clamp(min=1e-9))
    return loop.float()


def simplex_noise(x: Tensor, y: Tensor) -> Tensor:
    """Simplex noise of two dimensions (Perlin 2001, as Gustavson 2005 explains it), with gradients from a hash instead of a table.

    Args:
        x: (N,) float64, of features of about the size 1.
        y: (N,) float64.

    Returns:
        (N,) float64, smooth, of mean 0, within [-1, 1].
    """
    skewed = (x + y) * SKEW
    i, j = torch.floor(x + skewed), torch.floor(y + skewed)
    dx, dy = x - i + (i + j) * UNSKEW, y - j + (i + j) * UNSKEW  # from the corner of the cell
    right = (dx > dy).double()  # which of the cell's two triangles
    corners = ((0, 0), (right, 1 - right), (1, 1))
    return 99.2 * sum(
        (_corner(i + a, j + b, dx - a + (a + b) * UNSKEW, dy - b + (a + b) * UNSKEW) for a, b in corners), torch.zeros_like(x)
    )


def _corner(i: Tensor, j: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """What the corner (i, j) of a triangle gives to a point at (dx, dy) from it."""
    mixed = (i.long() * 0x27D4EB2F + j.long() * 0x165667B1) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    angle = (mixed ^ (mixed >> 15)).double() * (2 * math.pi / 0x100000000)
    fall = (0.5 - dx * dx - dy * dy).clamp(min=0)
    return fall**4 * (angle.cos() * dx + angle.sin() * dy)
