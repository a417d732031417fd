"""Films and animations through PyAV, streamed: a frame is encoded as soon as it is made.

A film is coded in pieces of `PIECE` frames, each by an encoder of its own, so that several workers can code one film to the same bytes.
PyAV is used directly, not through imageio's plugin for it, which offers no way to set the encoder's options (quality,
threads) or the colour tags, and takes no packets that were coded elsewhere (docs/decisions/0009-films-through-pyav.md).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from genart import FilmWriter, Run, StageError

from . import budget
from .sound import Sound

if TYPE_CHECKING:
    from . import AssembleParams
    from .frames import Frames

#: Encoder threads of films up to so many pixels, and of larger ones. Not the machine's number of cores, on which the bytes of the film
#: would then depend; few for small ones, since what makes the frames wants the cores as well, and one where two are no faster.
THREADS, THREADS_LARGE = {128 * 128: 1, 512 * 512: 2}, 4
#: Frames are made and encoded by turns, this many bytes at a time: both want every core, and together each waits for the other's
#: threads (bench/walk.py).
TURN = 8 << 20
#: Frames of a film that one encoder codes: ten seconds, about as often as x264 sets a key frame anyway.
PIECE = 240
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


class Coded(NamedTuple):
    """A coded frame.

    Attributes:
        data: its bytes.
        pts: number of the frame in the film.
        dts: its place in the order of decoding, on the same scale.
        key: a player can begin with it.
    """

    data: bytes
    pts: int
    dts: int
    key: bool


class Look(NamedTuple):
    """What all frames of a film have in common: FFmpeg's name of how pixels are stored, and pixels."""

    pixel_format: str
    width: int
    height: int


class Film:
    """A file into which coded frames are written, and the sound that goes with them.

    Args:
        codec: what coded them.
        path: the file.
        rate: frames per second.
        look: of the frames.
        params: of the stage.
        run: told where the sound is too short.

    Raises:
        DataError: if the sound cannot be read.
    """

    def __init__(self, codec: Codec, path: Path, rate: Fraction, look: Look, params: AssembleParams, run: Run) -> None:
        self.rate, self.run, self.count = rate, run, 0
        with ExitStack() as stack:
            self._container = stack.enter_context(_opened(codec, path, codec.container_options))
            self._stream = self._container.add_stream(codec.name, rate=rate, options=codec.encoder_options(params.quality))
            _set_up(self._stream.codec_context, codec, look)  # codes nothing, but knows what the container says of the codec
            self._sound: Sound | None = None
            if params.audio is not None:
                self._sound = stack.enter_context(Sound(params.audio, self._container, str(codec.audio)))
            with _unhurried():
                self._container.start_encoding()
            self._stack = stack.pop_all()

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, coded: Iterable[Coded]) -> None:
        """Write coded frames, in the order of decoding."""
        for frame in coded:
            packet = av.Packet(frame.data)
            packet.pts, packet.dts, packet.duration, packet.time_base = frame.pts, frame.dts, 1, 1 / self.rate
            packet.is_keyframe, packet.stream = frame.key, self._stream
            self._container.mux(packet)
            self.count += 1
            if self._sound is not None:
                self._sound.write_until(float(self.count / self.rate))

    def end(self) -> None:
        """Write what is left of the sound."""
        if self._sound is not None:
            self._sound.end(self.run, float(self.count / self.rate))


def write_film(codec: Codec, frames: Frames, path: Path, params: AssembleParams, run: Run, limit: int | None = None) -> tuple[float, int]:
    """Encode the frames as they come.

    Returns:
        Frames per second, and the number of frames written.

    Raises:
        DataError: if there are no frames, they differ in size, or the sound cannot be read.
        budget.TooLarge: as soon as more than `limit` bytes are written.
    """
    rate = rate_of(frames.fps)
    shown = watched(by_turns(frames.shown()), frames.count, run, path=path, limit=limit)
    first = to_frame(codec, next(shown))
    with Film(codec, path, rate, look_of(first), params, run) as film:
        coming = itertools.chain([first], (to_frame(codec, pixels) for pixels in shown))
        film.add(coded(codec, coming, 0, rate, params.quality))
        film.end()
        return frames.fps, film.count


