"""MP4 and WebM through PyAV, streamed: a frame is encoded as soon as it is made.

PyAV is used directly, not through imageio's plugin for it, which offers no way to set the encoder's options (quality,
threads), the colour tags, or where an MP4 keeps its index, and would write a WebM with a random id.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream

from genart import Run

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Encoder threads of small and of large films. Not the machine's number of cores, on which the bytes of the film would then
#: depend; and few for small ones, since what makes the frames wants the cores as well (bench/film.py).
THREADS, THREADS_LARGE = 2, 4
LARGE = 512 * 512


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


def _assembly() -> dict[str, str]:
    """Keep x264 from AVX-512.

    There its macroblock tree takes in memory that nobody wrote, and the bytes of a film change from run to run: seen with
    libx264 165 of PyAV 18 at 4, 6 and 11 macroblocks a row, not at 8 and 16, nor without the tree or up to AVX2.
    Setting `asm` on a processor without AVX2 would crash, so it is set where NumPy found AVX-512, which implies it.
    """
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return {"x264-params": "asm=avx2"} if any(name == "X86_V4" or name.startswith("AVX512") for name in found) else {}


# faststart puts the index first, so that a browser plays while it loads.
H264 = Codec("libx264", "mp4", 17, 51, {"preset": "medium", "profile": "high", **_assembly()}, {"movflags": "+faststart"})
# cpu-used 4 is several times as fast as the default of 1, for about a tenth more bytes.
VP9 = Codec("libvpx-vp9", "webm", 28, 63, {"deadline": "good", "cpu-used": "4", "row-mt": "1", "b": "0"})


def write_film(codec: Codec, frames: Frames, path: Path, params: AssembleParams, run: Run) -> tuple[float, int]:
    """Encode the frames as they come.

    Returns:
        Frames per second, and the number of frames written.

    Raises:
        DataError: if there are no frames or they differ in size.
    """
    rate = Fraction(frames.fps).limit_denominator(1001)
    count, stream = 0, None
    with av.open(str(path), "w", format=codec.container, container_options=codec.container_options) as container:
        container.flags |= av.container.Flags.bitexact.value
        for pixels in held(frames, params.hold):
            frame = to_yuv(even(pixels))
            if stream is None:
                stream = _stream(container, codec, rate, frame, params.quality)
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
            run.progress(count, frames.count, "frames")
            run.check()
        assert stream is not None  # no frames are an error already
        container.mux(stream.encode(None))
    return frames.fps, count


def _stream(container: OutputContainer, codec: Codec, rate: Fraction, frame: av.VideoFrame, quality: int | None) -> VideoStream:
    crf = codec.crf if quality is None else min(quality, codec.crf_worst)
    stream = container.add_stream(codec.name, rate=rate, options={**codec.options, "crf": str(crf)})
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
    context = stream.codec_context
    context.thread_count = THREADS if frame.width * frame.height <= LARGE else THREADS_LARGE
    context.flags |= Flags.bitexact
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def held(frames: Frames, hold: float | None) -> Iterator[np.ndarray]:
    """Yield each frame, (H, W, 3) uint8, and the last picture for as many frames as `hold` seconds last."""
    extra = 0 if hold is None else max(0, round(hold * frames.fps) - 1)
    last, shown = None, -1
    for batch, pictures in frames.batches():
        if last is not None and pictures[0] < shown:  # a ping-pong film turns round here
            yield from itertools.repeat(last, extra)
            extra = 0
        yield from batch
        last, shown = batch[-1], pictures[-1]
    if last is not None:
        yield from itertools.repeat(last, extra)


def even(pixels: np.ndarray) -> np.ndarray:
    """Repeat the last row and column of (H, W, 3) where needed: 4:2:0 stores colour for blocks of two by two."""
    height, width = pixels.shape[:2]
    return (
        np.ascontiguousarray(pixels) if height % 2 == width % 2 == 0 else np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    )


def to_yuv(pixels: np.ndarray) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB -> a 4:2:0 frame in BT.709, limited range: what players take a film to be."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
    )
