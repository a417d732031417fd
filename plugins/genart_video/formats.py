"""`video.assemble` and `video.frames`: choose the writer of a format, hand it the frames, keep to the size, return the film."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genart import Batch, Images, Run, Video

from . import CODECS, FORMATS, budget
from .film import APNG, AV1, H264, H264_MOV, PRORES, VP9, WEBP, Codec, write_animation, write_brought, write_film
from .frames import DEFAULT_FPS, Frames, rate
from .gif import FASTEST, SLOWEST, write_gif

if TYPE_CHECKING:
    from . import AssembleParams, FramesParams

DEFAULT_FORMAT = "mp4"
#: Bytes of frames in one batch of `video.frames`.
BATCH_BYTES = 4 << 20

#: Codecs by container and the name of the codec.
FILMS: dict[tuple[str, str], Codec] = {
    ("mp4", "h264"): H264,
    ("mp4", "av1"): AV1.within("mp4"),
    ("webm", "vp9"): VP9,
    ("webm", "av1"): AV1,
    ("mov", "prores"): PRORES,
    ("mov", "h264"): H264_MOV,
}
ANIMATIONS: dict[str, Codec] = {"webp": WEBP, "apng": APNG}


@dataclass(frozen=True)
class Job:
    """One film to write.

    Attributes:
        name: its format.
        path: where.
        images: the pictures.
        run: told of progress.
        own_fps: the rate of pictures that have none, which fewer frames to save bytes do not change.
    """

    name: str
    path: Path
    images: Images
    run: Run
    own_fps: float

    @property
    def brought(self) -> bool:
        """A plugin writes it."""
        return self.name not in FORMATS

    def write(self, params: AssembleParams, limit: int | None = None) -> tuple[float, int]:
        """Write it; returns frames per second and the number of frame times.

        Raises:
            budget.TooLarge: as soon as more than `limit` bytes are written.
        """
        codec = codec_of(self.name, params)
        whole = params.max_mb is not None
        if self.brought:
            writer = self.run.extension("genart_writers", self.name)
            frames = Frames(self.images, params, self.run, own_fps=self.own_fps, keeps_alpha=writer.alpha, whole=whole)
            return write_brought(writer, frames, self.path, params, self.run, limit)
        if codec is None:
            fps = min(FASTEST, max(SLOWEST, rate(self.images, params)))
            frames = Frames(self.images, params, self.run, fps=fps, own_fps=self.own_fps, whole=True)
            return write_gif(frames, self.path, params, self.run, limit)
        frames = Frames(self.images, params, self.run, own_fps=self.own_fps, keeps_alpha=codec.alpha_format is not None, whole=whole)
        return (write_film if codec.plays is None else write_animation)(codec, frames, self.path, params, self.run, limit)


def codec_of(name: str, params: AssembleParams) -> Codec | None:
    """What codes the frames of a format; None for a GIF, and for what a plugin writes."""
    if name not in CODECS:
        return ANIMATIONS.get(name)
    return FILMS[name, params.codec or CODECS[name][0]]


def assemble(images: Images, params: AssembleParams, run: Run) -> Video:
    """Encode the pictures.

    Raises:
        DataError: if there are none, they differ in size, a caption names metadata that they lack, the sound cannot be read, or the
            film cannot be made as small as it should be.
        StageError: if a plugin's writer does not do what it should.
    """
    name = params.format or DEFAULT_FORMAT
    if name == "gif" or params.max_mb is not None:
        images = images.settled()
    job = Job(name, run.file(f"film.{name}"), images, run, params.fps or DEFAULT_FPS)
    write: Callable[[AssembleParams, int | None], tuple[float, int]] = job.write
    if params.max_mb is None:
        fps, count = write(params, None)
    else:
        codec = codec_of(name, params)
        worst = 0 if job.brought else codec.worst_step if codec else None
        rungs = budget.ladder(params, worst, rate(images, params))
        fps, count = budget.keep(write, job.path, params.max_mb, rungs, run)
    return Video(job.path, fps, count)


def frames(images: Images, params: FramesParams, run: Run) -> Iterator[Batch]:
    """Yield the frames as pictures.

    Raises:
        DataError: as `assemble`.
    """
    made = Frames(images, params, run, keeps_alpha=True)
    run.expect(made.count, made.fps)
    held: list[np.ndarray] = []
    metas = []
    for frame in made:
        for _ in range(frame.times):
            if held and len(held) * held[0].nbytes >= BATCH_BYTES:
                yield Batch.from_array(np.stack(held), metas)
                held, metas = [], []
            held.append(frame.pixels)
            metas.append(frame.meta)
    yield Batch.from_array(np.stack(held), metas)
