"""GIF files, frame by frame in flat memory: a palette for the whole film, and of each frame only what changed.

Pillow's and imageio's GIF writers keep every frame, or fit a palette to each. Here the blocks are laid out (GIF89a
specification, sections 18 to 23) and Pillow compresses the pixels of each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import GifImagePlugin, Image

from genart import Run

from . import budget
from .palette import COLOURS, TRANSPARENT, Diffusion, Dither, Histogram, Painter

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Frames, and pixels in all of them, that the palette is fitted to.
SAMPLE_FRAMES, SAMPLE_PIXELS = 256, 1 << 21
#: Shortest delay that players honour, in 1/100 s: shorter ones are played at 10 frames per second.
SHORTEST = 2
LONGEST = 65535
#: Both ways to write a frame are tried once in so many frames; the better one is used until the next trial.
TRIAL_EVERY = 8
#: Bytes of the graphic control extension and of the image descriptor that follows it.
EXTENSION_BYTES, DESCRIPTOR_BYTES = 8, 10
#: Frames per second at least and at most.
SLOWEST, FASTEST = 100 / LONGEST, 100 / SHORTEST


def delay(shown: int, times: int, fps: float) -> int:
    """How long a frame stays, in 1/100 s; it begins at the nearest one to its time, so that a film is as long as its rate says.

    Args:
        shown: frame times before it.
        times: frame times that it stays.
        fps: frames per second.
    """
    return min(LONGEST, max(SHORTEST, round(100 * (shown + times) / fps) - round(100 * shown / fps)))


def write_gif(frames: Frames, path: Path, params: AssembleParams, run: Run, limit: int | None = None) -> tuple[float, int]:
    """Write a GIF: look at a sample of the film, then write it.

    Returns:
        Frames per second, and the number of frames.

    Raises:
        budget.TooLarge: as soon as more than `limit` bytes are written.
    """
    inks = frames.drawn_colours()
    shared = survey(frames, inks, params, run) if params.palette == "global" else None
    shown = 0
    with open(path, "wb") as file:
        writer = GifWriter(file.write, shared.colours if shared else None, loop=params.loop, lossy=params.lossy)
        for frame in frames:
            painter = shared or of_frame(frame.pixels, inks, params)
            writer.add(painter(frame.pixels), delay(shown, frame.times, frames.fps), frame.pixels, painter.colours)
            shown += frame.times
            run.progress(writer.count, frames.count, "frames")
            run.check()
            if limit is not None and file.tell() > limit:
                raise budget.TooLarge
        writer.end()
    return frames.fps, writer.count


def survey(frames: Frames, inks: tuple[tuple[int, int, int], ...], params: AssembleParams, run: Run) -> Painter:
    """Fit a palette to the film."""
    histogram = Histogram(params.colours)
    for frame in frames:
        if not histogram.look(frame.pixels):
            break
        run.check()
    if histogram.exact is not None:
        return Dither(histogram.palette(), None)
    assert frames.order is not None
    count = len(frames.order)
    step = max(1, -(-count // SAMPLE_FRAMES))
    for i, picture in enumerate(frames.sample(step)):
        stride = max(1, round((picture.shape[0] * picture.shape[1] * (count // step) / SAMPLE_PIXELS) ** 0.5))
        histogram.add(picture[i % stride :: stride, i // stride % stride :: stride])
        histogram.add_texture(picture[i % 16 :: 16])
        run.check()
    return painter_of(histogram, inks, params.dither)


def of_frame(frame: np.ndarray, inks: tuple[tuple[int, int, int], ...], params: AssembleParams) -> Painter:
    """Fit a palette to one frame, (H, W, 3) uint8."""
    histogram = Histogram(params.colours)
    if histogram.look(frame):
        return Dither(histogram.palette(), None)
    histogram.add(frame)
    histogram.add_texture(frame[::4])
    return painter_of(histogram, inks, params.dither)


def painter_of(histogram: Histogram, inks: tuple[tuple[int, int, int], ...], dither: str) -> Painter:
    """What maps the frames that a histogram saw to indices of a palette that fits them."""
    palette = histogram.palette(inks)
    if dither == "diffusion":
        return Diffusion(palette)
    return Dither(palette, histogram.bits, histogram.strength if dither == "ordered" else 0.0)


class GifWriter:
    """Lays out the blocks of a GIF whose frames stay on screen until they are painted over.

    Args:
        write: takes bytes.
        palette: (K, 3) uint8 that all frames share, or None: each brings its own. With K = 256 no index is left for "unchanged" and
            whole rectangles are written.
        loop: how often it plays again after the first time; 0 is for ever, -1 plays it once.
        lossy: how much a pixel, of 255, may differ from what is on screen before it is painted anew.
    """

    def __init__(self, write: Callable[[bytes], object], palette: np.ndarray | None, loop: int, lossy: int = 0) -> None:
        self.write = write
        self.palette = palette
        self.loop = loop
        self.lossy = lossy
        self.count = 0
        self._shown: np.ndarray | None = None
        self._source: np.ndarray | None = None
        self._sparse = False

    def add(self, index: np.ndarray, wait: int, source: np.ndarray, palette: np.ndarray) -> None:
        """Append a frame.

        Args:
            index: (H, W) uint8, into the palette.
            wait: how long it stays, in 1/100 s.
            source: (H, W, 3) uint8, the colours that the indices stand for.
            palette: (K, 3) uint8; the shared one where there is one.
        """
        if self._shown is None or self._source is None:
            self._header(*index.shape, palette)
            self.write(block(index, 0, 0, wait))
            self._shown, self._source = index, source
        else:
            same = self._unchanged(index, source)
            if self.palette is not None:
                index = np.where(same, self._shown, index) if self.lossy else index
            self.write(self._change(index, same, wait, palette))
            self._shown = index
            # a pixel that stays keeps the colour that it was painted for, so that small steps add up to a change
            self._source = np.where(same[..., None], self._source, source) if self.lossy else source
        self.count += 1

    def end(self) -> None:
        """Close the file's last block."""
        self.write(b";")

    def _unchanged(self, index: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Where a frame need not be painted: (H, W) bool."""
        assert self._shown is not None
        assert self._source is not None
        if self.palette is not None and not self.lossy:
            return np.equal(index, self._shown)
        low, high = np.minimum(source, self._source), np.maximum(source, self._source)
        close: np.ndarray = ((high - low) <= self.lossy).all(axis=2)
        return close if self.palette is None else close | (index == self._shown)

    def _header(self, height: int, width: int, palette: np.ndarray) -> None:
        self.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0b1111_0111, 0, 0) + _table(palette))
        if self.loop >= 0:
            self.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", self.loop) + b"\0")

    def _change(self, index: np.ndarray, same: np.ndarray, wait: int, palette: np.ndarray) -> bytes:
        """The smallest rectangle that changed; in it, unchanged pixels are left out when that compresses better."""
        own = None if self.palette is not None else palette
        rows, columns = np.flatnonzero(~same.all(1)), np.flatnonzero(~same.all(0))
        if not len(rows):
            rows = columns = np.zeros(1, np.int64)
        top, left = int(rows[0]), int(columns[0])
        area = np.s_[top : rows[-1] + 1, left : columns[-1] + 1]
        whole, best = index[area], b""
        possible = len(palette) < COLOURS
        trial = possible and self.count % TRIAL_EVERY == 1
        if trial or not self._sparse or not possible:
            best = block(whole, left, top, wait, own)
        if trial or (self._sparse and possible):
            sparse = block(np.where(same[area], np.uint8(TRANSPARENT), whole), left, top, wait, own, sparse=True)
            self._sparse = not best or len(sparse) < len(best)
            best = sparse if self._sparse else best
        return best


def _table(palette: np.ndarray) -> bytes:
    colours = np.zeros((COLOURS, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours.tobytes()


def block(index: np.ndarray, left: int, top: int, wait: int, own: np.ndarray | None = None, *, sparse: bool = False) -> bytes:
    """Graphic control extension, image descriptor and compressed pixels of (H, W) uint8.

    Args:
        index: into the palette.
        left: column of the rectangle; `top` its row.
        top: row.
        wait: 1/100 s.
        own: (K, 3) uint8, a palette of this frame's own.
        sparse: some pixels are left out, by the index TRANSPARENT.
    """
    options = {"transparency": TRANSPARENT} if sparse else {}
    image = Image.fromarray(np.ascontiguousarray(index))
    data = b"".join(GifImagePlugin.getdata(image, (left, top), duration=10 * wait, disposal=1, **options))
    if own is None:
        return data
    flags = EXTENSION_BYTES + DESCRIPTOR_BYTES - 1
    return data[:flags] + bytes([data[flags] | 0b1000_0111]) + _table(own) + data[flags + 1 :]
