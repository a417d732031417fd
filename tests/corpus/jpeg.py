"""JPEG: 110 files, put together segment by segment; all blocks are grey, two bits each."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

from .case import Case, Expected
from .png import ESC, tiff_of

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
EXIF = b"Exif\0\0"


def segment(marker: int, data: bytes = b"", *, size: int | None = None) -> bytes:
    """A segment, however wrong."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2 if size is None else size) + data


def frame(
    width: int = 32, height: int = 32, parts: int = 3, *, kind: int = 0xC0, bits: int = 8, sampling: int = 0x11, ids: bytes = b"\1\2\3\4\5"
) -> bytes:
    """The segment that says how large the picture is."""
    listed = b"".join(bytes([ids[i], sampling, 0]) for i in range(parts))
    return segment(kind, struct.pack(">BHHB", bits, height, width, parts) + listed)


def tables() -> bytes:
    """Quantisation all 1; the code 0 says both 'as before' and 'end of block'."""
    code = bytes([1]) + bytes(15) + b"\0"
    return segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, b"\0" + code) + segment(0xC4, b"\x10" + code)


def scan(blocks: int, parts: int = 3, ids: bytes = b"\1\2\3\4\5") -> bytes:
    """A scan of so many grey blocks of each part."""
    head = bytes([parts]) + b"".join(bytes([ids[i], 0]) for i in range(parts)) + b"\0\x3f\0"
    return segment(0xDA, head) + grey(blocks * parts)


def grey(blocks: int) -> bytes:
    """Coded blocks."""
    bits = 2 * blocks
    return bytes(bits // 8) + (bytes([0xFF >> bits % 8]) if bits % 8 else b"")


def jpeg(*more: bytes, parts: int = 3, head: bytes | None = None, body: bytes | None = None, first: bytes = segment(0xE0, JFIF)) -> bytes:
    """A JPEG with these segments in front."""
    head = frame(parts=parts) if head is None else head
    return SOI + first + b"".join(more) + tables() + head + (scan(16, parts) if body is None else body) + EOI


def progressive(width: int, height: int, scans: int) -> bytes:
    """A grey picture in many scans, each of which says in a few bytes that nothing changes."""
    blocks = -(-width // 8) * -(-height // 8)
    runs, rest = divmod(blocks, 32767)
    # a Huffman table with one code, 0: a run of 2**14 blocks and more without coefficients, followed by 14 bits
    code = segment(0xC4, b"\x10" + bytes([1]) + bytes(15) + b"\xe0")
    bits = "011111111111111" * runs + ("0" + format(rest - 16384, "014b") if rest >= 16384 else "")
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    again = code + segment(0xDA, b"\1\1\0\1\x3f\0") + data
    return SOI + segment(0xE0, JFIF) + tables() + frame(width, height, 1, kind=0xC2) + first + again * scans + EOI


def cases() -> Iterator[Case]:
    """All of them."""
    groups = (_cuts(), _ends(), _exif(), _colours(), _scans(), _kinds(), _sizes(), _restarts(), _beside())
    for number, (name, expected, content) in enumerate(itertools.chain.from_iterable(groups)):
        yield Case("JPEG", name, f"j{number:03d}.jpg", expected, content)


Found = Iterator[tuple[str, Expected, bytes]]


def _cuts() -> Found:
    pieces = [SOI, segment(0xE0, JFIF), segment(0xE1, EXIF + tiff_of()), segment(0xE2, b"ICC_PROFILE\0\1\1x"), segment(0xFE, b"words")]
    code = bytes([1]) + bytes(15) + b"\0"
    pieces += [segment(0xDB, b"\0" + b"\1" * 64), segment(0xDB, b"\1" + b"\1" * 64), frame(64, 64)]
    pieces += [segment(0xC4, b"\0" + code), segment(0xC4, b"\x10" + code), segment(0xC4, b"\1" + code), segment(0xC4, b"\x11" + code)]
    pieces += [scan(64)[:14], grey(192)]
    whole, places = b"", []
    for piece in pieces:
        whole += piece
        places += [len(whole), len(whole) + 1]
    whole += EOI
    for place in [*places, len(whole) - 30, len(whole) - 10]:
        yield f"cut at {place}", "skip" if place < len(whole) - 3 else "either", whole[:place]


def _ends() -> Found:
    yield "no beginning", "skip", jpeg()[2:]
    yield "no end", "either", jpeg()[:-2]
    yield "two beginnings", "either", SOI + jpeg()
    yield "nothing between beginning and end", "skip", SOI + segment(0xE0, JFIF) + EOI


def _exif() -> Found:
    def with_exif(data: bytes) -> bytes:
        return jpeg(first=segment(0xE1, EXIF + data))

    for number in (1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535):
        yield f"orientation {number}", "ok", with_exif(tiff_of(number))
    yield "orientation from the other end", "ok", with_exif(tiff_of(6, big=True))
    yield "a long orientation", "ok", with_exif(tiff_of(6, kind=4))
    yield "an orientation in words", "ok", with_exif(tiff_of(6, kind=2))
    yield "an orientation of an unknown type", "ok", with_exif(tiff_of(6, kind=99))
    yield "4 billion orientations", "ok", with_exif(tiff_of(6, count=0xFFFFFFFF))
    yield "no orientation", "ok", with_exif(tiff_of(6, count=0))
    yield "tags in a circle", "ok", with_exif(tiff_of(6, loop=True))
    yield "tags beyond the end", "ok", with_exif(tiff_of(6, offset=0xFFFFFF00))
    yield "tags at 0", "ok", with_exif(tiff_of(6, offset=0))
    yield "an empty block", "ok", with_exif(b"")
    yield "rubbish", "ok", with_exif(b"rubbish" * 100)
    yield "a block that is longer than the file", "skip", SOI + segment(0xE1, EXIF + tiff_of(), size=60_000) + jpeg()[2:]
    yield "two blocks", "ok", jpeg(segment(0xE1, EXIF + tiff_of(6)), segment(0xE1, EXIF + tiff_of(3)))


def _colours() -> Found:
    def adobe(transform: int) -> bytes:
        return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))

    for parts in (3, 4):
        for transform in (0, 1, 2, 9) if parts == 4 else (0, 1):
            yield f"Adobe's transform {transform} of {parts}", "ok", jpeg(parts=parts, first=adobe(transform))
    yield "four colours without Adobe", "ok", jpeg(parts=4)
    yield "grey", "ok", jpeg(parts=1)
    yield "two colours", "either", jpeg(parts=2)
    yield "five colours", "skip", jpeg(head=frame(parts=5), body=scan(16, 5))
    yield "no colours", "skip", jpeg(head=frame(parts=0))
    yield "colours called RGB", "ok", jpeg(head=frame(ids=b"RGB"), body=scan(16, 3, b"RGB"))


