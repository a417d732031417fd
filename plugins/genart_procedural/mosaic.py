"""Mosaics: pictures of Voronoi cells or Delaunay triangles, coloured by a photograph or by a palette.

Points settle by Lloyd's relaxation (1982), each moving to the weighted middle of its cell, so that cells are small where the weight is
high (Secord 2002, "Weighted Voronoi Stippling").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.spatial import Delaunay, cKDTree

from genart import Batch, Images, Run

from .colour import Palette, from_linear, from_oklab, to_bytes, to_linear, to_oklab
from .noise import Noise
from .series import repainted, series
from .sheet import Sheet, as_rgb

if TYPE_CHECKING:
    from ._mosaic import CellsParams, MosaicParams

#: Rounds of Lloyd's relaxation: more are not seen.
ROUNDS = 12
#: Places of the raster that cells are weighed on, for each point.
RASTER = 24
#: Neighbours that an edge of a cell may be shared with, and pixels that are looked at at once.
NEIGHBOURS, CHUNK = 7, 1 << 18
#: The golden angle, of sunflowers.
GOLDEN = np.pi * (3 - np.sqrt(5))


@dataclass(frozen=True)
class Look:
    """What a mosaic is like.

    Attributes:
        shape: "voronoi", "pebbles" (rounded cells with gaps) or "delaunay".
        points: how many.
        gap: between the pieces, as a share of a usual piece's side.
        shade: how far each piece is lit from the upper left, 0 to 1.
    """

    shape: str
    points: int
    gap: float
    shade: float


def settle(points: np.ndarray, weight: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Move points to the weighted middles of their cells, again and again.

    Args:
        points: (N, 2), x and y in units of the shorter side.
        weight: (H, W) above 0, over the whole picture.
        rounds: how often.

    Returns:
        (N, 2).
    """
    height, width = weight.shape
    short = min(height, width)
    y, x = (np.mgrid[0:height, 0:width].reshape(2, -1) + 0.5) / short
    mass = weight.reshape(-1)
    places = np.stack([x, y], 1)
    for _ in range(rounds):
        owner = cKDTree(points).query(places)[1]
        total = np.bincount(owner, mass, len(points))
        moved = np.stack([np.bincount(owner, mass * axis, len(points)) for axis in (x, y)], 1) / total.clip(1e-12)[:, None]
        points = np.where(total[:, None] > 0, moved, points)
    return points


def raster(size: tuple[int, int], points: int) -> tuple[int, int]:
    """(width, height) of a raster with so many places for each point, of a picture's proportions; never finer than the picture."""
    factor = min(1.0, np.sqrt(RASTER * points / (size[0] * size[1])))
    return max(2, round(size[0] * factor)), max(2, round(size[1] * factor))


