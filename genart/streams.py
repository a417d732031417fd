"""Pictures in a pipe: PNGs one after another, or YUV4MPEG2 (Y4M), read and written a frame at a time.

A stream of PNGs is whole PNGs and nothing between them. The iTXt chunk `genart` of each holds what a saved PNG's does, and beside it
`index`, and `count` and `fps` where they are known. A frame is held to its end before it is decoded, and nothing of it that its pixels do
not need reaches the decoder; no more of a stream is in memory than that one frame.

Y4M knows no transparency and no metadata. Its frames are taken, and written, as BT.709 from 720 lines on and as BT.601 below, which is how
players take them; limited range unless the header says XCOLORRANGE=FULL. It is written as C444.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from . import tags
from .artifacts import Batch, Meta
from .errors import DataError, printable
from .provenance import with_provenance

if TYPE_CHECKING:
    import numpy as np

PNG, Y4M = b"\x89PNG\r\n\x1a\n", b"YUV4MPEG2"
#: Bytes that are read at once, at most: a chunk that claims to be long costs no memory that is not sent.
PIECE = 1 << 20
#: Bytes of the header line of Y4M, and of a frame in it.
MAX_LINE = 1024
#: Characters of a frame's provenance; that of ten stages has 20,000.
MAX_TEXT = 1 << 18
#: Stages before this one whose provenance a picture keeps.
MAX_ORIGIN = 32
#: Counts and rates beyond these are not believed.
MAX_COUNT, MAX_FPS = 10**9, 240.0

#: Planes of Y4M by its colour space: FFmpeg's name, and by what the sides of the colour planes are divided.
PLANES = {
    "mono": ("gray", None),
    "444": ("yuv444p", (1, 1)),
    "422": ("yuv422p", (2, 1)),
    "420": ("yuv420p", (2, 2)),
    "420jpeg": ("yuv420p", (2, 2)),
    "420mpeg2": ("yuv420p", (2, 2)),
    "420paldv": ("yuv420p", (2, 2)),
}
#: Chunks of a PNG that its pixels need.
NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf", b"IDAT", b"IEND"}
#: Colour types of a PNG that have an alpha channel.
WITH_ALPHA = (4, 6)


class Bytes:
    """A pipe, read in order; what comes next can be looked at first.

    Args:
        read: called with a number of bytes, returns as many or fewer, and none at the end.
        name: how messages call the pipe.
    """

    def __init__(self, read: Callable[[int], bytes], name: str = "standard input") -> None:
        self.name = name
        self._read = read
        self._held = b""
        self._place = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end."""
        parts, missing = [], count
        while missing:
            if self._place == len(self._held):
                self._held, self._place = self._read(PIECE), 0
                if not self._held:
                    break
            part = self._held[self._place : self._place + missing]
            self._place += len(part)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end, and leave them there."""
        if len(self._held) - self._place < count:
            ahead = self.take(count)
            self._held, self._place = ahead + self._held[self._place :], 0
        return self._held[self._place : self._place + count]

    def line(self, limit: int) -> bytes:
        """Return what comes before the next line break, and pass it; what is cut off by the end, or by `limit`, ends in no line break."""
        found = bytearray()
        while len(found) < limit and (one := self.take(1)):
            found += one
            if one == b"\n":
                break
        return bytes(found)

    def copy_to(self, file: BinaryIO) -> None:
        """Write all that comes into a file."""
        while piece := self.take(PIECE):
            file.write(piece)


@dataclass
class Pictures:
    """What comes out of a pipe.

    Attributes:
        batches: pictures, one by one, to be read once.
        count: how many there will be, if the first one says so.
        fps: frames per second, if it is a film.
        notes: what people should know of how the stream is read.
    """

    batches: Iterator[Batch]
    count: int | None = None
    fps: float | None = None
    notes: list[str] = field(default_factory=list)


def read_pictures(source: Bytes, warn: Callable[[str], None]) -> Pictures:
    """Read a stream of pictures; its first bytes say of which form it is.

    Args:
        source: the stream.
        warn: told of metadata that cannot be read; the pictures are read all the same.

    Raises:
        DataError: if it is empty, of another form, or begins with a frame that can't be read. Later frames raise it when they are reached.
    """
    head = source.peek(len(Y4M))
    if not head:
        raise nothing_in(source)
    if head == Y4M:
        return _read_y4m(source)
    if not head.startswith(PNG):
        raise DataError(f"{source.name} is neither PNG nor Y4M", "other pictures and films are read from files: -i PATH")
    frames = _read_pngs(source, warn)
    first, told = next(frames)
    rest = (batch for batch, _ in frames)
    return Pictures(itertools.chain([first], rest), told.count, told.fps)


def nothing_in(source: Bytes) -> DataError:
    """The error for an empty stream."""
    return DataError(f"{source.name} is empty", "whatever writes into the pipe wrote nothing")


# PNG


@dataclass(frozen=True)
class Told:
    """What the chunk `genart` of a frame says: its place in the stream, and of its picture what travels with it."""

    index: int | None = None
    count: int | None = None
    fps: float | None = None
    meta: Meta = field(default_factory=dict)


def _read_pngs(source: Bytes, warn: Callable[[str], None]) -> Iterator[tuple[Batch, Told]]:
    """Yield every picture with what it says of itself.

    Raises:
        DataError: for a frame that is cut off or damaged, or if there are fewer frames than the first one said.
    """
    from .nn.pictures import Unreadable, Want, decode_bytes

    warned, missing, wanted = False, 0, 0
    for number in itertools.count():
        if not source.peek(1):
            break
        frame = _next_png(source, number)
        told = _read_text(frame.text) if frame.text is not None else Told()
        if told is None:
            if not warned:
                warn(f"picture {number + 1} of {source.name} says of itself what genart does not write; such metadata are left out")
            warned, told = True, Told()
        if told.index == 0:
            if missing:
                break
            missing = wanted = told.count or 0
        missing = max(0, missing - 1)
        try:
            array = decode_bytes(frame.data, Want(keep_alpha=frame.transparent))
        except Unreadable as error:
            raise DataError(f"{_place(source, number)} is {error}") from error
        yield Batch.from_array(array[None], [told.meta], start=number), told
    if missing:
        raise DataError(
            f"{source.name} ended after {wanted - missing} of {wanted} pictures", "whatever writes into the pipe was stopped or failed"
        )


def _place(source: Bytes, number: int) -> str:
    return f"picture {number + 1} of {source.name}"


@dataclass(frozen=True)
class _Frame:
    """One PNG of a stream: the chunks that its pixels need, the body of its chunk `genart`, and whether it has transparency."""

    data: bytes
    text: bytes | None
    transparent: bool


def _next_png(source: Bytes, number: int) -> _Frame:
    """Take one PNG out of a stream, chunk by chunk, each checked before the next is read.

    Raises:
        DataError: if it is none, cut off, damaged, or beyond the limits.
    """
    where = _place(source, number)
    if source.take(len(PNG)) != PNG:
        raise DataError(f"{where} is no PNG", "only PNGs may follow one another in a pipe")
    parts, text, transparent = [PNG], None, False
    for kind, body, raw in _chunks(source, where):
        if kind == b"IHDR":
            transparent = body[9] in WITH_ALPHA
        transparent = transparent or kind == b"tRNS"
        if kind == b"iTXt" and body.startswith(tags.KEYWORD + b"\0"):
            text = body
        if kind in NEEDED:
            parts += raw
    return _Frame(b"".join(parts), text, transparent)


def _chunks(source: Bytes, where: str) -> Iterator[tuple[bytes, bytes, tuple[bytes, bytes]]]:
    """Yield (type, body, bytes as they stood) of the chunks of a PNG to its end."""
    from .nn.pictures import MAX_FILE_BYTES

    size, first, kind = len(PNG), True, b""
    while kind != b"IEND":
        head = source.take(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        size += length + 12
        if size > MAX_FILE_BYTES:
            raise DataError(f"{where} is above the limit of {MAX_FILE_BYTES >> 20} MB")
        rest = source.take(length + 4) if len(head) == 8 else b""
        if len(rest) < length + 4 or not kind:
            raise DataError(f"{where} is cut off", "whatever writes into the pipe was stopped or failed")
        body = rest[:-4]
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(rest[-4:], "big"):
            raise DataError(f"{where} is damaged (checksum of its chunk {kind.decode('ascii', 'replace')!r})")
        if first:
            _check_header(kind, body, where)
        elif kind == b"IHDR":
            raise DataError(f"{where} is damaged (it has two headers)")
        first = False
        yield kind, body, (head, rest)


def _check_header(kind: bytes, body: bytes, where: str) -> None:
    from .nn.pictures import MAX_PIXELS

    if kind != b"IHDR" or len(body) != 13:
        raise DataError(f"{where} is damaged (it begins without a header)")
    width, height = struct.unpack(">II", body[:8])
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: {width}x{height} is above the limit of {MAX_PIXELS / 1e6:.0f} megapixels")


def _read_text(body: bytes) -> Told | None:
    """Read the body of a chunk `genart`; None if it is not what genart writes.

    What comes of it is data from a stranger: sizes and forms are bounded, and no stage is told more than a picture's own metadata.
    """
    try:
        about = json.loads(tags.itxt(body, MAX_TEXT) or "", parse_constant=_refuse)
        picture = dict(about.pop("picture", {}))
        index, count, fps, _, _ = (about.pop(name, None) for name in ("index", "count", "fps", "content", "seal"))
        origin = [*picture.pop("origin", []), about]
        if not all(isinstance(step, dict) for step in origin):
            return None
        picture["origin"] = origin[-MAX_ORIGIN:]
    except (tags.Damaged, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Told(_whole(index, 0), _whole(count, 1), _rate(fps), picture)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _whole(value: Any, least: int) -> int | None:
    return value if type(value) is int and least <= value <= MAX_COUNT else None


def _rate(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) and 0 < value <= MAX_FPS else None


class Writer(Protocol):
    """Writes pictures into a pipe."""

    def write(self, batch: Batch, about: dict[str, Any]) -> None:
        """Write the pictures of a batch.

        Args:
            batch: of any number of pictures.
            about: their provenance; `count` and `fps` are those of the stream.
        """


class PngWriter:
    """Writes PNGs one after another, each with its provenance; not packed, which costs more time than it saves in a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, batch: Batch, about: dict[str, Any]) -> None:
        """Write the pictures of a batch."""
        for index, array, meta in zip(batch.index, batch.array, batch.meta, strict=True):
            self._file.write(with_provenance(io.BytesIO(unpacked_png(array)), {**about, "picture": meta, "index": index}))
            self._file.flush()


