"""Flow fields: lines that follow a field of directions, as ribbons that keep clear of each other or as a veil of fine threads.

The fields are the curl of noise, which has no sources or sinks where lines would pile up (Bridson et al. 2007, "Curl-Noise for
Procedural Fluid Flow"); noise taken as an angle about one direction; and a few vortices. Ribbons are placed as evenly spaced streamlines
are (Jobard and Lefer 1997), but all candidates are traced at once, and one after another is cut where it meets what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from genart import Batch, Run

from .colour import Palette, as_picture
from .noise import Noise
from .series import series
from .sheet import Sheet, as_rgb

if TYPE_CHECKING:
    from ._flow import FlowParams

#: Cells of a traced field along a shorter side, and how far beyond the picture it reaches, in shorter sides.
CELLS, MARGIN = 192, 0.15
#: Pixels, along a shorter side, of the map that says which places are taken: the same whatever the picture's size.
MAP = 1024
#: Length of a step of a ribbon, and the longest of a thread, in shorter sides.
RIBBON_STEP, THREAD_STEP = 0.005, 0.004
#: Optical depth that a length of one pixel leaves in a pixel, times the picture's shorter side.
DEPTH = 1 / 800
#: Widths of ribbons, relative to the one asked for, and how often each is tried.
WIDTHS, SHARES = (0.25, 0.5, 1.0, 2.0), (0.25, 0.35, 0.28, 0.12)


@dataclass(frozen=True)
class Look:
    """What a picture of lines is like; all lengths in shorter sides of the picture.

    Attributes:
        field: "curl", "drift" or "vortex".
        lines: "ribbons" or "threads".
        scale: size of the field's features.
        width: of a usual ribbon.
        length: of the longest lines.
        density: 1 fills the picture, less leaves ground.
        taper: share of a line over which its ends run out to a point.
    """

    field: str
    lines: str
    scale: float
    width: float
    length: float
    density: float
    taper: float


class Field:
    """Directions on a grid that reaches a little beyond the picture: (H, W, 2) unit vectors."""

    def __init__(self, vectors: np.ndarray, size: tuple[float, float]) -> None:
        self.vectors = vectors.astype(np.float32).reshape(-1, 2)
        self.shape = vectors.shape[:2]
        self.size = size

    def at(self, places: np.ndarray) -> np.ndarray:
        """Directions at places, (N, 2) to (N, 2) of length 1: bilinear."""
        x = ((places[:, 0] + MARGIN) * CELLS - 0.5).clip(0, self.shape[1] - 1.001)
        y = ((places[:, 1] + MARGIN) * CELLS - 0.5).clip(0, self.shape[0] - 1.001)
        i, j = x.astype(np.int32), y.astype(np.int32)
        u, v = (x - i)[:, None], (y - j)[:, None]
        place = j * self.shape[1] + i
        vectors = self.vectors
        upper = vectors[place] * (1 - u) + vectors[place + 1] * u
        lower = vectors[place + self.shape[1]] * (1 - u) + vectors[place + self.shape[1] + 1] * u
        found = upper * (1 - v) + lower * v
        return np.asarray(found / np.hypot(found[:, 0], found[:, 1]).clip(1e-6)[:, None])

    def inside(self, places: np.ndarray) -> np.ndarray:
        """Which places the field knows."""
        return np.asarray((places > -MARGIN).all(-1) & (places < np.array(self.size) + MARGIN).all(-1))


def make_field(kind: str, scale: float, size: tuple[float, float], rng: np.random.Generator) -> Field:
    """Draw a field for a picture of this (width, height) in shorter sides."""
    noise = Noise(rng)
    cells = tuple(round((side + 2 * MARGIN) * CELLS) for side in size)
    x = ((np.arange(cells[0], dtype=np.float32) + 0.5) / CELLS - MARGIN)[None, :]
    y = ((np.arange(cells[1], dtype=np.float32) + 0.5) / CELLS - MARGIN)[:, None]
    if kind == "drift":
        heading, swing = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.6)
        angle = heading + swing * np.pi * 0.6 * noise(x / scale, y / scale)
        return Field(np.stack([np.cos(angle), np.sin(angle)], -1), size)
    potential = noise(x / scale, y / scale) * scale
    if kind == "vortex":
        for _ in range(rng.integers(2, 5)):
            cx, cy = rng.uniform(0.1, 0.9, 2) * size
            reach = rng.uniform(0.25, 0.6)
            potential = potential + rng.choice((-1, 1)) * 1.6 * reach * np.exp(-np.hypot(x - cx, y - cy) / reach)
    down, across = np.gradient(potential)
    return Field(np.stack([down, -across], -1) / np.hypot(down, across).clip(1e-9)[..., None], size)


def trace(field: Field, starts: np.ndarray, step: float, count: int) -> np.ndarray:
    """Follow the field from each start, by the midpoint method: (N, 2) to (N, count + 1, 2); negative steps go against it."""
    places = np.empty((len(starts), count + 1, 2), np.float32)
    places[:, 0] = starts
    for k in range(count):
        here = places[:, k]
        places[:, k + 1] = here + step * field.at(here + step / 2 * field.at(here))
    return places


def draw(look: Look, palette: Palette, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw one picture of (width, height): (H, W, 3) uint8."""
    extent = (size[0] / min(size), size[1] / min(size))
    field = make_field(look.field, look.scale, extent, rng)
    return (ribbons if look.lines == "ribbons" else threads)(look, field, palette, size, rng)


