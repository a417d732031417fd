"""GIF files, frame by frame in flat memory: a palette for the whole film, and of each frame only what changed.

Pillow's and imageio's GIF writers keep every frame, or fit a palette to each. Here the blocks are laid out (GIF89a
specification, sections 18 to 23) and Pillow compresses the pixels of each.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import GifImagePlugin, Image

from genart import Run

from .palette import Dither, Histogram

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Pixels looked at to fit the palette.
SAMPLE_PIXELS = 1 << 21
#: Shortest delay that players honour, in 1/100 s: shorter ones are played at 10 frames per second.
SHORTEST = 2
LONGEST = 65535
TRANSPARENT = 255
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
    palette, exact = survey(frames, run)
    dither = Dither(palette, exact=exact)
    wait = delay(frames.fps)
    held = wait if params.hold is None else min(LONGEST, max(wait, round(100 * params.hold)))
    last = len(frames.images) - 1
    with open(path, "wb") as file:
        writer = GifWriter(file.write, palette, loop=params.loop)
        for batch, pictures in frames.batches():
            for frame, picture in zip(batch, pictures, strict=True):
                writer.add(dither(frame), held if picture == last else wait)
            run.progress(writer.count, frames.count, "frames")
            run.check()
        writer.end()
    return 100 / wait, writer.count


def survey(frames: Frames, run: Run) -> tuple[np.ndarray, bool]:
    """Fit a palette to the film.

    Returns:
        (K, 3) uint8, and whether it holds every colour of the film.
    """
    histogram = Histogram()
    ...
