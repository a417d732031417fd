"""Domain-warped noise: noise of places that noise has moved, twice over (Quilez 2002, "Domain warping").

    q = (fbm(p), fbm(p + a)),  r = (fbm(p + s q), fbm(p + s q + b)),  value = fbm(p + s r)

What q and r were on the way chooses colours too, so that a vein keeps its hue; a light from the upper left shows the value as a relief.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genart import Batch, Run

from .colour import Palette, as_picture
from .noise import Noise, grid
from .series import palettes, series, stream
from .sheet import above

if TYPE_CHECKING:
    from ._warp import WarpParams

#: How far a film moves through the noise, in features: the radius of the circle that closes it.
ORBIT = 0.07
#: Height of an octave relative to the one before: silk rather than rock.
GAIN = 0.4


@dataclass(frozen=True)
class Look:
    """What warped noise is like.

    Attributes:
        scale: size of its features in shorter sides.
        strength: how far places are moved, in features.
        octaves: of each sum.
        bands: contour bands from the ground to the last colour, as in agate; 0 is smooth.
        relief: strength of the light, 0 to 1.
    """

    scale: float
    strength: float
    octaves: int
    bands: int
    relief: float


def draw(look: Look, palette: Palette, size: tuple[int, int], rng: np.random.Generator, phase: float = 0.0) -> np.ndarray:
    """Draw one picture of (width, height), or the frame of a film at this share of its circle: (H, W, 3) uint8."""
    fine, broad = Noise(rng, look.octaves, GAIN), Noise(rng, 2, GAIN)
    away = rng.uniform(20, 90, (6, 2))
    turned = 2 * np.pi * (phase % 1.0)
    shift = (ORBIT * np.cos(turned), ORBIT * np.sin(turned))
    x, y = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = (np.cos(angle) * x - np.sin(angle) * y) / look.scale, (np.sin(angle) * x + np.cos(angle) * y) / look.scale
    x, y = x.astype(np.float32), y.astype(np.float32)

    def fbm(dx: np.ndarray | float, dy: np.ndarray | float, k: int) -> np.ndarray:
        return (fine if k == 4 else broad)(x + dx + np.float32(away[k, 0]), y + dy + np.float32(away[k, 1]))

    s = np.float32(look.strength)
    q = fbm(shift[0], shift[1], 0), fbm(-shift[1], shift[0], 1)
    r = fbm(s * q[0] + shift[1], s * q[1], 2), fbm(s * q[0], s * q[1] - shift[0], 3)
    value = fbm(s * r[0], s * r[1], 4)
    return as_picture(_coloured(value, q, r, look, palette, min(size)))


Pair = tuple[np.ndarray, np.ndarray]


def _coloured(value: np.ndarray, q: Pair, r: Pair, look: Look, palette: Palette, short: int) -> np.ndarray:
    """OKLab of each pixel, (H, W, 3)."""
    t = _spread(0.8 * value + 0.35 * r[0] + 0.25 * q[1])
    if look.bands:
        t = _banded(t, look.bands)
    lab = palette.along(t)
    vein = _spread(np.hypot(r[0], r[1]) - 0.3) ** 4
    accent = palette.inks[len(palette.inks) // 2].astype(np.float32)
    lab = lab + 0.5 * vein[..., None] * (accent - lab)
    lab[..., 0] += look.relief * _light(value + 0.5 * r[1], look.scale * short)
    return np.asarray(lab)


def _spread(field: np.ndarray) -> np.ndarray:
    """Bring a field to [0, 1], its 2nd and 98th percentile to the ends, so that a picture has all of its palette."""
    low, high = np.percentile(field[::4, ::4], (2, 98))
    t = ((field - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.asarray(t)


def _banded(t: np.ndarray, bands: int) -> np.ndarray:
    """Flatten t into terraces with antialiased edges, and leave a little of the slope in each."""
    level = t * bands
    nearest = np.rint(level)
    terrace = nearest - 1 + above(level, nearest)
    return np.asarray(0.8 * (terrace + 0.5) / bands + 0.2 * t)


def _light(value: np.ndarray, feature: float) -> np.ndarray:
    """Lightness that a light from the upper left adds to a relief whose features are so many pixels large."""
    down, across = np.gradient(value)
    return np.asarray(np.tanh(-(across + 1.2 * down) * feature * 0.045) * 0.12)


def warp(run: Run, params: WarpParams) -> Iterator[Batch]:
    """Yield the pictures, or the film, of `procedural.warp`."""

    def draw_one(rng: np.random.Generator, chance: np.random.Generator, palette: Palette) -> tuple[np.ndarray, dict[str, Any]]:
        return draw(look_of(params, chance), palette, params.size, rng), {}

    return series(run, params, draw_one) if params.frames is None else _film(run, params, params.frames)


def _film(run: Run, params: WarpParams, frames: int) -> Iterator[Batch]:
    palette, look = palettes(run, params)(0), look_of(params, stream(run, "look", 0))
    run.expect(frames, params.fps)
    for k in range(run.start, frames):
        frame = draw(look, palette, params.size, stream(run, "picture", 0), k / frames)
        yield Batch.from_array(frame[None], [{"seed": run.seed("picture", 0), "palette": palette.name}])


def look_of(params: WarpParams, chance: np.random.Generator) -> Look:
    """What the parameters say, and for the rest what chance does."""
    scale, strength = np.exp(chance.uniform(np.log(0.3), np.log(0.8))), chance.uniform(0.9, 2.0)
    bands = int(chance.integers(6, 13)) * int(chance.uniform() < 0.3)
    return Look(
        scale=float(scale) if params.scale is None else params.scale,
        strength=float(strength) if params.strength is None else params.strength,
        octaves=params.octaves,
        bands=bands if params.bands is None else params.bands,
        relief=params.relief,
    )
