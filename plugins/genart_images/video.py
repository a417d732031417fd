"""Frames out of a film, one after another, at a regular rate.

MP4, MOV, MKV and WebM are read through PyAV, GIF, WebP and APNG through Pillow, which knows their transparency. The kind is told by the
first bytes and is the only one that FFmpeg may take the file for, so that a playlist or a list of other files is never followed.

A film is passed over once for the times of its frames, without decoding where that can be helped; what to show when is decided from
these alone. A killed run therefore goes on with exactly the pictures that it would have given.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from PIL import Image, ImageFile

from genart import Batch, DataError, Run
from genart.nn.pictures import MAX_FILE_BYTES, Unreadable, Want, from_array, opener

#: Frames with more pixels than this are refused before one is decoded: 8K has 33 million.
MAX_PIXELS = 1 << 26
#: Bytes that may be read before the first frame: an hour of film has an index of about a megabyte.
MAX_HEADER_BYTES = 64 << 20
#: Frames per second beyond which a film's own rate is not believed.
MAX_FPS = 240.0
#: Frames beyond which a film's own length is not believed: eleven hours of 25 a second.
MAX_FRAMES = 1_000_000
#: A rate that the file states is believed if it is so near to the usual time between two frames; MKV rounds that to milliseconds.
RATE_TOLERANCE = 0.05
#: Bytes of pixels in one batch.
BATCH_BYTES = 4 << 20
#: Decoder threads: not the machine's number of cores, on which it might depend how far a damaged film is read.
THREADS = 2
#: Milliseconds that a frame of an animation is shown if it says 10 or less: so do browsers.
LEAST_MSEC, SHORT_MSEC = 10, 100
#: Milliseconds by which frames of a regular animation may differ: a GIF of 30 frames per second shows them for 30 and for 40.
ROUNDING_MSEC = 10

#: Seconds by which an MKV may end before it says, without being taken for damaged.
SHORTFALL_SEC = 0.25

#: FFmpeg's reader by the bytes from the fourth on (boxes of MP4 and MOV), or the first ones.
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
EBML = b"\x1a\x45\xdf\xa3"
#: What a file says of other files or addresses is never followed.
CLOSED = {"protocol_whitelist": "", "enable_drefs": "0", "use_absolute_path": "0"}

READ = "it reads MP4, MOV, MKV, WebM, GIF, animated WebP and APNG"


@dataclass(frozen=True)
class Timing:
    """When which frames are wanted.

    Attributes:
        start: seconds from the film's beginning.
        end: seconds from the film's beginning, or None for its end.
        fps: frames per second, or None for the film's own.
        every: of these, take each n-th.
        count: at most so many.
    """

    start: float = 0.0
    end: float | None = None
    fps: float | None = None
    every: int = 1
    count: int | None = None


@dataclass
class Timeline:
    """The times of a film's frames.

    Attributes:
        times: seconds from the first frame, ascending.
        last_sec: how long the last frame is shown.
        rates: frames per second as the file states them, the most trusted first.
        each_sec: seconds from one frame to the next where these are rounded; None where they are not.
    """

    times: np.ndarray
    last_sec: float
    rates: Sequence[float] = ()
    each_sec: float | None = None

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.times[-1]) + self.last_sec

    @property
    def interval(self) -> float:
        """Seconds from one frame to the next, usually."""
        if self.each_sec is not None:
            return self.each_sec
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else self.last_sec

    @property
    def fps(self) -> float:
        """The film's own rate: as stated, if its frames bear it out; of a film with pauses, the rate while it moves."""
        usual = 1 / max(self.interval, 1 / MAX_FPS)
        return next((rate for rate in self.rates if rate and abs(rate / usual - 1) < RATE_TOLERANCE), round(usual, 3))


class Film(Protocol):
    """A film of any kind."""

    #: why its end is missing, once that is known
    damage: str | None
    #: what its viewer should know
    note: str | None

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown."""

    def frames(self, first: int) -> Iterator[tuple[int, Any]]:
        """Yield (index, frame) from frame `first` on, or a little earlier; the index counts the timeline's."""

    def picture(self, frame: Any) -> np.ndarray:
        """Bring a frame to an upright sRGB picture, (H, W, 3 or 4) uint8."""


