"""255 colours for a film: a histogram of its frames, a palette fitted to it, and a table from colour and place to palette index.

Dithering is ordered: a pixel's index depends on its colour and its place alone. So what stands still in the film stands
still in the GIF, where it costs nothing, and a frame is one look-up. The mixing is Knoll's pattern dithering (US patent
6606166, lapsed), with an error memory that leaks: unlike the full dither it leaves colours that the palette has nearly
got alone, which is worth 1 to 2 dB and a tenth of the size (bench/gif.py).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

#: A GIF has 256 colours; one is kept for "unchanged" unless the film needs all of them.
COLOURS = 256
TRANSPARENT = COLOURS - 1
#: Bits per channel by which colours are told apart: 6 costs 48 dB of PSNR, 5 costs 41 dB.
FINE, COARSE = 6, 5
#: Above so many fine cells in use the palette itself is worse than 35 dB, and the coarse table is made in a quarter of the time.
MANY_CELLS = 40_000
#: Thresholds of Bayer's matrix of order 4, and their number.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.uint32)
LEVELS = BAYER.size
#: Share of the error that is carried to a pattern's next pixel (0 is no dither, 1 Knoll's) in films that are all texture,
#: which hides the steps between colours, and in those that are all gradients, where steps are what one sees.
TEXTURED, SMOOTH = 0.35, 0.85
#: Neighbours that differ by no more in any channel belong to a gradient.
GRADIENT = 3
#: Palette colours, nearest first, that a pattern may mix.
NEIGHBOURS = 8
KMEANS_STEPS = 10
BLOCK = 4096


def packed(frame: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> (...) uint32, 0xBBGGRR."""
    frame = np.ascontiguousarray(frame)
    colours = np.empty(frame.size // 3, np.uint32)
    # Four bytes are read at every third, and the fourth dropped: 7 times as fast as putting three channels together.
    colours[:-1] = np.ndarray((colours.size - 1,), "<u4", frame, 0, (3,))
    colours[-1] = int.from_bytes(frame.reshape(-1, 3)[-1].tobytes(), "little")
    colours &= 0xFFFFFF
    return colours.reshape(frame.shape[:-1])


def unpacked(colours: np.ndarray) -> np.ndarray:
    """(M,) uint32 as of `packed` -> (M, 3) uint8."""
    return np.stack([colours & 255, colours >> 8 & 255, colours >> 16 & 255], 1).astype(np.uint8)


def cells(colours: np.ndarray, bits: int) -> np.ndarray:
    """Colours as of `packed` -> their cell at `bits` per channel, times LEVELS (room for a threshold)."""
    mask = 255 >> (8 - bits) << (8 - bits)
    place = (colours & mask) << (bits - 4)
    place |= (colours & mask << 8) >> (12 - 2 * bits)
    place |= (colours & mask << 16) >> (20 - 3 * bits)
    return place


def centres(place: np.ndarray, bits: int) -> np.ndarray:
    """Cells (M,) as of `cells`, divided by LEVELS -> their mean colour, (M, 3) float32."""
    side = 1 << (8 - bits)
    mask = (1 << bits) - 1
    channels = np.stack([place & mask, place >> bits & mask, place >> 2 * bits & mask], 1)
    return channels.astype(np.float32) * side + (side - 1) / 2


class Histogram:
    """Colours of a film: each of them while they are few, and how often each cell occurs.

    Args:
        limit: colours of a palette at most.
    """

    def __init__(self, limit: int = COLOURS) -> None:
        self.limit = limit
        self.exact: set[int] | None = set()
        self.counts = np.zeros(1 << 3 * FINE, np.int64)
        self._smooth: list[float] = []

    def add_texture(self, rows: np.ndarray) -> None:
        """Look how smooth some rows are, (N, W, 3) uint8."""
        steps = np.abs(np.diff(rows.astype(np.int16), axis=1)).max(axis=2)
        self._smooth.append(float((steps <= GRADIENT).mean()) if steps.size else 1.0)

    @property
    def strength(self) -> float:
        """How much a `Dither` of these pictures should mix."""
        return TEXTURED + (SMOOTH - TEXTURED) * float(np.mean(self._smooth))

    def add(self, frames: np.ndarray) -> None:
        """Count the pixels of (..., 3) uint8."""
        self.counts += np.bincount((cells(packed(frames), FINE) // LEVELS).ravel(), minlength=self.counts.size)

    def look(self, frames: np.ndarray) -> bool:
        """Look for new colours in (..., 3) uint8; False once there are too many to show each."""
        if self.exact is not None:
            self.exact.update(np.unique(packed(frames)).tolist())
            if len(self.exact) > self.limit:
                self.exact = None
        return self.exact is not None

    @property
    def bits(self) -> int:
        """How finely a `Dither` of these colours must tell them apart."""
        return FINE if np.count_nonzero(self.counts) <= MANY_CELLS else COARSE

    def palette(self, keep: tuple[tuple[int, int, int], ...] = ()) -> np.ndarray:
        """The colours of the film if they are few, else the 255 (or `limit` less one) that fit it best: (K, 3) uint8, dark to light.

        Args:
            keep: colours that must be among them, such as those of a caption.
        """
        if self.exact is not None:
            return _by_luminance(unpacked(np.array(sorted(self.exact), np.uint32)))
        used = np.flatnonzero(self.counts)
        colours, weights = centres(used, FINE), self.counts[used].astype(np.float64)
        if len(used) > MANY_CELLS:
            coarse, owner = np.unique(cells(packed(colours.astype(np.uint8)), COARSE), return_inverse=True)
            weights, colours = np.bincount(owner, weights), centres(coarse // LEVELS, COARSE)
        fitted = kmeans(colours, weights, split(colours, weights, max(1, self.limit - 1 - len(keep))))
        return _by_luminance(np.unique(np.concatenate([np.rint(fitted), np.array(keep).reshape(-1, 3)]).astype(np.uint8), axis=0))


def _by_luminance(palette: np.ndarray) -> np.ndarray:
    return palette[np.argsort(palette @ np.array([0.299, 0.587, 0.114]), kind="stable")]


def split(colours: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Cut the box with the greatest squared error at the mean of its widest channel until there are `count` boxes.

    Args:
        colours: (M, 3).
        weights: (M,), above 0.
        count: how many boxes at most.

    Returns:
        The mean colour of each box, (at most count, 3).
    """
    boxes = [_box(colours, weights)]
    while len(boxes) < count:
        worst = max(range(len(boxes)), key=lambda i: boxes[i].error)
        box = boxes[worst]
        if box.error <= 0:
            break
        low = box.colours[:, box.axis] <= box.mean[box.axis]
        boxes[worst] = _box(box.colours[low], box.weights[low])
        boxes.append(_box(box.colours[~low], box.weights[~low]))
    return np.stack([box.mean for box in boxes])


class _Box(NamedTuple):
    """Some colours, their weighted mean, and the channel with the greatest squared error."""

    colours: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    axis: int
    error: float


def _box(colours: np.ndarray, weights: np.ndarray) -> _Box:
    if len(colours) == 1:  # rounding must not make one colour look divisible
        return _Box(colours, weights, colours[0], 0, 0.0)
    mean = weights @ colours / weights.sum()
    errors = weights @ (colours - mean) ** 2
    axis = int(errors.argmax())
    return _Box(colours, weights, mean, axis, float(errors[axis]))


def kmeans(colours: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Lloyd's algorithm on weighted colours (M, 3); a mean that lost all its colours stays where it was."""
    for _ in range(KMEANS_STEPS):
        owner = np.concatenate([np.argmin(distances(block, means), 1) for block in blocks(colours)])
        mass = np.bincount(owner, weights, len(means))
        sums = np.stack([np.bincount(owner, weights * colours[:, channel], len(means)) for channel in range(3)], 1)
        means = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1)[:, None], means)
    return means


def distances(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Half the squared distance of each of (M, 3) to each of (K, 3), less a term that is the colour's own: (M, K) float32."""
    palette = palette.astype(np.float32)
    return (palette**2).sum(1) / 2 - colours.astype(np.float32) @ palette.T


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Cut (M, ...) into parts whose tables fit the processor's cache."""
    return np.array_split(rows, max(1, -(-len(rows) // BLOCK)))


class Painter(Protocol):
    """Maps frames, (H, W, 3) uint8, to indices, (H, W) uint8, of a palette."""

    #: (K, 3) uint8
    colours: np.ndarray

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8 indices."""


class Diffusion:
    """Error diffusion (Floyd and Steinberg 1976), as Pillow does it.

    Args:
        palette: (K, 3) uint8.
    """

    def __init__(self, palette: np.ndarray) -> None:
        self.colours = palette
        self._palette = Image.new("P", (1, 1))
        self._palette.putpalette(palette.tobytes())

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8 indices."""
        image = Image.fromarray(np.ascontiguousarray(frame)).quantize(palette=self._palette, dither=Image.Dither.FLOYDSTEINBERG)
        return np.minimum(np.asarray(image), len(self.colours) - 1)


class Dither:
    """Maps frames to palette indices by table; a cell's entry is made when a frame first shows it.

    Args:
        palette: (K, 3) uint8, K < 256 unless exact, dark to light.
        bits: how finely colours are told apart, or None: the palette holds each colour and there is nothing to mix.
        strength: share of the error that is carried on within a pattern.
    """

    def __init__(self, palette: np.ndarray, bits: int | None, strength: float = SMOOTH) -> None:
        self.colours = palette
        self.palette = palette.astype(np.float32)
        self.bits = bits
        self.strength = strength
        if bits is None:
            self.table = np.zeros(1 << 24, np.uint8)
            self.table[packed(palette)] = np.arange(len(palette))
        else:
            self.table = np.full(LEVELS << 3 * bits, TRANSPARENT, np.uint8)
        self._thresholds = np.zeros((0, 0), np.uint32)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8 indices."""
        if self.bits is None:
            return self.table[packed(frame)]
        if self._thresholds.shape != frame.shape[:2]:
            height, width = frame.shape[:2]
            self._thresholds = np.tile(BAYER, (-(-height // 4), -(-width // 4)))[:height, :width]
        place = cells(packed(frame), self.bits)
        place |= self._thresholds
        index = self.table.take(place)
        if (index == TRANSPARENT).any():  # a cell not met before
            self._learn(np.unique(place[index == TRANSPARENT] // LEVELS))
            index = self.table.take(place)
        return index

    def _learn(self, new: np.ndarray) -> None:
        assert self.bits is not None
        for some in blocks(new):
            self.table.reshape(-1, LEVELS)[some] = self._mix(centres(some, self.bits))

    def _mix(self, colours: np.ndarray) -> np.ndarray:
        """(M, 3) -> (M, LEVELS) indices whose mean approaches each colour, dark to light so that thresholds scatter them."""
        few = min(NEIGHBOURS, len(self.palette))
        near = np.argpartition(distances(colours, self.palette), few - 1, axis=1)[:, :few].T  # (few, M)
        choices = self.palette[near]  # (few, M, 3)
        columns = np.arange(len(colours))
        mixed = np.empty((LEVELS, len(colours)), np.uint8)
        wanted = colours.copy()
        for level in range(LEVELS):
            difference = choices - wanted
            chosen = np.einsum("kmc,kmc->km", difference, difference).argmin(0)
            mixed[level] = near[chosen, columns]
            wanted = colours - self.strength * difference[chosen, columns]
        return np.sort(mixed, axis=0).T