class Taken:
    """Which places are taken by lines already, as far as the field reaches: a line that ends beside the picture must not lie on another."""

    def __init__(self, extent: tuple[float, float]) -> None:
        width, height = (round((side + 2 * MARGIN) * MAP) for side in extent)
        self.map = np.zeros((height, width), np.uint8)

    def free(self, line: np.ndarray, half_width: float) -> np.ndarray:
        """Which points of a line of this half width are free, (N, 2) to (N,): its middle and both edges."""
        along = np.gradient(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) * (half_width / np.hypot(along[:, 0], along[:, 1]).clip(1e-9))[:, None]
        tracks = np.stack([line - normal, line - normal / 2, line, line + normal / 2, line + normal])
        places = np.floor((tracks + MARGIN) * MAP).astype(np.int32)
        x, y = places[..., 0], places[..., 1]
        height, width = self.map.shape
        return np.asarray((self.map[y.clip(0, height - 1), x.clip(0, width - 1)] == 0).all(0))

    def take(self, line: np.ndarray, width: float) -> None:
        """Mark a line of this width."""
        cv2.polylines(self.map, [np.rint((line + MARGIN) * MAP).astype(np.int32)], False, 1, max(1, round(width * MAP)))


def ribbons(look: Look, field: Field, palette: Palette, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lines that keep clear of each other, broad ones first."""
    extent = np.array(field.size)
    sheet, taken = Sheet(size, palette.ground), Taken(field.size)
    # enough candidates, for a density of 1, that hardly one more would find room
    count = round(look.density * min(9000, 200 + 6.4 * extent.prod() / (look.width * min(0.35, look.length))))
    starts = rng.uniform(-0.05, 1.05, (count, 2)) * extent
    steps = max(4, int(look.length / RIBBON_STEP / 2))
    forward, back = trace(field, starts, RIBBON_STEP, steps), trace(field, starts, -RIBBON_STEP, steps)
    lines = np.concatenate([back[:, :0:-1], forward], 1)
    widths = look.width * np.array(WIDTHS)[np.sort(rng.choice(len(WIDTHS), count, p=SHARES))[::-1]]
    reach = np.rint(rng.uniform(0.35, 1, count) * steps).astype(int)
    colours = _colours(palette, field, starts, rng)
    gap = 0.0022 + 0.12 * look.width
    for i in range(count):
        line = _cut(lines[i, steps - reach[i] : steps + reach[i] + 1], reach[i], taken, widths[i] / 2 + gap / 2, field)
        if len(line) * RIBBON_STEP < max(3 * widths[i], 0.03):
            continue
        taken.take(line, widths[i] + gap)
        sheet.ribbon(line, widths[i] / 2 * _profile(len(line), look.taper), as_rgb(colours[i]))
    return sheet.finish()


def _cut(line: np.ndarray, middle: int, taken: Taken, half_width: float, field: Field) -> np.ndarray:
    """The piece of a line around its middle that is free and within the field; nothing if the middle is not."""
    free = taken.free(line, half_width) & field.inside(line)
    if not free[middle]:
        return line[:0]
    stops = np.flatnonzero(~free)
    at = int(np.searchsorted(stops, middle))
    first = int(stops[at - 1]) + 1 if at else 0
    last = int(stops[at]) if at < len(stops) else len(line)
    return line[first:last]


def _profile(count: int, taper: float) -> np.ndarray:
    """Half widths along a line, relative to its middle: both ends run out over this share of it."""
    from_end = np.minimum(np.arange(count), np.arange(count)[::-1]) / max(1, count - 1)
    rise = (from_end / max(taper / 2, 1e-6)).clip(0, 1)
    return np.asarray(np.sin(rise * np.pi / 2) ** 0.8).clip(0.04 if taper else 1)


def _colours(palette: Palette, field: Field, starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour for each line, (N, 3) OKLab: neighbours mostly share one, some stand out, and none is quite like the next."""
    inks = palette.inks
    region = Noise(rng)(starts[:, 0] * 1.6, starts[:, 1] * 1.6)
    rank = np.argsort(np.argsort(region)) / len(region)
    order, share = rng.permutation(len(inks)), rng.dirichlet(np.full(len(inks), 2.5))
    chosen = order[np.searchsorted(np.cumsum(share)[:-1], rank)]
    stray = rng.uniform(size=len(starts)) < 0.16
    chosen[stray] = rng.integers(0, len(inks), int(stray.sum()))
    return np.asarray(inks[chosen] + rng.normal(0, 1, (len(starts), 3)) * (0.014, 0.004, 0.004))


def threads(look: Look, field: Field, palette: Palette, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A veil of fine translucent lines; each leaves its weight where it passes, spread over four pixels."""
    width, height = size
    short, inks = min(size), palette.inks
    count = int(9000 * look.density * field.size[0] * field.size[1])
    clumps = Noise(rng, 3)
    starts = rng.uniform(-0.08, 1.08, (4 * count, 2)) * field.size
    # lines begin in clumps: an even veil would be a grey sheet
    weight = np.exp(2.6 * clumps(starts[:, 0] * 2.2, starts[:, 1] * 2.2))
    starts = starts[rng.choice(len(starts), count, replace=False, p=weight / weight.sum())]
    owner = _ink_of(inks, starts, rng)
    step = min(THREAD_STEP, 0.8 / short)  # never more than a pixel
    steps = max(8, int(look.length / step))
    lengths = rng.uniform(0.25, 1, count) * steps
    density = np.zeros((len(inks), height * width + 1), np.float32)
    here = starts.astype(np.float32)
    for k in range(steps):
        alive = k < lengths
        here, owner, lengths = here[alive], owner[alive], lengths[alive]
        fade = np.sin(np.pi * ((k + 0.5) / lengths).clip(0, 1)) ** 0.6
        _splat(density, here * short - 0.5, owner, fade * (step * short), size)
        here = (here + step * field.at(here + step / 2 * field.at(here))).astype(np.float32)
    layers = density[:, :-1].reshape(len(inks), height, width)
    return _veil(layers, palette, short)


def _ink_of(inks: np.ndarray, starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which ink each thread has: bands of a broad noise, with soft edges."""
    place = Noise(rng)(starts[:, 0] * 1.1, starts[:, 1] * 1.1) + rng.normal(0, 0.14, len(starts))
    return np.asarray((np.argsort(np.argsort(place)) * len(inks) // len(place)).astype(np.int64))


def _splat(density: np.ndarray, places: np.ndarray, owner: np.ndarray, weight: np.ndarray, size: tuple[int, int]) -> None:
    """Add weights to the four pixels around each place, in the layer of its ink; what falls beside the picture goes to a last cell."""
    width, height = size
    corner = np.floor(places).astype(np.int32)
    u, v = (places - corner).T
    cells = density.shape[1]
    flat = []
    for dx, dy, share in ((0, 0, (1 - u) * (1 - v)), (1, 0, u * (1 - v)), (0, 1, (1 - u) * v), (1, 1, u * v)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        flat.append((np.where(inside, y * width + x, cells - 1) + owner * cells, share * weight))
    index, value = (np.concatenate(parts) for parts in zip(*flat, strict=True))
    np.add.at(density.reshape(-1), index, value.astype(np.float32))


def _veil(layers: np.ndarray, palette: Palette, short: int) -> np.ndarray:
    """Lay inks over the ground: (K, H, W) weights to (H, W, 3) uint8."""
    total = layers.sum(0)
    cover = 1 - np.exp(-total * short * DEPTH)  # a line is one pixel broad, and the heavier the more pixels there are
    strong = layers**2  # the ink that has most of a pixel has nearly all of it: an even mixture of many is mud
    mixed = np.tensordot(strong, palette.inks, (0, 0)) / strong.sum(0).clip(1e-12)[..., None]
    return as_picture(palette.ground + cover[..., None] * (mixed - palette.ground))


def flow(run: Run, params: FlowParams) -> Iterator[Batch]:
    """Yield the pictures of `procedural.flow`."""

    def draw_one(rng: np.random.Generator, chance: np.random.Generator, palette: Palette) -> tuple[np.ndarray, dict[str, Any]]:
        look = look_of(params, chance)
        return draw(look, palette, params.size, rng), {"lines": look.lines, "field": look.field}

    return series(run, params, draw_one)


def look_of(params: FlowParams, chance: np.random.Generator) -> Look:
    """What the parameters say, and for the rest what chance does; it is asked everything, so that no answer depends on what is given."""
    lines, field = chance.choice(("ribbons", "threads"), p=(0.65, 0.35)), chance.choice(("curl", "drift", "vortex"))
    scale = np.exp(chance.uniform(np.log(0.45), np.log(1.1)))
    width = np.exp(chance.uniform(np.log(0.007), np.log(0.03)))
    length, taper = chance.uniform(0.4, 1.5), chance.choice((0.0, 0.35, 1.0))
    return Look(
        field=str(field) if params.field == "any" else params.field,
        lines=str(lines) if params.lines == "any" else params.lines,
        scale=float(scale) if params.scale is None else params.scale,
        width=float(width) if params.width is None else params.width,
        length=float(length) if params.length is None else params.length,
        density=params.density,
        taper=float(taper) if params.taper is None else params.taper,
    )