def read_video(
    run: Run,
    path: Path,
    timing: Timing,
    *,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
    background: str = "#ffffff",
    keep_alpha: bool = False,
) -> Iterator[Batch]:
    """Yield the frames of a film, from picture `run.start` on.

    Args:
        run: told of the number of frames, of their rate, and of damage.
        path: a film.
        timing: which frames.
        size: width and height to bring each frame to; None keeps the film's own.
        fit: "crop", "letterbox", "pad" or "stretch".
        background: "#rrggbb" behind transparency and in what is padded.
        keep_alpha: give RGBA.

    Raises:
        DataError: if it is no film, nothing of it can be read, or it has ended before `timing.start`.
    """
    try:
        film = open_film(path)
        timeline = film.timeline
        wanted = frames_shown(timeline, timing)
    except Unreadable as error:
        raise DataError(f"{path}: {error}", READ) from error
    fps = timing.fps or timeline.fps
    if len(wanted) == 0:
        raise DataError(f"{path.name} lasts {timeline.duration:.4g} s; it has ended at {timing.start:.4g} s", "give an earlier `start`")
    run.expect(len(wanted), fps / timing.every)
    done, want = run.start, Want(size, fit, background, keep_alpha)
    with closing(shown(film, wanted[run.start :], want)) as pictures:
        for batch in _batches(pictures, path.name, timeline):
            done += len(batch)
            yield batch
    if done == 0:
        raise DataError(f"{path}: no frame can be read: {film.damage}", READ)
    if film.damage or done < len(wanted):
        run.warn(
            f"{path.name}: {done} of {len(wanted)} frames were read, the rest is damaged or missing ({film.damage or 'it ends early'})"
        )
    if film.note:
        run.warn(f"{path.name}: {film.note}")


