"""Reaction and diffusion: the model of Gray and Scott (1984), with the patterns that Pearson (1993) found in it.

    ∂u/∂t = Du ∇²u - u v² + F (1 - u),    ∂v/∂t = Dv ∇²v + u v² - (F + k) v

One feeds the other, which eats it and dies away. Steps are Euler's with dt = 1, Du = 1, Dv = 1/2 and a nine-point stencil; the sides of the
grid are joined to their opposites, so that pictures tile. The grid is coarser than the picture, since a pattern's line is several cells
wide, and is brought to it by cubic interpolation before anything is cut off sharply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from genart import Batch, Run

from ._patterns import PATTERNS
from .colour import Palette, as_picture
from .series import palettes, series, stream
from .sheet import above

if TYPE_CHECKING:
    from ._reaction import ReactionParams

#: Nine-point Laplacian.
STENCIL = np.array([[0.05, 0.2, 0.05], [0.2, -1, 0.2], [0.05, 0.2, 0.05]], np.float32)
DU, DV = 1.0, 0.5
#: Places where it begins, on 256 by 256 cells.
SEEDS = 60
#: v at the edge of what lives, and by how much it stands above what is around it where its heart begins.
EDGE, RIDGE = 0.14, 0.055


@dataclass(frozen=True)
class Look:
    """What a pattern is like.

    Attributes:
        pattern: a name of the table.
        cells: of the grid along the shorter side.
        steps: to simulate.
        drift: how far feed and kill rates differ from place to place, as a share of what keeps the pattern alive.
        relief: strength of the light, 0 to 1.
    """

    pattern: str
    cells: int
    steps: int
    drift: float
    relief: float


class Reaction:
    """The two substances on their grid, and the rates at each cell.

    Args:
        look: which pattern, on how fine a grid.
        size: of the picture, (width, height), for the grid's proportions.
        rng: where it begins.
    """

    def __init__(self, look: Look, size: tuple[int, int], rng: np.random.Generator) -> None:
        width, height = (max(16, round(look.cells * side / min(size))) for side in size)
        feed, kill = PATTERNS[look.pattern]
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        slope, self.region = _tiling(rng, width, height), _tiling(rng, width, height).astype(np.float32)
        feeds = feed * (1 + 0.10 * look.drift * slope)
        kills = kill * (1 + 0.012 * look.drift * slope[::-1])
        u, v = np.ones((height, width), np.float32), np.zeros((height, width), np.float32)
        for _ in range(max(1, round(SEEDS * width * height / 65536))):
            cx, cy, reach = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2.5, 6)
            dx, dy = (x - cx + width / 2) % width - width / 2, (y - cy + height / 2) % height - height / 2
            v = np.maximum(v, 0.5 * (np.hypot(dx, dy) < reach))
        u -= v
        v *= rng.uniform(0.8, 1.2, v.shape).astype(np.float32)
        # with a rim of one cell, a copy of the opposite side; all that a step needs is made once
        self._u, self._v, self._feed, self._decay = (_rimmed(field) for field in (u, v, feeds, feeds + kills))
        self._change, self._eaten, self._spread = (np.empty_like(self._u) for _ in range(3))

    @property
    def u(self) -> np.ndarray:
        """What is eaten, (H, W) in [0, 1]."""
        return self._u[1:-1, 1:-1]

    @property
    def v(self) -> np.ndarray:
        """What eats it, (H, W) in [0, 1], seldom above 0.4."""
        return self._v[1:-1, 1:-1]

    def advance(self, steps: int) -> None:
        """Simulate so many steps."""
        u, v, change, eaten, spread = self._u, self._v, self._change, self._eaten, self._spread
        for _ in range(steps):
            np.multiply(v, v, out=eaten)
            eaten *= u
            np.multiply(self._feed, u, out=change)
            np.subtract(self._feed, change, out=change)
            change -= eaten
            change += cv2.filter2D(u, -1, DU * STENCIL, dst=spread)
            np.multiply(self._decay, v, out=spread)
            eaten -= spread
            eaten += cv2.filter2D(v, -1, DV * STENCIL, dst=spread)
            u += change
            v += eaten
            _join(u)
            _join(v)


def _rimmed(field: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.copyMakeBorder(field.astype(np.float32), 1, 1, 1, 1, cv2.BORDER_WRAP))


def _join(field: np.ndarray) -> None:
    """Copy each side's neighbours at the opposite side into its rim."""
    field[0], field[-1] = field[-2], field[1]
    field[:, 0], field[:, -1] = field[:, -2], field[:, 1]


