"""256 colours for a film: a histogram of its frames, a palette fitted to it, and a table from colour and place to palette index.

Colours are counted in 64x64x64 cells, 4 levels of each channel wide: the rounding costs 48 dB, far below what 255 colours
can show. The palette is Wu-like variance splitting followed by k-means. Dithering is ordered (Knoll's pattern dithering, US
patent 6606166, lapsed in 2019): a pixel's index depends on its colour and its place alone, so what stands still in the film stands still
in the GIF, the pattern compresses, and a whole frame is one look-up.
"""

from __future__ import annotations

import numpy as np

#: Bits per channel of a histogram cell.
BITS = 6
CELLS = 1 << (3 * BITS)
#: Side of the threshold matrix; a cell has as many candidate colours as the matrix has thresholds.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.int32)
LEVELS = BAYER.size
#: Share of the error that the pattern makes good: 1 is a full dither, 0 none. Chosen on bench/film.py's walks and by eye.
STRENGTH = 0.75
#: Palette colours nearest to a cell among which its pattern is mixed.
NEIGHBOURS = 12
KMEANS_STEPS = 12


def pack(frames: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> (...) int32, 0xRRGGBB."""
    x = frames.astype(np.int32)
    return (x[..., 0] << 16) | (x[..., 1] << 8) | x[..., 2]


def cells(frames: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> (...) int32, the histogram cell of each pixel."""
    x = (frames >> (8 - BITS)).astype(np.int32)
    return (x[..., 0] << (2 * BITS)) | (x[..., 1] << BITS) | x[..., 2]


class Histogram:
    """Colours of a film: exactly while there are few of them, by cell once there are more than `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.exact: set[int] | None = set()
        self.counts = np.zeros(CELLS)
        self.sums = np.zeros((CELLS, 3))

    def add(self, frames: np.ndarray, *, sample: bool = True) -> None:
        """Count the pixels of (N, H, W, 3) uint8.

        Args:
            frames: some frames.
            sample: False looks for new colours only.
        """
        if self.exact is not None:
            self.exact.update(np.unique(pack(frames)).tolist())
            if len(self.exact) > self.limit:
                self.exact = None
        if sample:
            place = cells(frames).ravel()
            self.counts += np.bincount(place, minlength=CELLS)
            for channel in range(3):
                self.sums[:, channel] += np.bincount(place, weights=frames[..., channel].ravel(), minlength=CELLS)

    def palette(self, keep: tuple[tuple[int, int, int], ...] = ()) -> np.ndarray:
        """Fit at most `limit` colours: (K, 3) uint8, sorted by luminance.

        Args:
            keep: colours that must be in it, such as those of a caption.
        """
        if self.exact is not None:
            packed = np.array(sorted(self.exact), np.int32)
            return np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], 1).astype(np.uint8)
        used = np.flatnonzero(self.counts)
        weights = self.counts[used]
        colours = self.sums[used] / weights[:, None]
        centres = kmeans(colours, weights, split(colours, weights, self.limit - len(keep)))
        palette = np.unique(np.concatenate([np.rint(centres), np.array(keep).reshape(-1, 3)]).astype(np.uint8), axis=0)
        return palette[np.argsort(palette @ np.array([0.299, 0.587, 0.114]), kind="stable")]


def split(colours: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Cut the box of greatest squared error at the mean of its widest channel until there are `count`: (count, 3) means."""
    boxes = [np.arange(len(colours))]
    scores = [_spread(colours, weights)]
    while len(boxes) < min(count, len(colours)):
        worst = int(np.argmax([score for score, _, _ in scores]))
        score, axis, mean = scores[worst]
        if score <= 0:
            break
        box = boxes[worst]
        below = colours[box, axis] <= mean
        for at, part in ((worst, box[below]), (len(boxes), box[~below])):
            boxes[at : at + 1] = [part]
            scores[at : at + 1] = [_spread(colours[part], weights[part])]
    return np.stack([np.average(colours[box], axis=0, weights=weights[box]) for box in boxes])


def _spread(colours: np.ndarray, weights: np.ndarray) -> tuple[float, int, float]:
    """Weighted squared error of a box, its widest channel, and the mean there."""
    mean = np.average(colours, axis=0, weights=weights)
    squares = weights @ (colours - mean) ** 2
    axis = int(np.argmax(squares))
    return (float(squares.sum()), axis, float(mean[axis])) if len(colours) > 1 else (0.0, 0, 0.0)


def nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Index of the palette colour nearest to each of (M, 3), in blocks that stay small."""
    centres = palette.astype(np.float32)
    half = (centres**2).sum(1) / 2
    blocks = [np.argmin(half - block @ centres.T, axis=1) for block in np.array_split(colours.astype(np.float32), len(colours) // 8192 + 1)]
    return np.concatenate(blocks)


def kmeans(colours: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Lloyd's algorithm on weighted colours (M, 3); an emptied centre stays where it was."""
    for _ in range(KMEANS_STEPS):
        owner = nearest(colours, centres)
        mass = np.bincount(owner, weights, len(centres))
        sums = np.stack([np.bincount(owner, weights * colours[:, channel], len(centres)) for channel in range(3)], 1)
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-9)[:, None], centres)
    return centres


class Dither:
    """Maps frames to palette indices by table; a cell's entry is computed when a frame first shows it."""

    def __init__(self, palette: np.ndarray, *, exact: bool, strength: float = STRENGTH) -> None:
        self.palette = palette.astype(np.float32)
        self.exact = exact
        self.strength = strength
        if exact:
            self.table = np.zeros(1 << 24, np.uint8)
            self.table[pack(palette)] = np.arange(len(palette))
        else:
            self.table = np.zeros(CELLS * LEVELS, np.uint8)
            self.known = np.zeros(CELLS, bool)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8 indices."""
        if self.exact:
            return self.table[pack(frame)]
        place = cells(frame)
        known = self.known[place]
        if not known.all():
            self._learn(np.unique(place[~known]))
        height, width = place.shape
        thresholds = np.tile(BAYER, (height // 4 + 1, width // 4 + 1))[:height, :width]
        return self.table[place * LEVELS + thresholds]

    def _learn(self, new: np.ndarray) -> None:
        """Mix each new cell's colour from palette colours, darkest first, so that thresholds spread them evenly."""
        mask, shift = (1 << BITS) - 1, 8 - BITS
        colours = np.stack([new >> (2 * BITS), (new >> BITS) & mask, new & mask], 1).astype(np.float32) * (1 << shift) + ((1 << shift) - 1) / 2
        for block in np.array_split(np.arange(len(new)), len(new) // 8192 + 1):
            mixed = self._mix(colours[block])
            self.table.reshape(CELLS, LEVELS)[new[block]] = mixed
        self.known[new] = True

    def _mix(self, colours: np.ndarray) -> np.ndarray:
        """(M, 3) -> (M, LEVELS) indices whose mean approaches each colour, in order of luminance (of index)."""
        few = min(NEIGHBOURS, len(self.palette))
        distance = (self.palette**2).sum(1) - 2 * colours @ self.palette.T
        near = np.argpartition(distance, few - 1, axis=1)[:, :few]
        choices = self.palette[near]  # (M, few, 3)
        row, error = np.arange(len(colours)), np.zeros_like(colours)
        mixed = np.empty((len(colours), LEVELS), np.uint8)
        for level in range(LEVELS):
            wanted = colours + self.strength * error
            chosen = np.argmin(((choices - wanted[:, None]) ** 2).sum(2), axis=1)
            mixed[:, level] = near[row, chosen]
            error += colours - choices[row, chosen]
        return np.sort(mixed, axis=1)