def frames_shown(timeline: Timeline, timing: Timing) -> np.ndarray:
    """Say which frame is on the screen at each regular moment: indices, ascending, repeated where a frame stays; none beyond the end."""
    fps = timing.fps or timeline.fps
    end = min(timeline.duration, timing.end if timing.end is not None else timeline.duration)
    if timing.start >= end:
        return np.zeros(0, np.int64)
    number = -(-max(1, round((end - timing.start) * fps)) // timing.every)
    number = min(number, timing.count or number)
    if number > MAX_FRAMES:
        raise Unreadable(f"{number:,} frames at {fps:g} a second, above the limit of {MAX_FRAMES:,}")
    moments = timing.start + timing.every * np.arange(number) / fps
    # a frame's time may be rounded up to just after its moment
    slack = 0.25 * min(1 / fps, timeline.interval)
    return np.maximum(np.searchsorted(timeline.times, moments + slack, side="right") - 1, 0)


def shown(film: Film, wanted: np.ndarray, want: Want) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield (index, picture (H, W, 3 or 4) uint8) of the wanted frames; ends early with the film. Holds two frames at a time."""
    if len(wanted) == 0:
        return
    frames = film.frames(int(wanted[0]))
    ahead = next(frames, None)
    held: tuple[int, Any] | None = None
    kept: tuple[int, np.ndarray] | None = None
    for index in wanted.tolist():
        while ahead is not None and ahead[0] <= index:
            held, ahead = ahead, next(frames, None)
        if held is None or (ahead is None and held[0] < index):
            return
        if kept is None or kept[0] != held[0]:
            kept = (held[0], from_array(film.picture(held[1]), want))
        yield index, kept[1]


def _batches(pictures: Iterable[tuple[int, np.ndarray]], name: str, timeline: Timeline) -> Iterator[Batch]:
    """Gather consecutive pictures of one size into batches of a bounded number of bytes."""
    held: list[tuple[int, np.ndarray]] = []
    for index, picture in chain(pictures, [(-1, np.empty(0, np.uint8))]):
        if held and (held[0][1].shape != picture.shape or len(held) * held[0][1].nbytes >= BATCH_BYTES):
            meta = [{"source": name, "time_sec": round(float(timeline.times[i]), 3)} for i, _ in held]
            yield Batch.from_array(np.stack([array for _, array in held]), meta)
            held = []
        held.append((index, picture))


def open_film(path: Path) -> Film:
    """Look at a file's first bytes and open it as what they say.

    Raises:
        Unreadable: if it is no film of a known kind.
    """
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise Unreadable("this is a folder; images.folder reads the pictures in it")
        if not stat.S_ISREG(info.st_mode):
            raise Unreadable("not a regular file")
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise Unreadable((error.strerror or "cannot be read").lower()) from error
    if head[4:8] in BOXES:
        return Streamed(path, "mov")
    if head.startswith(EBML):
        return Streamed(path, "matroska")
    if head.startswith((b"GIF8", b"\x89PNG", b"RIFF")) and opener(head) is not None:
        if info.st_size > MAX_FILE_BYTES:  # Pillow takes a WebP into memory whole
            raise Unreadable(f"{info.st_size >> 20} MB, above the limit of {MAX_FILE_BYTES >> 20}")
        return Animation(path)
    raise Unreadable("empty file" if not head else "not a film")


class _Counted:
    """A file of which no more than so many bytes may be read until `free` is called."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left: float = MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise Unreadable(f"its header is larger than {MAX_HEADER_BYTES >> 20} MB")
        return self._file.read(size)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def free(self) -> None:
        self._left = float("inf")


@dataclass
class Streamed:
    """A film that FFmpeg reads.

    Args:
        path: the file.
        format: FFmpeg's name of its container.
    """

    path: Path
    format: str
    damage: str | None = field(default=None, init=False)
    note: str | None = field(default=None, init=False)
    _aspect: float = field(default=1.0, init=False)

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        try:
            with open(self.path, "rb") as file:
                counted = _Counted(file)
                with av.open(counted, "r", format=self.format, container_options=CLOSED, metadata_errors="replace") as container:
                    counted.free()
                    yield container, self._stream(container)
        except av.FFmpegError as error:
            raise Unreadable(_reason(error)) from error

    def _stream(self, container: InputContainer) -> VideoStream:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise Unreadable("there are no pictures in this film")
        if stream.codec_context is None:
            raise Unreadable("its pictures are in a format that is not known here")
        self._aspect = float(stream.sample_aspect_ratio or 1)
        self._check_size(stream.codec_context.width, stream.codec_context.height)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = THREADS
        return stream

    def _width(self, width: int) -> int:
        """Width in pixels of a frame of so many columns, whose pixels need not be square."""
        return max(1, round(width * self._aspect))

    def _check_size(self, width: int, height: int) -> None:
        width = self._width(width)
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width}x{height} is {width * height / 1e6:,.0f} megapixels, above the limit of {MAX_PIXELS / 1e6:.0f}")

    @cached_property
    def _shown(self) -> tuple[np.ndarray, Timeline]:
        """Presentation times of all frames in the stream's units, ascending, and the timeline; from the packets, none is decoded."""
        with self._open() as (container, stream):
            stamps, durations = array("q"), array("q")
            for packet in self._packets(container, stream):
                stamps.append(packet.pts)
                durations.append(packet.duration or 0)
            unit = float(stream.time_base or 0)
            if not stamps or not unit:
                raise Unreadable(self.damage or "there are no pictures in this film")
            times, last = np.unique(stamps), durations[int(np.argmax(stamps))] * unit
            rates = [float(rate) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
        seconds = (times - times[0]) * unit
        usual = Timeline(seconds, 1 / rates[0] if rates else 1 / 25, rates).interval
        return times, Timeline(seconds, last or usual, rates)

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
        """Yield the packets of frames that are shown; note if fewer are there, or the sound ends earlier, than the file says."""
        number, seconds = 0, 0.0
        try:
            for packet in container.demux():
                if packet.pts is None or not packet.size:  # the last one of a stream is empty
                    continue
                seconds = max(seconds, float((packet.pts + (packet.duration or 0)) * (packet.time_base or 0)))
                if packet.stream_index == stream.index:
                    number += 1
                    if not packet.is_discard:
                        yield packet
        except av.FFmpegError as error:
            self.damage = _reason(error)
        if number < stream.frames:  # MP4 and MOV list their frames
            self.damage = f"of {stream.frames} frames that it lists {number} are there"
        elif self.format == "matroska" and container.duration and seconds < container.duration / av.time_base - SHORTFALL_SEC:
            self.damage = f"it says that it lasts {container.duration / av.time_base:.4g} s, and ends after {seconds:.4g}"

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown."""
        return self._shown[1]

    def frames(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (index, frame) from frame `first` on, as far as the film is whole."""
        times = self._shown[0]
        try:
            with self._open() as (container, stream):
                if first:
                    container.seek(int(times[first]), stream=stream)
                for frame in container.decode(stream):
                    if frame.pts is None or frame.pts < times[first]:
                        continue
                    if frame.is_corrupt:
                        raise Unreadable("a frame is damaged")
                    self._check_size(frame.width, frame.height)
                    yield int(np.searchsorted(times, frame.pts)), frame
        except Unreadable as error:
            self.damage = str(error)

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """Bring a frame to RGB by its matrix and range, to square pixels, and turn it upright."""
        if frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
            self.note = "its brightness has a high dynamic range (HDR), which is not brought to sRGB: it looks flat"
        transparent = any(component.is_alpha for component in frame.format.components)
        rgb = frame.reformat(
            width=self._width(frame.width),
            format="rgba" if transparent else "rgb24",
            src_colorspace=matrix(frame),
            src_color_range=ColorRange.JPEG if full_range(frame) else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), frame.rotation // 90))


def _reason(error: av.FFmpegError) -> str:
    return f"damaged ({error.strerror or type(error).__name__})".lower()


def matrix(frame: av.VideoFrame) -> Colorspace:
    """The matrix from YUV to RGB; of a film that names none, BT.709 from 720 lines on and BT.601 below, as players take it."""
    known = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M, 4: Colorspace.FCC}
    known |= {9: Colorspace.BT2020, 10: Colorspace.BT2020}
    return known.get(frame.colorspace, Colorspace.ITU709 if min(frame.width, frame.height) >= 720 else Colorspace.ITU601)