def coded(codec: Codec, frames: Iterable[av.VideoFrame], start: int, rate: Fraction, quality: int | None) -> Iterator[Coded]:
    """Code the frames of a film as they come, piece by piece.

    Args:
        codec: to code them with.
        frames: from the beginning of a piece on.
        start: number of the first.
        rate: frames per second.
        quality: constant rate factor, or None for the codec's default.
    """
    coming = iter(frames)
    while (first := next(coming, None)) is not None:
        encoder = _encoder(codec, rate, look_of(first), quality)
        for packet in _packets(encoder, itertools.chain([first], itertools.islice(coming, PIECE - 1)), rate):
            assert packet.pts is not None
            yield Coded(bytes(packet), start + packet.pts, start + (packet.pts if packet.dts is None else packet.dts), packet.is_keyframe)
        start += PIECE


def _packets(encoder: VideoCodecContext, frames: Iterable[av.VideoFrame], rate: Fraction) -> Iterator[av.Packet]:
    """Everything that an encoder makes of the frames of a piece."""
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, 1 / rate
        with _unhurried():
            packets = encoder.encode(frame)
        yield from packets
    yield from encoder.encode(None)


def write_animation(
    codec: Codec, frames: Frames, path: Path, params: AssembleParams, run: Run, limit: int | None = None
) -> tuple[float, int]:
    """Encode the frames of an animation as they come, by one encoder; see `write_film`."""
    rate, count = rate_of(frames.fps), 0
    options = {**codec.container_options, str(codec.plays): str(0 if params.loop == 0 else max(1, params.loop + 1))}  # 0 is for ever
    if codec.container == "apng":
        options["final_delay"] = str(1 / rate)
    with _opened(codec, path, options) as container:
        stream = container.add_stream(codec.name, rate=rate, options=codec.encoder_options(params.quality))
        for count, pixels in enumerate(watched(by_turns(frames.shown()), frames.count, run, path=path, limit=limit), 1):
            frame = to_frame(codec, pixels)
            if count == 1:
                _set_up(stream.codec_context, codec, look_of(frame))
            frame.pts, frame.time_base = count - 1, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return frames.fps, count


def rate_of(fps: float) -> Fraction:
    """Frames per second, as containers count them."""
    return Fraction(fps).limit_denominator(1001)


def look_of(frame: av.VideoFrame) -> Look:
    """What a frame has in common with all others of its film."""
    return Look(frame.format.name, frame.width, frame.height)


def watched(
    frames: Iterable[np.ndarray], total: int | None, run: Run, *, start: int = 0, path: Path | None = None, limit: int | None = None
) -> Iterator[np.ndarray]:
    """Hand frames on, tell of progress after each, and stop where the run is to, or the file has become too large.

    Args:
        frames: of a film, from some place on.
        total: how many the film has, if that is known.
        run: told.
        start: number of the first.
        path: what is being written.
        limit: bytes that it may have.

    Raises:
        budget.TooLarge: if it has more.
    """
    for count, pixels in enumerate(frames, start + 1):
        yield pixels
        run.progress(count, total, "frames")
        run.check()
        if path is not None:
            budget.check(path, limit)


@contextmanager
def _unhurried() -> Iterator[None]:
    """Keep to the priority that this process had.

    SVT-AV1, where it may (as root), begins by making its threads and the one that called it real-time ones (SCHED_FIFO, 99), beside
    which nothing else gets a core; they would stay so.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    if os.sched_getscheduler(0) != policy:
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(int(thread), policy, param)


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
            for pixels in watched(frames.shown(), frames.count, run, path=path, limit=limit):
                yield np.ascontiguousarray(pixels)
                count += 1
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


def _opened(codec: Codec, path: Path, options: dict[str, str]) -> OutputContainer:
    """Open the file of a film."""
    container = av.open(str(path), "w", format=codec.container, container_options=options)
    container.flags |= av.container.Flags.bitexact.value
    return container


def _encoder(codec: Codec, rate: Fraction, look: Look, quality: int | None) -> VideoCodecContext:
    """An encoder of one piece of a film."""
    context = VideoCodecContext.create(codec.name, "w")
    context.options, context.framerate, context.time_base = codec.encoder_options(quality), rate, 1 / rate
    context.flags |= Flags.global_header  # as all containers of films want it
    _set_up(context, codec, look)
    return context


def _set_up(context: VideoCodecContext, codec: Codec, look: Look) -> None:
    context.pix_fmt, context.width, context.height = look
    context.thread_count = next((count for most, count in THREADS.items() if look.width * look.height <= most), THREADS_LARGE)
    context.flags |= Flags.bitexact
    if codec.plays is None:
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


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
        return frame if wanted == source else frame.reformat(format=wanted, threads=1)
    return av.VideoFrame.from_ndarray(even(pixels), format=source).reformat(
        format=wanted,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        threads=1,  # starting others for each frame takes up to ten times as long as the work
    )
