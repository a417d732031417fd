"""Painterly strokes: Hertzmann 1998, "Painterly Rendering with Curved Brush Strokes of Multiple Sizes".

Layers are painted from the broadest brush to the finest, each over the one before and only where that is too far from the photograph:
the photograph is blurred to the brush's size, cut into cells of about that size, and where a cell's mean difference is above the threshold
a stroke begins at its worst pixel. It follows the normal of the gradient, in steps of the brush's radius, as long as it brings the canvas
nearer to the photograph, and is drawn as a cubic B-spline in one colour.

Unlike the paper, all strokes of a layer are traced at once (it paints a layer onto one canvas after tracing it too), their order is drawn
at random instead of kept in a buffer of depths, radii grow with the picture, gradients are averaged over the brush, so that
strokes do not tremble where there is little to follow, and paint has a body: bristles leave streaks, and a light
from the upper left shows them, after Hertzmann 2002, "Fast Paint Texture".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from genart import Batch, Images, Run

from ._manners import MANNERS
from .colour import to_bytes
from .series import repainted

if TYPE_CHECKING:
    from ._strokes import StrokesParams

#: Longer side, in pixels, at which brushes have the radii of the paper.
PAPER_SIDE = 512
#: Pixels of a stroke's mask along each of the picture's, and binary digits after the point in OpenCV's coordinates.
FINE, SHIFT = 4, 3
#: Radii over which the direction of strokes is averaged.
CALM = 1.5
#: Radius, in pixels, from which the bristles of a brush are seen.
BRISTLES = 2.5


@dataclass(frozen=True)
class Manner:
    """Parameters of a painting, by the paper's names in brackets.

    Attributes:
        brushes: radii in pixels at PAPER_SIDE, from the broadest (R).
        threshold: difference from the photograph that is repainted, 0 to 1 (T / 255).
        curvature: 1 follows the photograph, less keeps the stroke straight (fc).
        blur: of the photograph, in radii (fs).
        spacing: of the strokes, in radii (fg).
        shortest: strokes, in radii (minimum stroke length).
        longest: strokes, in radii (maximum stroke length); 0 for dabs.
        opacity: of the paint, 0 to 1 (a).
        jitter: random change of hue, saturation, value, red, green and blue (jh, js, jv, jr, jg, jb).
        relief: how strongly the paint's body shows, 0 to 1.
    """

    brushes: tuple[float, ...]
    threshold: float
    curvature: float
    blur: float
    spacing: float
    shortest: int
    longest: int
    opacity: float
    jitter: tuple[float, float, float, float, float, float]
    relief: float


class Hand(NamedTuple):
    """What is drawn at random for the stroke of each cell of a layer, whether it is painted or not.

    So a stroke that comes or goes, as from frame to frame of a film, changes no other.

    Attributes:
        turn: (N,), the place in the order of painting.
        change: (N, 6) in [-0.25, 0.25), of the colour.
        tones: (N, bristles) uint8, the grey of each bristle.
    """

    turn: np.ndarray
    change: np.ndarray
    tones: np.ndarray

    @classmethod
    def of(cls, cells: int, bristles: int, rng: np.random.Generator) -> Hand:
        """Draw for so many cells and bristles of a brush."""
        change = 0.5 * rng.random((cells, 6), np.float32) - 0.25
        return cls(rng.permutation(cells), change, rng.integers(40, 216, (cells, bristles), np.uint8))


def paint(picture: np.ndarray, manner: Manner, rng: np.random.Generator) -> np.ndarray:
    """Paint a photograph: (H, W, 3) uint8 to the same."""
    source = picture.astype(np.float32) / 255
    canvas = np.empty_like(source)
    canvas[:] = source.mean((0, 1)) * 0.9  # a toned ground
    body = np.zeros(source.shape[:2], np.float32)
    factor = max(picture.shape[:2]) / PAPER_SIDE
    for number, brush in enumerate(sorted(manner.brushes, reverse=True)):
        radius = max(0.7, brush * factor)
        reference = cv2.GaussianBlur(source, (0, 0), max(0.3, manner.blur * radius))
        brushwork = Brush(canvas, body, radius, manner.opacity)
        hand = Hand.of(math.prod(grid_of(source, radius, manner)), brushwork.bristles, rng)
        starts, cells = wanted(reference, None if number == 0 else canvas, radius, manner)
        if not len(starts):
            continue
        colours = _jittered(reference[starts[:, 1], starts[:, 0]], manner.jitter, hand.change[cells])
        lines, lengths = trace(reference, canvas, starts, radius, manner)
        for i in hand.turn[cells].argsort():
            brushwork.stroke(spline(lines[i, : lengths[i]]), colours[i], hand.tones[cells[i]])
    return to_bytes(canvas + manner.relief * _light(body)[..., None])


def grid_of(picture: np.ndarray, radius: float, manner: Manner) -> tuple[int, int]:
    """Rows and columns of the cells in which a brush of this radius looks for starts: by the picture's size alone."""
    cell = _cell(radius, manner)
    return -(-picture.shape[0] // cell), -(-picture.shape[1] // cell)


def _cell(radius: float, manner: Manner) -> int:
    """Pixels along the side of a cell."""
    return max(1, round(manner.spacing * radius))


def wanted(reference: np.ndarray, canvas: np.ndarray | None, radius: float, manner: Manner) -> tuple[np.ndarray, np.ndarray]:
    """Where strokes begin: the worst pixel of each cell whose mean difference is above the threshold; of a bare canvas, each cell's.

    Args:
        reference: (H, W, 3) in [0, 1], the blurred photograph.
        canvas: (H, W, 3) in [0, 1], or None for a bare one.
        radius: of the brush in pixels.
        manner: spacing and threshold.

    Returns:
        Places, (N, 2), x and y, and the numbers of their cells, (N,), row by row.
    """
    cell, (rows, columns) = _cell(radius, manner), grid_of(reference, radius, manner)
    height, width = reference.shape[:2]
    difference = np.ones((height, width), np.float32) if canvas is None else np.linalg.norm(canvas - reference, axis=2)
    padded = np.full((rows * cell, columns * cell), -1, np.float32)
    padded[:height, :width] = difference
    cells = padded.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows, columns, cell * cell)
    mean = np.where(cells < 0, 0, cells).sum(2) / (cells >= 0).sum(2)
    worst = cells.argmax(2) if canvas is not None else np.full((rows, columns), (cell // 2) * cell + cell // 2)
    j, i = np.nonzero((mean > manner.threshold) | (canvas is None))
    x, y = i * cell + worst[j, i] % cell, j * cell + worst[j, i] // cell
    return np.stack([x.clip(0, width - 1), y.clip(0, height - 1)], 1), j * columns + i


def trace(reference: np.ndarray, canvas: np.ndarray, starts: np.ndarray, radius: float, manner: Manner) -> tuple[np.ndarray, np.ndarray]:
    """Follow the normal of the gradient from each start, as the paper's makeSplineStroke does.

    Returns:
        Control points, (N, longest + 1, 2), and how many of them each stroke has, (N,).
    """
    height, width = reference.shape[:2]
    normals, steep = directions(reference, radius)
    colours = reference[starts[:, 1], starts[:, 0]]
    lines = np.zeros((len(starts), manner.longest + 1, 2), np.float32)
    lines[:, 0] = starts
    lengths = np.ones(len(starts), int)
    heading = np.zeros((len(starts), 2), np.float32)
    going = np.arange(len(starts))
    for k in range(manner.longest):
        x, y = np.rint(lines[going, k]).astype(int).T
        if k > manner.shortest:
            seen = reference[y, x]
            better = np.linalg.norm(seen - colours[going], axis=1) <= np.linalg.norm(seen - canvas[y, x], axis=1)
            going, x, y = going[better], x[better], y[better]
        last = heading[going]
        normal = np.where(steep[y, x][:, None], normals[y, x], last)  # where there is no gradient a stroke goes straight on, or ends
        normal = np.where(((normal * last).sum(1) < 0)[:, None], -normal, normal)
        curvature = manner.curvature if k else 1.0  # the first step has no heading to keep
        bent = curvature * normal + (1 - curvature) * last
        size = np.hypot(bent[:, 0], bent[:, 1])
        ahead = lines[going, k] + radius * bent / size.clip(1e-6)[:, None]
        keep = (size > 1e-6) & (ahead >= 0).all(1) & (ahead <= (width - 1, height - 1)).all(1)
        going = going[keep]
        heading[going] = (bent / size.clip(1e-6)[:, None])[keep]
        lines[going, k + 1] = ahead[keep]
        lengths[going] = k + 2
    return lines, lengths


def directions(reference: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Normals of the gradient averaged over about a brush, (H, W, 2) of length 1 and either sign, and where there is any gradient, (H, W).

    Averaged are the outer products of the gradients (the structure tensor), in which opposite ones do not cancel each other.
    """
    grey = reference @ np.array([0.30, 0.59, 0.11], np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, xy, yy = (cv2.GaussianBlur(product, (0, 0), CALM * radius) for product in (across * across, across * down, down * down))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], -1), xx + yy > 1e-8


def spline(points: np.ndarray) -> np.ndarray:
    """The cubic B-spline of control points, through the first and the last: (N, 2) to (M, 2); a single point stays one."""
    return np.asarray(_basis(len(points)) @ points) if len(points) > 2 else points


@functools.cache
def _basis(count: int) -> np.ndarray:
    """Weights of control points, of which the ends count three times, at three places of each piece: (M, count)."""
    t = np.arange(3)[:, None] / 3
    weights = np.concatenate([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    rows = []
    for piece in range(-2, count - 1):
        for weight in weights:
            row = np.zeros(count, np.float32)
            np.add.at(row, np.clip(np.arange(piece, piece + 4), 0, count - 1), weight)
            rows.append(row)
    return np.stack([*rows, np.eye(count, dtype=np.float32)[-1]])


def _jittered(colours: np.ndarray, jitter: tuple[float, ...], change: np.ndarray) -> np.ndarray:
    """Change colours, (N, 3) in [0, 1], by random numbers, (N, 6): first hue, saturation and value, then red, green and blue.

    The paper does not say how far a jitter of 1 goes: here by a quarter of the scale either way.
    """
    change = change * np.array(jitter, np.float32)
    hsv = cv2.cvtColor(np.ascontiguousarray(colours[None]), cv2.COLOR_RGB2HSV)[0]
    hsv = np.stack([(hsv[:, 0] + 360 * change[:, 0]) % 360, hsv[:, 1] * (1 + change[:, 1]), hsv[:, 2] * (1 + change[:, 2])], 1)
    hsv[:, 1:] = hsv[:, 1:].clip(0, 1)
    return np.asarray((cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] + change[:, 3:]).clip(0, 1))


class Brush:
    """Lays strokes of one brush onto a canvas, antialiased, one over the other.

    Args:
        canvas: (H, W, 3) float32, painted in place.
        body: (H, W) float32, the height of the paint, likewise.
        radius: in pixels.
        opacity: 0 to 1.

    Attributes:
        bristles: how many are seen.
    """

    def __init__(self, canvas: np.ndarray, body: np.ndarray, radius: float, opacity: float) -> None:
        self.canvas, self.body, self.radius, self.opacity = canvas, body, radius, opacity
        self.bristles = max(3, round(radius * 1.1)) if radius >= BRISTLES else 0
        self._places = np.linspace(-0.85, 0.85, self.bristles) * radius

    def stroke(self, line: np.ndarray, colour: np.ndarray, tones: np.ndarray) -> None:
        """Paint along a line of places, (N, 2), x and y, in a colour, (3,) in [0, 1], with bristles of these greys, 0 to 255."""
        height, width = self.body.shape
        reach = self.radius + 2
        left, top = (int(v) for v in np.floor(line.min(0) - reach).clip(0))
        right, bottom = (int(v) for v in np.minimum(np.ceil(line.max(0) + reach) + 1, (width, height)))
        size = ((bottom - top) * FINE, (right - left) * FINE)
        places = (line - (left, top) + 0.5) * FINE - 0.5
        mask = _drawn(places, size, 2 * self.radius * FINE)
        cover = (mask.astype(np.float32) * (self.opacity / 255))[..., None]
        here = (slice(top, bottom), slice(left, right))
        streaks = self._streaks(places, size, tones) if self.bristles and len(line) > 1 else None
        paint = colour if streaks is None else colour * (1 + 0.10 * streaks[..., None])
        self.canvas[here] += cover * (paint - self.canvas[here])
        thickness = self.radius * (1 if streaks is None else 1 + 0.7 * streaks)
        self.body[here] += cover[..., 0] * (thickness - self.body[here])

    def _streaks(self, places: np.ndarray, size: tuple[int, int], tones: np.ndarray) -> np.ndarray:
        """What the bristles leave, about -1 to 1, in pixels of the picture."""
        along = np.gradient(places, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(along[:, 0], along[:, 1]).clip(1e-6)[:, None]
        tone = np.full(size, 128, np.uint8)
        for offset, grey in zip(self._places, tones, strict=True):
            _line(tone, places + normal * offset * FINE, 1.2 * FINE, int(grey))
        return (_reduced(tone).astype(np.float32) - 128) / 88


def _drawn(places: np.ndarray, size: tuple[int, int], width: float) -> np.ndarray:
    """A mask of a line, or of a dot: (H, W) uint8 in pixels of the picture."""
    mask = np.zeros(size, np.uint8)
    _line(mask, places, width, 255)
    return _reduced(mask)


def _line(sheet: np.ndarray, places: np.ndarray, width: float, grey: int) -> None:
    fixed = np.rint(places * 2**SHIFT).astype(np.int32)
    if len(fixed) == 1:
        cv2.circle(sheet, fixed[0].tolist(), round(width / 2 * 2**SHIFT), grey, -1, cv2.LINE_8, SHIFT)
    else:
        cv2.polylines(sheet, [fixed], False, grey, max(1, round(width)), cv2.LINE_8, SHIFT)


def _reduced(sheet: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(sheet, (sheet.shape[1] // FINE, sheet.shape[0] // FINE), interpolation=cv2.INTER_AREA))


def _light(body: np.ndarray) -> np.ndarray:
    """What a light from the upper left adds to paint of this height, (H, W), within about ±0.15."""
    down, across = np.gradient(cv2.GaussianBlur(body, (0, 0), 0.7))
    return np.asarray(0.15 * np.tanh((across + 1.2 * down) * 0.28))


def strokes(run: Run, images: Images, params: StrokesParams) -> Iterator[Batch]:
    """Yield the pictures of `procedural.strokes`."""
    manner = manner_of(params)
    return repainted(run, images, lambda picture, rng: paint(picture, manner, rng))


def manner_of(params: StrokesParams) -> Manner:
    """One of the paper's manners with what the parameters say instead."""
    given = {
        "brushes": params.brushes,
        "threshold": params.threshold,
        "curvature": params.curvature,
        "longest": params.length,
        "opacity": params.opacity,
    }
    table = {**MANNERS[params.manner], **{name: value for name, value in given.items() if value is not None}}
    return Manner(**{**table, "shortest": min(table["shortest"], table["longest"]), "relief": params.relief})
