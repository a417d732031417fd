"""Films and animations through PyAV, streamed: a frame is encoded as soon as it is made.

PyAV is used directly, not through imageio's plugin for it, which offers no way to set the encoder's options (quality,
threads), the colour tags, or where an MP4 keeps its index, and would write a WebM with a random id.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream

from genart import FilmWriter, Run, StageError

from . import budget
from .sound import Sound

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Encoder threads of small and of large films. Not the machine's number of cores, on which the bytes of the film would then
#: depend; and few for small ones, since what makes the frames wants the cores as well (bench/walk.py).
THREADS, THREADS_LARGE = 2, 4
LARGE = 512 * 512
#: Frames are made and encoded by turns, this many bytes at a time: both want every core, and together each waits for the other's
#: threads (bench/walk.py).
TURN = 8 << 20
#: SVT-AV1 tells its settings on stderr unless it is asked for errors alone.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True)
class Codec:
    """An encoder and its settings.

    Attributes:
        name: FFmpeg's name of the encoder.
        container: FFmpeg's name of the container.
        crf: default constant rate factor, or None where there is none.
        worst_step: the greatest that a film is compressed with to be small; 0 where there is none.
        pixel_format: FFmpeg's name of what it encodes; `alpha_format` with transparency, None if it has none.
        options: of the encoder.
        container_options: of the container.
        audio: FFmpeg's name of the encoder that goes with it, or None.
        plays: its container counts how often it is played, under this name.
    """

    name: str
    container: str
    crf: int | None = None
    worst_step: int = 0
    pixel_format: str = "yuv420p"
    alpha_format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    audio: str | None = None
    plays: str | None = None

    def within(self, container: str) -> Codec:
        """The same in another container."""
        return replace(self, container=container, container_options={"movflags": "+faststart"}, audio="aac")

    def encoder_options(self, quality: int | None) -> dict[str, str]:
        """Options of the encoder at a quality; None takes the default."""
        if self.crf is None:
            return self.options
        crf = self.crf if quality is None else quality
        # WebP counts the other way round, to 100
        return {**self.options, **({"quality": str(100 - crf)} if self.container == "webp" else {"crf": str(crf)})}


def _assembly() -> dict[str, str]:
    """Keep x264 from AVX-512.

    There its macroblock tree takes in memory that nobody wrote, and the bytes of a film change from run to run: seen with
    libx264 165 of PyAV 18 at 4, 6 and 11 macroblocks a row, not at 8 and 16, nor without the tree or up to AVX2.
    Setting `asm` on a processor without AVX2 would crash, so it is set where NumPy found AVX-512, which implies it.
    """
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return {"x264-params": "asm=avx2"} if any(name == "X86_V4" or name.startswith("AVX512") for name in found) else {}


# faststart puts the index first, so that a browser plays while it loads.
H264 = Codec(
    "libx264",
    "mp4",
    17,
    40,
    options={"preset": "medium", "profile": "high", **_assembly()},
    container_options={"movflags": "+faststart"},
    audio="aac",
)
H264_MOV = replace(H264, container="mov")
# cpu-used 4 is several times as fast as the default of 1, for about a tenth more bytes.
VP9 = Codec("libvpx-vp9", "webm", 28, 54, options={"deadline": "good", "cpu-used": "4", "row-mt": "1", "b": "0"}, audio="libopus")
# lp is its level of parallelism; left out, it is the machine's.
AV1 = Codec("libsvtav1", "webm", 28, 54, options={"preset": "8", "svtav1-params": "lp=2"}, audio="libopus")
PRORES = Codec(
    "prores_ks",
    "mov",
    pixel_format="yuv422p10le",
    alpha_format="yuva444p10le",
    options={"vendor": "apl0"},
    container_options={"movflags": "+faststart"},
    audio="pcm_s16le",
)
WEBP = Codec("libwebp_anim", "webp", 20, 60, "bgra", "bgra", options={"compression_level": "4"}, plays="loop")
APNG = Codec("apng", "apng", pixel_format="rgb24", alpha_format="rgba", options={"pred": "mixed"}, plays="plays")


def write_film(codec: Codec, frames: Frames, path: Path, params: AssembleParams, run: Run, limit: int | None = None) -> tuple[float, int]:
    """Encode the frames as they come.

    Returns:
        Frames per second, and the number of frames written.

    Raises:
        DataError: if there are no frames, they differ in size, or the sound cannot be read.
        budget.TooLarge: as soon as more than `limit` bytes are written.
    """
    rate = Fraction(frames.fps).limit_denominator(1001)
    count, stream, sound = 0, None, None
    options = dict(codec.container_options)
    if codec.plays is not None:  # 0 is for ever
        options[codec.plays] = str(0 if params.loop == 0 else max(1, params.loop + 1))
    if codec.container == "apng":
        options["final_delay"] = str(1 / rate)
    with ExitStack() as stack:
        container = stack.enter_context(av.open(str(path), "w", format=codec.container, container_options=options))
        container.flags |= av.container.Flags.bitexact.value
        for pixels in by_turns(held(frames)):
            frame = to_frame(codec, pixels)
            if stream is None:
                stream = _stream(container, codec, rate, frame, params.quality)
                if params.audio is not None:
                    sound = stack.enter_context(Sound(params.audio, container, str(codec.audio)))
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(_encoded(stream, frame))
            count += 1
            if sound is not None:
                sound.write_until(float(count / rate))
            run.progress(count, frames.count, "frames")
            run.check()
            budget.check(path, limit)
        assert stream is not None  # no frames are an error already
        container.mux(stream.encode(None))
        if sound is not None:
            sound.end(run, float(count / rate))
    return frames.fps, count


def _encoded(stream: VideoStream, frame: av.VideoFrame) -> list[av.Packet]:
    """Encode a frame, at the priority that this process had.

    SVT-AV1, where it may (as root), begins by making its threads and the one that called it real-time ones (SCHED_FIFO, 99), beside
    which nothing else gets a core; they would stay so.
    """
    if not hasattr(os, "sched_getscheduler"):
        return stream.encode(frame)
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    packets = stream.encode(frame)
    if os.sched_getscheduler(0) != policy:
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(int(thread), policy, param)
    return packets


def write_brought(
    writer: FilmWriter, frames: Frames, path: Path, params: AssembleParams, run: Run, limit: int | None = None
) -> tuple[float, int]:
    """Let a plugin write the frames, as they are made.

    Returns:
        Frames per second, and the number of frames written.

    Raises:
        DataError: if there are no frames, or they differ in size.
        StageError: if the writer left frames, or no film.
        budget.TooLarge: as soon as more than `limit` bytes are written.
    """
    count, ended = 0, False
    stopped: list[BaseException] = []

    def given() -> Iterator[np.ndarray]:
        nonlocal count, ended
        try:
            for pixels in held(frames):
                yield np.ascontiguousarray(pixels)
                count += 1
                run.progress(count, frames.count, "frames")
                run.check()
                budget.check(path, limit)
        except GeneratorExit:
            raise
        except BaseException as error:
            stopped.append(error)
            raise
        ended = True

    writer.write(given(), path, frames.fps, params)
    if stopped:  # a writer may catch what is none of its business
        raise stopped[0]
    if not ended:
        raise StageError(f"what writes .{params.format} films stopped after {count} frames, and there are more", "report it to its author")
    if not path.is_file() or path.stat().st_size == 0:
        raise StageError(f"what writes .{params.format} films left no film", "report it to its author")
    return frames.fps, count


def _stream(container: OutputContainer, codec: Codec, rate: Fraction, frame: av.VideoFrame, quality: int | None) -> VideoStream:
    stream = container.add_stream(codec.name, rate=rate, options=codec.encoder_options(quality))
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
    context = stream.codec_context
    context.thread_count = THREADS if frame.width * frame.height <= LARGE else THREADS_LARGE
    context.flags |= Flags.bitexact
    if codec.plays is None:
        context.colorspace, context.color_range = frame.colorspace, frame.color_range
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def held(frames: Frames) -> Iterator[np.ndarray]:
    """Yield each frame, (H, W, 3 or 4) uint8, as often as it is shown."""
    for frame in frames:
        yield from itertools.repeat(frame.pixels, frame.times)


def by_turns(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Read frames until they take `TURN` bytes, then hand them on."""
    waiting: list[np.ndarray] = []
    size = 0
    for pixels in frames:
        waiting.append(pixels)
        size += pixels.nbytes
        if size >= TURN:
            yield from waiting
            waiting.clear()
            size = 0
    yield from waiting


def even(pixels: np.ndarray) -> np.ndarray:
    """Repeat the last row and column of (H, W, C) where needed: colour is stored for blocks of two by two."""
    height, width = pixels.shape[:2]
    return (
        np.ascontiguousarray(pixels) if height % 2 == width % 2 == 0 else np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    )


def to_frame(codec: Codec, pixels: np.ndarray) -> av.VideoFrame:
    """(H, W, 3 or 4) uint8 -> what the encoder takes: films in BT.709, limited range, as players take them to be."""
    transparent = pixels.shape[2] == 4
    wanted = codec.alpha_format if transparent else codec.pixel_format
    source = "rgba" if transparent else "rgb24"
    if codec.plays is not None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source)
        return frame if wanted == source else frame.reformat(format=wanted)
    return av.VideoFrame.from_ndarray(even(pixels), format=source).reformat(
        format=wanted,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
    )
