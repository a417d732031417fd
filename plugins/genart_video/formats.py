"""`video.assemble`: choose the writer of a format, hand it the frames, return the film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genart import Images, Run, Video

from .film import H264, VP9, write_film
from .frames import Frames
from .gif import write_gif

if TYPE_CHECKING:
    from . import AssembleParams

Writer = Callable[["Frames", Path, "AssembleParams", Run], tuple[float, int]]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        write: called with (frames, path, params, run); returns the frames per second and the number of frames written.
        passes: how often it reads the frames; more than once needs pictures that are all made.
    """

    write: Writer
    passes: int = 1


FORMATS = {
    "gif": Format(write_gif, passes=2),
    "mp4": Format(lambda frames, path, params, run: write_film(H264, frames, path, params, run)),
    "webm": Format(lambda frames, path, params, run: write_film(VP9, frames, path, params, run)),
}
DEFAULT_FORMAT = "mp4"
DEFAULT_FPS = 24.0


def assemble(images: Images, params: AssembleParams, run: Run) -> Video:
    """Encode the pictures.

    Raises:
        DataError: if there are none, they differ in size, or a caption names metadata that they lack.
    """
    name = params.format or DEFAULT_FORMAT
    chosen = FORMATS[name]
    if chosen.passes > 1 or params.ping_pong:
        images = images.settled()
    frames = Frames(images, params, fps=params.fps or images.fps or DEFAULT_FPS)
    path = run.file(f"film.{name}")
    fps, count = chosen.write(frames, path, params, run)
    return Video(path, fps, count)