def full_range(frame: av.VideoFrame) -> bool:
    """True if black is 0 and white 255, rather than 16 and 235."""
    return bool(frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj") or frame.format.is_rgb)


def _ends_whole(path: Path) -> bool:
    """False for a GIF that lacks its last byte; Pillow shows what there is of it."""
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(-1, os.SEEK_END)
        return head != b"GIF8" or file.read() == b";"


@dataclass
class Animation:
    """A film that Pillow reads: GIF, WebP or APNG."""

    path: Path
    damage: str | None = field(default=None, init=False)
    note: str | None = field(default=None, init=False)

    @contextmanager
    def _open(self) -> Iterator[ImageFile.ImageFile]:
        with open(self.path, "rb") as file:
            kind = opener(file.peek(16)[:16])
            assert kind is not None
            try:
                picture = kind(file)
                width, height = picture.size
                moving = width * height <= MAX_PIXELS and getattr(picture, "is_animated", False)  # a GIF is looked through for it
            except Exception as error:  # Pillow's readers raise nearly anything on damaged files
                raise Unreadable("damaged") from error
            with picture:
                if width * height > MAX_PIXELS:
                    raise Unreadable(f"{width}x{height} is above the limit of {MAX_PIXELS / 1e6:.0f} megapixels")
                if not moving:
                    raise Unreadable("this is a still picture; images.folder reads it")
                yield picture

    @cached_property
    def timeline(self) -> Timeline:
        """When its frames are shown; they have to be decoded for it."""
        shown_msec = [frame.info.get("duration", 0) for _, frame in self._decoded()]
        if self.damage is None and not _ends_whole(self.path):
            self.damage = "it ends early"
        if not shown_msec:
            raise Unreadable(self.damage or "there are no pictures in this film")
        msec = np.array([SHORT_MSEC if msec <= LEAST_MSEC else msec for msec in shown_msec])
        alike = msec[np.abs(msec - np.sort(msec)[len(msec) // 2]) <= ROUNDING_MSEC]
        seconds = msec / 1000
        return Timeline(np.concatenate([[0.0], np.cumsum(seconds)[:-1]]), float(seconds[-1]), each_sec=float(alike.mean()) / 1000)

    def _decoded(self) -> Iterator[tuple[int, ImageFile.ImageFile]]:
        with self._open() as picture:
            skip = int(bool(getattr(picture, "default_image", False)))  # a picture for viewers that know no APNG
            for index in count(skip):
                try:
                    picture.seek(index)
                    picture.load()
                except EOFError:
                    return
                except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
                    self.damage = f"damaged ({type(error).__name__})"
                    return
                yield index - skip, picture

    def frames(self, first: int) -> Iterator[tuple[int, Image.Image]]:
        """Yield (index, picture) from frame `first` on; those before it are decoded too, since each one changes the one before."""
        for index, picture in self._decoded():
            if index >= first:
                yield index, picture.convert("RGBA" if picture.has_transparency_data else "RGB")

    def picture(self, frame: Image.Image) -> np.ndarray:
        """The pixels of the frame, which is a picture already."""
        return np.asarray(frame)