def _scans() -> Found:
    yield "10 scans", "ok", progressive(1024, 1024, 10)
    yield "500 scans", "skip", progressive(1024, 1024, 500)
    yield "500 scans of 16 megapixels", "skip", progressive(4096, 4096, 500)
    yield "5,000 scans of 64 megapixels", "skip", progressive(8192, 8192, 5000)


def _kinds() -> Found:
    for kind, name in [
        (0xC3, "lossless"),
        (0xC5, "differential"),
        (0xC9, "arithmetic"),
        (0xCB, "arithmetic and lossless"),
        (0xC8, "reserved"),
    ]:
        yield name, "either" if kind == 0xC9 else "skip", jpeg(head=frame(kind=kind))
    yield "12 bits", "skip", jpeg(head=frame(bits=12))


def _sizes() -> Found:
    yield "height 0", "skip", jpeg(head=frame(32, 0))
    yield "width 0", "skip", jpeg(head=frame(0, 32))
    yield "65,500x65,500", "skip", jpeg(head=frame(65500, 65500))
    yield "more rows than there are", "skip", jpeg(head=frame(32, 3200), body=scan(16)[:-2])[:-2]
    yield "fewer rows than there are", "either", jpeg(head=frame(32, 8))
    yield "sampling 0", "skip", jpeg(head=frame(sampling=0))
    yield "sampling 15", "skip", jpeg(head=frame(sampling=0xFF))
    yield "a frame that is too short", "skip", jpeg(head=segment(0xC0, b"\x08\0\x20\0\x20\3"))
    yield "two frames", "skip", jpeg(head=frame() + frame(16, 16))
    yield "no frame", "skip", jpeg(head=b"")


def _restarts() -> Found:
    start = scan(0)

    def every(interval: int, marks: Sequence[int], body: bytes = grey(3 * 4)) -> bytes:
        pieces = body.join(bytes([0xFF, mark]) for mark in marks)
        return jpeg(segment(0xDD, struct.pack(">H", interval)), body=start + body + pieces + body)

    yield "as it should be", "ok", every(4, (0xD0, 0xD1, 0xD2))
    yield "in no order", "either", every(4, (0xD5, 0xD1, 0xD7))
    yield "missing", "either", every(4, ())
    yield "not announced", "either", every(0, (0xD0, 0xD1, 0xD2))
    yield "too many", "either", every(4, (0xD0, 0xD1, 0xD2, 0xD3, 0xD4))
    yield "never due", "either", every(65535, (0xD0, 0xD1, 0xD2))
    yield "rubbish between", "either", every(4, (0xD0, 0xD1, 0xD2), grey(12) + b"rubbish")
    yield "filled with FF", "either", jpeg(body=scan(16) + b"\xff" * 100)
    yield "announced in 1 byte", "either", jpeg(segment(0xDD, b"\4"))
    yield "a hundred in a row", "either", every(4, (0xD0, 0xD1, 0xD2), grey(12) + b"\xff\xd0" * 100)


def _beside() -> Found:
    icc = b"ICC_PROFILE\0"
    yield "data behind its end", "ok", jpeg() + b"rubbish" * 1000
    yield "a second picture behind", "ok", jpeg() + jpeg()
    yield "a ZIP behind", "ok", jpeg() + b"PK\x05\x06" + bytes(18)
    yield "a profile without its second part", "ok", jpeg(segment(0xE2, icc + b"\1\2" + b"x" * 100))
    yield "a profile of rubbish", "ok", jpeg(segment(0xE2, icc + b"\1\1" + b"x" * 100))
    yield "a profile that counts from 0", "ok", jpeg(segment(0xE2, icc + b"\0\0" + b"x" * 100))
    yield "a comment with ESC", "ok", jpeg(segment(0xFE, ESC))
    yield "a page in its comment", "ok", jpeg(segment(0xFE, b"<script>alert(1)</script>"))
    yield "Adobe's block cut short", "either", jpeg(segment(0xEE, b"Ado"))
    yield "a thumbnail that is not there", "either", jpeg(first=segment(0xE0, JFIF[:-2] + b"\xff\xff"))