def unpacked_png(array: np.ndarray) -> bytes:
    """(H, W, 3 or 4) uint8 as a PNG neither packed nor filtered. Pillow tries every filter on each row: that takes ten times as long."""
    import numpy as np

    height, width, channels = array.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # the first byte of a row names its filter: none
    rows[:, 1:] = array.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 0)), (b"IEND", b""))
    return PNG + b"".join(tags.chunk(kind, data) for kind, data in parts)


# Y4M


@dataclass(frozen=True)
class _Y4m:
    """Header of a Y4M stream."""

    width: int
    height: int
    planes: str
    fps: float | None
    full_range: bool

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Height and width of each plane."""
        divided = PLANES[self.planes][1]
        if divided is None:
            return [(self.height, self.width)]
        across, down = divided
        colour = (-(-self.height // down), -(-self.width // across))
        return [(self.height, self.width), colour, colour]

    @property
    def matrix(self) -> str:
        """Name of the matrix between YUV and RGB, which Y4M does not say."""
        return matrix_of(self.width, self.height)


def matrix_of(width: int, height: int) -> str:
    """The matrix that players take for a film that names none."""
    return "BT.709" if min(width, height) >= 720 else "BT.601"


def _read_y4m(source: Bytes) -> Pictures:
    head = _y4m_header(source)
    extent = "full" if head.full_range else "limited"
    note = f"Y4M names no colour matrix: read as {head.matrix}, {extent} range"
    frames = _y4m_frames(source, head)
    first = next(frames, None)
    if first is None:
        raise DataError(
            f"{source.name} ends after its Y4M header, before the first picture", "whatever writes into the pipe was stopped or failed"
        )
    return Pictures(itertools.chain([first], frames), None, head.fps, [note] if head.planes != "mono" else [])


def _y4m_header(source: Bytes) -> _Y4m:
    """Read the first line.

    Raises:
        DataError: if it is no header of Y4M, or of pictures that are not read.
    """
    from .nn.pictures import MAX_PIXELS

    line = source.line(MAX_LINE)
    where = f"the Y4M header of {source.name}"
    if not line.endswith(b"\n"):
        raise DataError(f"{where} is cut off or longer than {MAX_LINE} bytes")
    words = line.decode("ascii", "replace").split()[1:]
    told = {word[0]: word[1:] for word in words if word[0] != "X"}
    extras = [word for word in words if word[0] == "X"]
    sides = [told.get(name, "") for name in "WH"]
    if not all(re.fullmatch(r"[1-9]\d{0,5}", side) for side in sides):
        raise DataError(f"{where} says no width and height", "it must begin like YUV4MPEG2 W640 H360 F25:1")
    width, height = map(int, sides)
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: {width}x{height} is above the limit of {MAX_PIXELS / 1e6:.0f} megapixels")
    planes = told.get("C", "420jpeg")
    if planes not in PLANES:
        raise DataError(f"{where}: C{printable(planes[:20])} is not read", f"ffmpeg -pix_fmt yuv444p; it reads C{', C'.join(PLANES)}")
    full = "XCOLORRANGE=FULL" in extras or (planes == "mono" and "XCOLORRANGE=LIMITED" not in extras)
    return _Y4m(width, height, planes, _y4m_rate(told.get("F", "")), full)


def _y4m_rate(text: str) -> float | None:
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    return _rate(int(match[1]) / int(match[2])) if match and int(match[2]) else None


def _y4m_frames(source: Bytes, head: _Y4m) -> Iterator[Batch]:
    size = sum(height * width for height, width in head.sides)
    for number in itertools.count():
        line = source.line(MAX_LINE)
        if not line:
            return
        if not re.match(rb"FRAME[ \n]", line):
            raise DataError(f"{_place(source, number)} does not begin with FRAME", "its size may not be what the Y4M header says")
        data = source.take(size)
        if len(data) < size or not line.endswith(b"\n"):
            raise DataError(f"{_place(source, number)} is cut off", "whatever writes into the pipe was stopped or failed")
        yield Batch.from_array(_to_rgb(data, head)[None], [{}], start=number)


def _to_rgb(data: bytes, head: _Y4m) -> np.ndarray:
    """Bring the planes of a frame to RGB, (H, W, 3) uint8, by swscale."""
    import av
    import numpy as np

    planes, place = [], 0
    for height, width in head.sides:
        planes.append(np.frombuffer(data, np.uint8, height * width, place).reshape(height, width))
        place += height * width
    if head.planes == "mono":
        grey = planes[0] if head.full_range else np.rint((planes[0].astype(np.float32) - 16) * (255 / 219)).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    frame = av.VideoFrame(head.width, head.height, PLANES[head.planes][0])
    for plane, given in zip(frame.planes, planes, strict=True):
        rows = np.zeros((len(given), plane.line_size), np.uint8)
        rows[:, : given.shape[1]] = given
        plane.update(rows)
    array: np.ndarray = _reformatted(frame, "rgb24", head, to_yuv=False).to_ndarray()
    return array


def _reformatted(frame: Any, form: str, head: _Y4m, *, to_yuv: bool) -> Any:
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    yuv = ColorRange.JPEG if head.full_range else ColorRange.MPEG
    space = {"BT.709": Colorspace.ITU709, "BT.601": Colorspace.ITU601}[head.matrix]
    return frame.reformat(
        format=form,
        src_colorspace=space,
        dst_colorspace=space,
        src_color_range=ColorRange.JPEG if to_yuv else yuv,
        dst_color_range=yuv if to_yuv else ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    )


class Y4mWriter:
    """Writes Y4M: C444, limited range, 25 frames per second where the stream has no rate of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head: _Y4m | None = None

    def write(self, batch: Batch, about: dict[str, Any]) -> None:
        """Write the pictures of a batch.

        Raises:
            DataError: if they have transparency, or another size than those before them.
        """
        import av
        import numpy as np

        height, width, channels = batch.array.shape[1:]
        if channels != 3:
            raise DataError("Y4M knows no transparency", "leave --y4m out: PNGs keep it")
        if self._head is None:
            self._head = self._begin(width, height, about.get("fps") or 25.0)
        head = self._head
        if (width, height) != (head.width, head.height):
            raise DataError(
                f"picture {batch.start + 1} has {width}x{height} pixels, and those before it {head.width}x{head.height}",
                "all frames of Y4M have one size: leave --y4m out, or apply images.resize first",
            )
        for array in batch.array:
            frame = _reformatted(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), "rgb24"), "yuv444p", head, to_yuv=True)
            rows = [np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, :width] for plane in frame.planes]
            self._file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in rows))
            self._file.flush()

    def _begin(self, width: int, height: int, fps: float) -> _Y4m:
        rate = Fraction(fps).limit_denominator(1001)
        self._file.write(f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C444 XCOLORRANGE=LIMITED\n".encode())
        return _Y4m(width, height, "444", fps, full_range=False)
