"""MP4 and WebM through PyAV, streamed: a frame is encoded as soon as it is made.

PyAV is used directly, not through imageio's plugin for it, which offers no way to set the encoder's options (quality,
threads), the colour tags, or where an MP4 keeps its index, and would write a WebM with a random id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from genart import Run

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Encoder threads. Not the machine's number of cores, on which the bytes of the film would then depend.
THREADS = 4


@dataclass(frozen=True)
class Codec:
    """An encoder and its settings.

    Attributes:
        name: FFmpeg's name of the encoder.
        container: FFmpeg's name of the container.
        crf: default constant rate factor; `crf_worst` the greatest.
        options: of the encoder.
        container_options: of the container.
    """

    name: str
    container: str
    crf: int
    crf_worst: int
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


# faststart puts the index first, so that a browser plays while it loads.
H264 = Codec("libx264", "mp4", 17, 51, {"preset": "medium", "profile": "high"}, {"movflags": "+faststart"})
# cpu-used 4 is several times as fast as the default of 1, for about a tenth more bytes.
VP9 = Codec("libvpx-vp9", "webm", 28, 63, {"deadline": "good", "cpu-used": "4", "row-mt": "1", "b": "0"})


def write_film(codec: Codec, frames: Frames, path: Path, params: AssembleParams, run: Run) -> tuple[float, int]:
    """Encode the frames as they come.

    Returns:
        Frames per second, and the number of frames written.

    Raises:
        DataError: if there are no frames or they differ in size.
    """
    quality = codec.crf if params.quality is None else min(params.quality, codec.crf_worst)
    options = {**codec.options, "crf": str(quality), "threads": str(THREADS)}
    rate = Fraction(frames.fps).limit_denominator(1001)
    count, stream = 0, None
    with av.open(str(path), "w", format=codec.container, container_options=codec.container_options) as container:
        container.flags |= av.container.Flags.bitexact
        for batch in held(frames, params.hold):
            for pixels in batch:
                frame = av.VideoFrame.from_ndarray(even(pixels), format="rgb24")
                if stream is None:
                    stream = _stream(container, codec, rate, frame, options)
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, interpolation=Interpolation.BICUBIC)
                frame.pts, frame.time_base = count, 1 / rate
                container.mux(stream.encode(frame))
                count += 1
            run.progress(count, frames.count, "frames")
            run.check()
        container.mux(stream.encode(None))
    return frames.fps, count
