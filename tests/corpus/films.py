"""Films: 40 files of MOV and Matroska, put together box by box; their frames are grey JPEGs."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

from .case import Case, Expected
from .jpeg import frame, jpeg, scan
from .png import png
from .still import END, control, image, screen

Found = Iterator[tuple[str, Expected, bytes, str]]
FRAME = jpeg()


def box(kind: bytes, *parts: bytes, size: int | None = None) -> bytes:
    """A box, however wrong."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def full(kind: bytes, *parts: bytes) -> bytes:
    """A box with a version and flags."""
    return box(kind, bytes(4), *parts)


MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
FTYP = box(b"ftyp", b"qt  \0\0\0\0qt  ")


def mov(
    frames: Sequence[bytes] = (FRAME,) * 4,
    *,
    size: tuple[int, int] = (32, 32),
    units: int = 600,
    delays: Sequence[tuple[int, int]] | None = None,
    listed: int | None = None,
    lengths: Sequence[int] | None = None,
    place: int | None = None,
    codec: bytes = b"jpeg",
    handler: bytes = b"vide",
    data_first: bool = True,
    reference: bytes = b"",
) -> bytes:
    """A MOV of these frames, however wrong."""
    data = box(b"mdat", *frames)
    delays = [(len(frames), 60)] if delays is None else delays
    lengths = [len(one) for one in frames] if lengths is None else lengths
    start = len(FTYP) + 8 if place is None else place
    width, height = size
    entry = box(
        codec, bytes(6), b"\0\1", bytes(16), struct.pack(">HHIIIH", width, height, 0x480000, 0x480000, 0, 1), bytes(32), b"\0\x18\xff\xff"
    )
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), entry),
        full(b"stts", struct.pack(">I", len(delays)), *(struct.pack(">II", *delay) for delay in delays)),
        full(b"stsc", struct.pack(">IIII", 1, 1, max(1, len(lengths)), 1)),
        full(b"stsz", struct.pack(">II", 0, len(lengths) if listed is None else listed), *(struct.pack(">I", one) for one in lengths)),
        full(b"stco", struct.pack(">II", 1, start)),
    )
    length = sum(count * delay for count, delay in delays) & 0xFFFFFFFF
    sources = box(b"dinf", full(b"dref", struct.pack(">I", 1), reference or box(b"url ", b"\0\0\0\1")))
    media = box(
        b"mdia",
        full(b"mdhd", struct.pack(">IIIIHH", 0, 0, units, length, 0, 0)),
        full(b"hdlr", b"mhlr" + handler + bytes(13)),
        box(b"minf", box(b"vmhd", b"\0\0\0\1" + bytes(8)), sources, table),
    )
    track = full(b"tkhd", struct.pack(">5I", 0, 0, 1, 0, length), bytes(16), MATRIX, struct.pack(">II", width << 16, height << 16))
    moov = box(
        b"moov",
        full(b"mvhd", struct.pack(">4I", 0, 0, 600, length), bytes(16), MATRIX, bytes(24), struct.pack(">I", 2)),
        box(b"trak", track, media),
    )
    return FTYP + (data + moov if data_first else moov + data)


def cases() -> Iterator[Case]:
    """All of them."""
    for number, (name, expected, content, suffix) in enumerate(itertools.chain(_cuts(), _lies(), _others(), _moving())):
        yield Case("video", name, f"v{number:02d}.{suffix}", expected, content, "film")


def _cuts() -> Found:
    whole, index_first = mov(), mov(data_first=False)
    yield "as it should be", "ok", whole, "mov"
    yield "nothing", "data", b"", "mp4"
    for at in (4, 12, len(FTYP), len(FTYP) + 8, len(FTYP) + 500, len(FTYP) + 4 * len(FRAME) + 8, len(whole) - 300):
        yield f"cut at {at}", "data", whole[:at], "mp4"
    start = len(index_first) - 4 * len(FRAME)
    yield "cut in its third frame", "ok", mov(data_first=False, place=start)[: start + 2 * len(FRAME) + 50], "mp4"
    yield "cut in its first frame", "data", mov(data_first=False, place=start)[: start + 20], "mp4"


def _lies() -> Found:
    large = jpeg(head=frame(64, 64), body=scan(64))
    yield "no frames", "data", mov(()), "mp4"
    yield "frames of no size", "data", mov(lengths=[0] * 4), "mp4"
    yield "frames of 4 GB", "data", mov(lengths=[0xFFFFFFF0] * 4), "mp4"
    yield "2 billion frames", "data", mov(listed=0x7FFFFFFF), "mp4"
    yield "frames beyond the file", "data", mov(place=0x7FFFFFFF), "mp4"
    yield "frames of rubbish", "data", mov([b"rubbish" * 40] * 4), "mp4"
    yield "frames of another size than it says", "ok", mov(size=(16, 16)), "mp4"
    yield "frames of two sizes", "ok", mov([FRAME, large, FRAME, large]), "mp4"
    yield "a track of 65,535x65,535", "ok", mov(size=(65535, 65535)), "mp4"  # its frames are small
    yield "a huge frame", "data", mov([jpeg(head=frame(65000, 65000))]), "mp4"
    yield "odd sizes", "ok", mov([jpeg(head=frame(31, 17), body=scan(12))] * 2, size=(31, 17)), "mp4"
    yield "frames at any time", "ok", mov(delays=[(1, 60), (1, 600), (1, 7), (1, 60)]), "mp4"
    yield "all frames at once", "either", mov(delays=[(4, 0)]), "mp4"
    yield "a million frames a second", "either", mov(units=1_000_000, delays=[(4, 1)]), "mp4"
    yield "a frame for a hundred years", "data", mov(units=1, delays=[(1, 0x7FFFFFFF), (3, 1)]), "mp4"
    yield "no time", "either", mov(units=0), "mp4"
    yield "an unknown coding", "data", mov(codec=b"evil"), "mp4"
    yield "only sound", "data", mov(handler=b"soun", codec=b"sowt"), "mp4"
    yield "frames in another file", "either", mov(reference=full(b"alis", bytes(200) + b"/etc/passwd")), "mp4"
    yield "a box of no end", "data", FTYP + box(b"moov", size=0), "mp4"
    yield "100,000 boxes in boxes", "data", FTYP + box(b"moov", b"") * 10_000 + b"\0\0\0\xffmoov" * 5000, "mp4"


def _others() -> Found:
    yield "a playlist", "data", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", "mp4"
    yield "a list of files", "data", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "mp4"
    yield "a page", "data", b"<!DOCTYPE html><html>", "webm"
    yield "a beginning of Matroska", "data", b"\x1a\x45\xdf\xa3", "webm"


def _moving() -> Found:
    yield "a GIF that stands still", "data", screen() + image() + END, "gif"
    yield "a GIF cut in its second frame", "ok", screen() + control() + image() + control() + image()[:15], "gif"
    yield "a PNG that stands still", "data", png(), "apng"
    yield "a GIF of a huge screen", "data", screen(65535, 65535) + control() + image() + control() + image() + END, "gif"
