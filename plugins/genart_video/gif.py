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

from .palette import COLOURS, TRANSPARENT, Dither, Histogram

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


def delay(fps: float) -> int:
    """Frame time in 1/100 s that is nearest to a frame rate and honoured by players."""
    return min(LONGEST, max(SHORTEST, round(100 / fps)))


def write_gif(frames: Frames, path: Path, params: AssembleParams, run: Run) -> tuple[float, int]:
    """Write a GIF: look at a sample of the film, then write it.

    Returns:
        Frames per second as played, and the number of frames.
    """
    dither = Dither(*survey(frames, run))
    wait = delay(frames.fps)
    held = wait if params.hold is None else min(LONGEST, max(wait, round(100 * params.hold)))
    last = len(frames.images) - 1
    with open(path, "wb") as file:
        writer = GifWriter(file.write, dither.colours, loop=params.loop)
        for batch, pictures in frames.batches():
            for frame, picture in zip(batch, pictures, strict=True):
                writer.add(dither(frame), held if picture == last else wait)
            run.progress(writer.count, frames.count, "frames")
            run.check()
        writer.end()
    return 100 / wait, writer.count


def survey(frames: Frames, run: Run) -> tuple[np.ndarray, int | None, float]:
    """Fit a palette to the film.

    Returns:
        What a `Dither` is made of: the palette, how finely to tell colours apart, how much to mix.
    """
    histogram = Histogram()
    for batch, _ in frames.batches():
        if not all(histogram.look(frame) for frame in batch):
            break
        run.check()
    if histogram.exact is not None:
        return histogram.palette(), None, 0.0
    count = len(frames.images)
    step = -(-count // SAMPLE_FRAMES)
    for i, frame in enumerate(frames.sample(step)):
        stride = max(1, round((frame.shape[0] * frame.shape[1] * (count // step) / SAMPLE_PIXELS) ** 0.5))
        histogram.add(frame[i % stride :: stride, i // stride % stride :: stride])
        histogram.add_texture(frame[i % 16 :: 16])
        run.check()
    return histogram.palette(frames.caption_colours()), histogram.bits, histogram.strength


class GifWriter:
    """Lays out the blocks of a GIF whose frames share one palette and stay on screen until they are painted over.

    Args:
        write: takes bytes.
        palette: (K, 3) uint8; with K = 256 no index is left for "unchanged" and whole rectangles are written.
        loop: how often it plays again after the first time; 0 is for ever, -1 plays it once.
    """

    def __init__(self, write: Callable[[bytes], object], palette: np.ndarray, loop: int) -> None:
        self.write = write
        self.palette = palette
        self.loop = loop
        self.count = 0
        self._shown: np.ndarray | None = None
        self._sparse = False

    def add(self, index: np.ndarray, wait: int) -> None:
        """Append a frame.

        Args:
            index: (H, W) uint8, into the palette.
            wait: how long it stays, in 1/100 s.
        """
        if self._shown is None:
            self._header(*index.shape)
            self.write(block(index, 0, 0, wait))
        else:
            self.write(self._change(index, self._shown, wait))
        self._shown = index
        self.count += 1

    def end(self) -> None:
        """Close the file's last block."""
        self.write(b";")

    def _header(self, height: int, width: int) -> None:
        colours = np.zeros((COLOURS, 3), np.uint8)
        colours[: len(self.palette)] = self.palette
        self.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0b1111_0111, 0, 0) + colours.tobytes())
        if self.loop >= 0:
            self.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", self.loop) + b"\0")

    def _change(self, index: np.ndarray, shown: np.ndarray, wait: int) -> bytes:
        """The smallest rectangle that changed; in it, unchanged pixels are left out when that compresses better."""
        same = index == shown
        rows, columns = np.flatnonzero(~same.all(1)), np.flatnonzero(~same.all(0))
        if not len(rows):
            return block(index[:1, :1], 0, 0, wait)
        top, left = int(rows[0]), int(columns[0])
        area = np.s_[top : rows[-1] + 1, left : columns[-1] + 1]
        whole, best = index[area], b""
        trial = self.count % TRIAL_EVERY == 1 and len(self.palette) < COLOURS
        if trial or not self._sparse:
            best = block(whole, left, top, wait)
        if trial or self._sparse:
            sparse = block(np.where(same[area], np.uint8(TRANSPARENT), whole), left, top, wait, sparse=True)
            self._sparse = not best or len(sparse) < len(best)
            best = sparse if self._sparse else best
        return best


def block(index: np.ndarray, left: int, top: int, wait: int, *, sparse: bool = False) -> bytes:
    """Graphic control extension, image descriptor and compressed pixels of (H, W) uint8; `sparse` has pixels left out."""
    options = {"transparency": TRANSPARENT} if sparse else {}
    image = Image.fromarray(np.ascontiguousarray(index))
    return b"".join(GifImagePlugin.getdata(image, (left, top), duration=10 * wait, disposal=1, **options))