def dense(density: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw points of this density, (H, W) above 0, as even as it allows: (N, 2) in units of the shorter side.

    In two dimensions relaxed points lie as densely as the square root of their weight (Gersho 1979), hence the square.
    """
    flat = rng.choice(density.size, count, p=(density / density.sum()).reshape(-1))
    return _settled(flat, rng.uniform(size=(count, 2)), density)


def steady(density: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """As `dense`, but with random numbers that belong to places of the raster: where a density stays the same, so do most points.

    Points are drawn without replacement, as far as there are places (Efraimidis and Spirakis 2006, "Weighted random sampling with a
    reservoir").
    """
    if count >= density.size:
        return dense(density, count, rng)
    arrival = rng.exponential(size=density.size) / density.reshape(-1)
    flat = np.sort(np.argpartition(arrival, count)[:count])
    return _settled(flat, rng.uniform(size=(density.size, 2))[flat], density)


def _settled(flat: np.ndarray, jitter: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Relax points that begin in these places of the raster, (N,), and there at (N, 2) in [0, 1)."""
    height, width = density.shape
    places = np.stack([flat % width, flat // width], 1) + jitter
    return settle(places / min(height, width), density**2)


# of a photograph


def detail_of(picture: np.ndarray, detail: float, size: tuple[int, int]) -> np.ndarray:
    """How densely points should lie at each place, (H, W) of `size`: evenly for a detail of 0, up to eighty times as densely for 1."""
    lightness = to_oklab(picture / 255)[..., 0].astype(np.float32)
    spread = max(1.0, min(lightness.shape) / 170)
    fine = cv2.GaussianBlur(lightness, (0, 0), spread / 2)
    edges = cv2.GaussianBlur(np.hypot(*np.gradient(fine)), (0, 0), spread)
    seen = cv2.resize(edges, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    seen = (seen / max(np.percentile(seen, 97), 1e-6)).clip(0, 1)
    return np.asarray((seen + 0.025) ** (1.2 * detail))


def of_photograph(picture: np.ndarray, look: Look, ground: np.ndarray, detail: float, rng: np.random.Generator) -> np.ndarray:
    """A photograph as a mosaic: (H, W, 3) uint8 to the same; every piece has the mean of what it covers, in linear light."""
    height, width = picture.shape[:2]
    points = steady(detail_of(picture, detail, raster((width, height), look.points)), look.points, rng)
    light = to_linear(picture / 255.0)
    if look.shape == "delaunay":
        points, triangles = meshed(points, (width, height))
        return _triangles(points, triangles, _means(light, _labelled(points, triangles, (width, height))), look, ground, (width, height))
    owner = _owners(points, (width, height))
    return _cells(points, to_oklab(from_linear(_mean_of(light, owner, len(points)))), look, ground, (width, height))


def _owners(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest point of each pixel, (H, W)."""
    places = (np.mgrid[0 : size[1], 0 : size[0]].reshape(2, -1)[::-1].T + 0.5) / min(size)
    return np.asarray(cKDTree(points).query(places)[1].reshape(size[1], size[0]))


def _mean_of(light: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Mean of what each piece covers, (N, 3); one that covers no pixel has the mean of all."""
    flat = owner.reshape(-1)
    sizes = np.bincount(flat, minlength=count)
    sums = np.stack([np.bincount(flat, light[..., c].reshape(-1), count) for c in range(3)], 1)
    return np.asarray(np.where(sizes[:, None] > 0, sums / sizes.clip(1)[:, None], light.mean((0, 1))))


def _means(light: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Colours of triangles, OKLab, from a map of their numbers and the picture in linear light; a sliver takes its middle's."""
    return to_oklab(from_linear(_mean_of(light, labels, int(labels.max()) + 1)))


def _labelled(points: np.ndarray, triangles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which triangle covers each pixel, (H, W); each holds at least the pixel at its middle."""
    labels = np.zeros((size[1], size[0]), np.int32)
    scaled = points * min(size)
    for number, corners in enumerate(np.rint(scaled[triangles] * 16 - 8).astype(np.int32)):
        cv2.fillConvexPoly(labels, corners, number, cv2.LINE_8, 4)
    middles = np.floor(scaled[triangles].mean(1)).astype(int).clip(0, (size[0] - 1, size[1] - 1))
    labels[middles[:, 1], middles[:, 0]] = np.arange(len(triangles))
    return labels


# of nothing


def arranged(kind: str, count: int, extent: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Points that make a picture of their own: "scatter" (of uneven density), "spiral" or "rings"; (N, 2) in shorter sides."""
    if kind == "scatter":
        size = raster((round(extent[0] * 512), round(extent[1] * 512)), count)
        y, x = np.mgrid[0 : size[1], 0 : size[0]] / min(size)
        return dense(np.exp(0.9 * Noise(rng)(x * 1.5, y * 1.5)).astype(np.float64), count, rng)
    centre = np.array(extent) * rng.uniform(0.3, 0.7, 2)
    reach = np.hypot(*np.maximum(centre, extent - centre)) + 0.05
    total = round(count * np.pi * reach**2 / (extent[0] * extent[1]))
    k = np.arange(total) + 0.5
    if kind == "spiral":
        radius, angle = reach * (k / total) ** rng.choice((0.5, 0.62, 0.75)), k * GOLDEN
    else:
        rings = max(3, round(np.sqrt(total / np.pi)))
        ring = np.floor(rings * np.sqrt(k / total))
        radius = reach * (ring + 0.5) / rings
        angle = k / (2 * ring + 1) * 2 * np.pi * rings**2 / total + ring * rng.uniform(0, 2 * np.pi)
    points = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.asarray(points[((points > -0.1) & (points < np.array(extent) + 0.1)).all(1)])


def of_palette(look: Look, arrangement: str, palette: Palette, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A mosaic of (width, height) from nothing but a palette: (H, W, 3) uint8."""
    extent = (size[0] / min(size), size[1] / min(size))
    points = arranged(arrangement, look.points, extent, rng)
    if look.shape == "delaunay":
        points, triangles = meshed(points, size)
        return _triangles(points, triangles, coloured(points[triangles].mean(1), palette, extent, rng), look, palette.ground, size)
    return _cells(points, coloured(points, palette, extent, rng), look, palette.ground, size)


def coloured(places: np.ndarray, palette: Palette, extent: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """A colour for each piece, (N, 3) OKLab: the inks run over the picture, a few pieces stand out, none is quite like the next."""
    inks = Palette(palette.name, palette.inks)
    noise, angle = Noise(rng, 2), rng.uniform(0, 2 * np.pi)
    middle = places - np.array(extent) / 2
    slope = middle @ (np.cos(angle), np.sin(angle)) if rng.uniform() < 0.6 else 0.7 - 1.6 * np.hypot(middle[:, 0], middle[:, 1])
    height = 0.9 * slope + 0.55 * noise(places[:, 0] * 1.4, places[:, 1] * 1.4) + rng.normal(0, 0.07, len(places))
    rank = np.argsort(np.argsort(height)) / max(1, len(height) - 1)
    stray = rng.uniform(size=len(places)) < 0.05
    rank = np.where(stray, rng.uniform(size=len(places)), rank)
    return np.asarray(inks.along(rank) + rng.normal(0, 1, (len(places), 3)) * (0.022, 0.004, 0.004))


# drawing


def meshed(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Add points along the border, and join all to triangles: places (N, 2) and their numbers (T, 3)."""
    extent = np.array(size) / min(size)
    spacing = np.sqrt(extent.prod() / len(points))
    sides = [np.linspace(0, side, max(2, round(side / (1.2 * spacing)) + 1)) for side in extent]
    top = np.stack([sides[0], np.zeros_like(sides[0])], 1)
    left = np.stack([np.zeros_like(sides[1]), sides[1]], 1)[1:-1]
    border = np.concatenate([top, top + np.array([0, extent[1]]), left, left + np.array([extent[0], 0])])
    inner = points[((points > 0.25 * spacing) & (points < extent - 0.25 * spacing)).all(1)]
    everything = np.concatenate([inner, border])
    return everything, np.asarray(Delaunay(everything).simplices)


def _triangles(
    points: np.ndarray, triangles: np.ndarray, colours: np.ndarray, look: Look, ground: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    sheet = Sheet(size, ground)
    corners = points[triangles]
    sides = np.linalg.norm(np.roll(corners, -1, 1) - np.roll(corners, 1, 1), axis=2)  # opposite each corner
    around = sides.sum(1)
    incentre = (corners * sides[..., None]).sum(1) / around[:, None]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    inradius = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / around
    gap = look.gap * np.sqrt(size[0] * size[1] / min(size) ** 2 / len(triangles))
    shrink = ((inradius - gap / 2) / inradius.clip(1e-9)).clip(0, 1)
    corners = incentre[:, None] + (corners - incentre[:, None]) * shrink[:, None, None]
    # a facet's slope: as if its corners stood at random heights
    tilt = np.sin(incentre @ (97.0, 57.0)) if look.shade else 0.0
    lit = colours + look.shade * 0.05 * np.stack([tilt + np.zeros(len(colours)), np.zeros(len(colours)), np.zeros(len(colours))], 1)
    for i in np.flatnonzero(shrink > 0):
        sheet.polygon(corners[i], as_rgb(lit[i]))
    return sheet.finish()


def _cells(points: np.ndarray, colours: np.ndarray, look: Look, ground: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw Voronoi cells: each pixel by its distance to the edges of its cell, so that they are antialiased without supersampling."""
    width, height = size
    out = np.empty((height * width, 3), np.uint8)
    cells = Cells(points, colours, look, to_linear(from_oklab(ground)), min(size))
    for at in range(0, len(out), CHUNK):
        pixel = np.arange(at, min(at + CHUNK, len(out)))
        places = (np.stack([pixel % width, pixel // width], 1) + 0.5) / min(size)
        out[pixel] = to_bytes(from_linear(cells.light(places)))
    return out.reshape(height, width, 3)


class Cells:
    """Voronoi cells and what they look like.

    Args:
        points: (N, 2) in units of the shorter side, N at least 2.
        colours: (N, 3) OKLab.
        look: shape, gap and shade.
        ground: (3,) in linear light, between the cells.
        short: pixels of the shorter side.
    """

    def __init__(self, points: np.ndarray, colours: np.ndarray, look: Look, ground: np.ndarray, short: int) -> None:
        self.points, self.colours, self.look, self.ground, self.short = points, colours, look, ground, short
        self.tree, self.count = cKDTree(points), min(NEIGHBOURS, len(points))
        #: about the side of each cell
        self.sides = self.tree.query(points, self.count)[0][:, 1:].mean(1)

    def light(self, places: np.ndarray) -> np.ndarray:
        """Linear light at places, (N, 2) to (N, 3)."""
        distances, owners = self.tree.query(places, self.count)
        own, look = owners[:, 0], self.look
        side = self.sides[own]
        apart = np.linalg.norm(self.points[owners[:, 1:]] - self.points[own][:, None], axis=2).clip(1e-9)
        edges = (distances[:, 1:] ** 2 - distances[:, :1] ** 2) / (2 * apart)  # to the bisector with each neighbour
        tilt = ((places - self.points[own]) @ (-0.55, -0.83) / side).clip(-1, 1)
        light = _lit(self.colours[own], look.shade * 0.09 * tilt)
        if look.gap == 0:
            other = _lit(self.colours[owners[:, 1]], 0 * tilt)
            return np.asarray(other + (0.5 + edges[:, :1] * self.short).clip(0, 1) * (light - other))
        edge = edges.min(1)
        if look.shape == "pebbles":
            soft = 0.09 * side  # the smooth minimum of the distances rounds the corners off
            edge = -soft * np.log(np.exp(-edges / soft[:, None]).sum(1).clip(1e-12)) + 0.2 * soft
        cover = ((edge - look.gap * side / 2) * self.short + 0.5).clip(0, 1)[:, None]
        return np.asarray(self.ground + cover * (light - self.ground))


def _lit(colours: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """OKLab with some lightness added, as linear light: (N, 3) and (N,) to (N, 3)."""
    lab = colours.copy()
    lab[:, 0] += lightness
    return to_linear(from_oklab(lab))


# the stages


def mosaics(run: Run, images: Images, params: MosaicParams) -> Iterator[Batch]:
    """Yield the pictures of `procedural.mosaic`."""
    look, ground = Look(params.shape, params.points, params.gap, params.shade), Palette.of((params.background,)).ground
    return repainted(run, images, lambda picture, rng: of_photograph(picture, look, ground, params.detail, rng))


def cells(run: Run, params: CellsParams) -> Iterator[Batch]:
    """Yield the pictures of `procedural.cells`."""

    def draw_one(rng: np.random.Generator, chance: np.random.Generator, palette: Palette) -> tuple[np.ndarray, dict[str, Any]]:
        look, arrangement = look_of(params, chance)
        return of_palette(look, arrangement, palette, params.size, rng), {"shape": look.shape, "arrangement": arrangement}

    return series(run, params, draw_one)


def look_of(params: CellsParams, chance: np.random.Generator) -> tuple[Look, str]:
    """What the parameters say, and for the rest what chance does, and how the points lie."""
    shape, arrangement = str(chance.choice(("voronoi", "pebbles", "delaunay"))), str(chance.choice(("scatter", "spiral", "rings")))
    points, gap = round(np.exp(chance.uniform(np.log(120), np.log(1000)))), chance.uniform(0.05, 0.14)
    shape = shape if params.shape == "any" else params.shape
    gap = 0.0 if shape == "delaunay" else float(gap)
    look = Look(
        shape,
        points if params.points is None else params.points,
        gap if params.gap is None else params.gap,
        params.shade,
    )
    return look, arrangement if params.arrangement == "any" else params.arrangement