def _tiling(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A smooth field in about [-1, 1] that joins at the sides: (height, width)."""
    y, x = np.mgrid[0:height, 0:width] * (2 * np.pi / np.array([height, width]))[:, None, None]
    waves = [(1, 0), (0, 1), (1, 1), (1, -1)]
    return np.asarray(sum(np.sin(a * x + b * y + rng.uniform(0, 2 * np.pi)) for a, b in waves) / 2)


def draw(look: Look, palette: Palette, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw one picture of (width, height): (H, W, 3) uint8."""
    reaction = Reaction(look, size, rng)
    reaction.advance(look.steps)
    return shown(reaction, look, palette, size)


def film(look: Look, palette: Palette, size: tuple[int, int], rng: np.random.Generator, frames: int, start: int) -> Iterator[np.ndarray]:
    """Yield the frames of a pattern's growth, from frame `start` on: (H, W, 3) uint8. Growth is fast at first, so are the frames dense."""
    reaction = Reaction(look, size, rng)
    at = 0
    for k in range(frames):
        target = round(look.steps * ((k + 1) / frames) ** 1.6)
        reaction.advance(target - at)
        at = target
        if k >= start:
            yield shown(reaction, look, palette, size)


def shown(reaction: Reaction, look: Look, palette: Palette, size: tuple[int, int]) -> np.ndarray:
    """The substances as a picture of (width, height): (H, W, 3) uint8."""
    v, u, region = (_enlarged(field, size) for field in (reaction.v, reaction.u, reaction.region))
    ground, inks = palette.ground.astype(np.float32), Palette(palette.name, palette.inks)
    place = (0.5 + 0.42 * region).clip(0, 1)
    ink = inks.along(place)
    core = ink + 0.6 * (ground - ink)  # a line with a light heart
    shade = (1 - u).clip(0, 1)[..., None] ** 2  # where the food is eaten up around what lives
    lab = ground + 0.22 * shade * (ink - ground)
    alive = above(v, EDGE)
    lab = lab + alive[..., None] * (ink - lab)
    cell = min(size) / min(reaction.v.shape)
    ridge = v - cv2.GaussianBlur(v, (0, 0), 4 * cell)
    lab = lab + (alive * ((ridge - RIDGE) / RIDGE).clip(0, 1))[..., None] * (core - lab)
    lab[..., 0] += look.relief * _gloss(v, cell, alive)
    return as_picture(lab)


def _gloss(v: np.ndarray, cell: float, alive: np.ndarray) -> np.ndarray:
    """Lightness that a lamp at the upper left adds to v as a relief, with a spot of its own where that faces it."""
    down, across = np.gradient(cv2.GaussianBlur(v, (0, 0), 0.6 * cell))
    tilt = -(across + 1.2 * down) * cell * 9
    return np.asarray(0.10 * np.tanh(tilt) + 0.16 * np.exp(-((tilt - 1.5) ** 2) * 9) * alive)


def _enlarged(field: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a grid whose sides are joined to (width, height) by cubic interpolation."""
    pad = 4
    scale = size[0] / field.shape[1], size[1] / field.shape[0]
    padded = cv2.copyMakeBorder(field, pad, pad, pad, pad, cv2.BORDER_WRAP)
    matrix = np.array([[scale[0], 0, (0.5 - pad) * scale[0] - 0.5], [0, scale[1], (0.5 - pad) * scale[1] - 0.5]])
    return np.asarray(cv2.warpAffine(padded, matrix, size, flags=cv2.INTER_CUBIC))


def reaction(run: Run, params: ReactionParams) -> Iterator[Batch]:
    """Yield the pictures, or the film, of `procedural.reaction`."""

    def draw_one(rng: np.random.Generator, chance: np.random.Generator, palette: Palette) -> tuple[np.ndarray, dict[str, Any]]:
        look = look_of(params, chance)
        return draw(look, palette, params.size, rng), {"pattern": look.pattern}

    return series(run, params, draw_one) if params.frames is None else _film(run, params, params.frames)


def _film(run: Run, params: ReactionParams, frames: int) -> Iterator[Batch]:
    palette, look = palettes(run, params)(0), look_of(params, stream(run, "look", 0))
    run.expect(frames, params.fps)
    for frame in film(look, palette, params.size, stream(run, "picture", 0), frames, run.start):
        yield Batch.from_array(frame[None], [{"seed": run.seed("picture", 0), "palette": palette.name, "pattern": look.pattern}])


def look_of(params: ReactionParams, chance: np.random.Generator) -> Look:
    """What the parameters say, and for the rest what chance does."""
    pattern = str(chance.choice(list(PATTERNS)))
    cells = min(256, max(96, min(params.size)))
    return Look(
        pattern=pattern if params.pattern == "any" else params.pattern,
        cells=cells if params.cells is None else params.cells,
        steps=params.steps,
        drift=params.drift,
        relief=params.relief,
    )
