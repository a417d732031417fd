"""GIF, WebP, BMP and TIFF: 110 files, put together by hand."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

from .case import Case, Expected, bits_of
from .png import ESC

Found = Iterator[tuple[str, Expected, bytes]]
GROUP = "GIF/WebP/BMP/TIFF"


def cases() -> Iterator[Case]:
    """All of them."""
    number = itertools.count()
    for suffix, groups in (("gif", (_gif(), _gif_blocks())), ("webp", (_webp(),)), ("bmp", (_bmp(),)), ("tif", (_tiff(), _tiff_data()))):
        for name, expected, content in itertools.chain.from_iterable(groups):
            yield Case(GROUP, f"{suffix}: {name}", f"s{next(number):03d}.{suffix}", expected, content)


# GIF

COLOURS = bytes(range(12))
END = b";"


def screen(width: int = 8, height: int = 8, flags: int = 0x81, *, version: bytes = b"89a") -> bytes:
    """The head, with 4 colours."""
    return b"GIF" + version + struct.pack("<HHBBB", width, height, flags, 0, 0) + (COLOURS if flags & 0x80 else b"")


def control(delay: int = 10, flags: int = 0) -> bytes:
    """What says how long a frame is shown."""
    return b"\x21\xf9\4" + struct.pack("<BHB", flags, delay, 0) + b"\0"


def lzw(count: int) -> bytes:
    """Pixels of the colours 0 to 3 in turn in codes of three bits, with the table emptied before it would grow."""
    fields = []
    for at in range(0, count, 2):
        fields += [(4, 3), *(((at + i) % 4, 3) for i in range(min(2, count - at)))]
    data = bits_of(*fields, (5, 3))
    return b"\2" + b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def image(width: int = 8, height: int = 8, x: int = 0, y: int = 0, flags: int = 0, *, data: bytes | None = None) -> bytes:
    """A frame."""
    pixels = lzw(min(width * height, 4096)) if data is None else data
    return b"," + struct.pack("<HHHHB", x, y, width, height, flags) + pixels


def _gif() -> Found:
    yield "as it should be", "ok", screen() + image() + END
    yield "of 1987", "ok", screen(version=b"87a") + image() + END
    yield "no frames", "skip", screen() + END
    yield "10,000 frames", "ok", screen(1, 1) + b"".join(control() + image(1, 1) for _ in range(10_000)) + END
    yield "a frame in a huge screen", "skip", screen(65535, 65535) + image() + END
    yield "a frame in a screen of 64 megapixels", "either", screen(8000, 8000) + image() + END
    yield "a huge frame", "skip", screen() + image(65535, 65535) + END
    yield "a frame outside", "either", screen() + image(8, 8, 100, 100) + END
    yield "a frame of no size", "skip", screen() + image(0, 0) + END
    yield "a screen of no size", "either", screen(0, 0) + image() + END
    for delay in (0, 1, 65535):
        yield f"shown for {delay} ms", "ok", screen() + control(delay) + image() + control(delay) + image() + END
    yield "no colours", "either", screen(flags=0) + image() + END
    yield "colours of its own", "ok", screen(flags=0) + image(data=COLOURS + lzw(64), flags=0x81) + END
    yield "in turns of rows", "ok", screen() + image(flags=0x40) + END
    whole = screen() + image() + END
    for at in (6, 10, 13, 20, 25, 30, 35, 36, 38, 44):
        yield f"cut at {at}", "skip", whole[:at]
    yield "without its last byte", "either", whole[:-1]


def _gif_blocks() -> Found:
    yield "codes of 0 bits", "skip", screen() + image(data=b"\0\1\0\0") + END
    yield "codes of 13 bits", "skip", screen() + image(data=b"\x0d\1\0\0") + END
    yield "a code that is not in the table", "skip", screen() + image(data=b"\2\2\xfc\xff\0") + END
    yield "no pixels", "skip", screen() + image(data=b"\2\0") + END
    yield "too many pixels", "either", screen() + image(data=lzw(500)) + END
    yield "an unknown block", "skip", screen() + b"\x99" * 50 + END
    yield "a comment with ESC", "ok", screen() + b"\x21\xfe" + bytes([len(ESC)]) + ESC + b"\0" + image() + END
    yield "a comment of a megabyte", "ok", screen() + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 4096 + b"\0" + image() + END
    yield "an unknown extension", "ok", screen() + b"\x21\x99\1x\0" + image() + END
    yield "40,000 empty extensions", "ok", screen() + b"\x21\x99\0" * 40_000 + image() + END
    yield "a loop that is cut short", "either", screen() + b"\x21\xff\x0bNETSCAPE2.0\1\1\0" + image() + END
    yield "data behind its end", "ok", screen() + image() + END + b"rubbish" * 100


# WebP: lossless, every pixel the same, so that there is nothing but a head


def vp8l(width: int = 8, height: int = 8, *, version: int = 0) -> bytes:
    """The chunk of a picture of one colour: five codes with one symbol each, which take no bits."""
    one = [(1, 1), (0, 1), (1, 1), (100, 8)]
    last = [(1, 1), (0, 1), (0, 1), (0, 1)]
    return b"\x2f" + bits_of((width - 1, 14), (height - 1, 14), (0, 1), (version, 3), (0, 1), (0, 1), (0, 1), *one * 4, *last)


def riff(*chunks: tuple[bytes, bytes], size: int | None = None, sizes: dict[int, int] | None = None) -> bytes:
    """A WebP of these chunks, of which some lie about their size."""
    body = b"WEBP"
    for number, (kind, data) in enumerate(chunks):
        length = (sizes or {}).get(number, len(data))
        body += kind + struct.pack("<I", length) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def canvas(width: int = 8, height: int = 8, flags: int = 0) -> tuple[bytes, bytes]:
    """The chunk of an extended file."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def moving(x: int = 0, y: int = 0, width: int = 8, height: int = 8, data: bytes | None = None) -> tuple[bytes, bytes]:
    """A frame of an animation."""
    inner = vp8l() if data is None else data
    place = b"".join(number.to_bytes(3, "little") for number in (x // 2, y // 2, width - 1, height - 1, 100))
    return b"ANMF", place + b"\0" + b"VP8L" + struct.pack("<I", len(inner)) + inner + b"\0" * (len(inner) % 2)


def _webp() -> Found:
    still, start = (b"VP8L", vp8l()), (b"ANIM", bytes(6))
    whole = riff(still)
    yield "as it should be", "ok", whole
    yield "extended", "ok", riff(canvas(), still)
    yield "two frames", "ok", riff(canvas(flags=2), start, moving(), moving())
    for at in (12, 16, 20, 21, 25):
        yield f"cut at {at}", "skip", whole[:at]
    yield "no chunks", "skip", riff()
    yield "16,384x16,384", "skip", riff((b"VP8L", vp8l(16384, 16384)))
    yield "a canvas of 16,777,216x255", "skip", riff(canvas(16777216, 255), still)
    yield "a canvas of another size", "either", riff(canvas(16, 16), still)
    yield "of a later version", "skip", riff((b"VP8L", vp8l(version=5)))
    yield "a frame outside", "skip", riff(canvas(flags=2), start, moving(100, 100))
    yield "a frame of rubbish", "skip", riff(canvas(flags=2), start, moving(data=b"rubbish" * 5))
    yield "no frames", "skip", riff(canvas(flags=2), start)
    yield "lossy rubbish", "skip", riff((b"VP8 ", b"\x30\1\0\x9d\1\x2a\x08\0\x08\0" + b"rubbish" * 10))
    yield "a chunk of 4 GB", "skip", riff(still, sizes={0: 0xFFFFFFF0})
    yield "a file that says it is longer", "either", riff(still, size=1 << 30)
    yield "rubbish for EXIF", "ok", riff(canvas(flags=8), still, (b"EXIF", b"rubbish"))


# BMP


def bmp(
    width: int = 8,
    height: int = 8,
    bits: int = 24,
    *,
    pixels: bytes | None = None,
    packed: int = 0,
    offset: int | None = None,
    head: int = 40,
    colours: bytes | None = None,
    used: int = 0,
    planes: int = 1,
) -> bytes:
    """A BMP, however wrong."""
    colours = (bytes(range(4)) * (1 << bits) if bits <= 8 else b"") if colours is None else colours
    pixels = bytes(range(256)) * ((abs(width) * bits + 31) // 32 * 4 * abs(height) // 256 + 1) if pixels is None else pixels
    start = 14 + 40 + len(colours) if offset is None else offset
    info = struct.pack("<IiiHHIIiiII", head, width, height, planes, bits, packed, len(pixels), 0, 0, used, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(colours) + len(pixels), 0, 0, start) + info + colours + pixels


def _bmp() -> Found:
    for bits in (1, 4, 8, 24, 32):
        yield f"{bits} bits", "ok", bmp(bits=bits)
    yield "from the top", "ok", bmp(height=-8)
    yield "in runs", "ok", bmp(bits=8, packed=1, pixels=b"\x08\1\0\0" * 8 + b"\0\1")
    yield "runs that leave the picture", "either", bmp(bits=8, packed=1, pixels=b"\xff\1" * 500 + b"\0\1")
    yield "runs that jump far away", "either", bmp(bits=8, packed=1, pixels=b"\0\2\xff\xff" * 50 + b"\0\1")
    yield "2 billion wide", "skip", bmp(0x7FFFFFFF, 1, pixels=b"x")
    yield "20,000x20,000", "skip", bmp(20_000, 20_000, pixels=b"x")
    yield "a negative width", "skip", bmp(-8, 8)
    yield "no size", "skip", bmp(0, 0, pixels=b"")
    yield "3 bits", "skip", bmp(bits=3)
    yield "an unknown packing", "skip", bmp(packed=99)
    yield "pixels far behind the end", "skip", bmp(offset=0x7FFFFFFF)
    yield "half the pixels", "skip", bmp(pixels=bytes(96))
    yield "a head of 3 bytes", "skip", bmp(head=3)
    yield "a head of 4 GB", "skip", bmp(head=0xFFFFFFFF)
    yield "4 billion colours", "skip", bmp(bits=8, used=0xFFFFFFFF)


# TIFF

SHORT, LONG = 3, 4
Tags = dict[int, tuple[int, Sequence[int]]]


def tiff(
    changed: Tags | None = None, *, pixels: bytes = bytes(range(192)), next_: int = 0, first: int | None = None, big: bool = False
) -> bytes:
    """A TIFF of 8x8 RGB pixels whose tags are changed; one that is changed to nothing is left out."""
    tags: Tags = {256: (LONG, [8]), 257: (LONG, [8]), 258: (SHORT, [8, 8, 8]), 259: (SHORT, [1]), 262: (SHORT, [2]), 273: (LONG, [8])}
    tags |= {277: (SHORT, [3]), 278: (LONG, [8]), 279: (LONG, [len(pixels)])} | (changed or {})
    sign = ">" if big else "<"
    at = 8 + len(pixels)
    listed = [(tag, kind, values) for tag, (kind, values) in sorted(tags.items()) if values]
    behind, entries = at + 2 + 12 * len(listed) + 4, b""
    more = b""
    for tag, kind, values in listed:
        data = struct.pack(f"{sign}{len(values)}{'HI'[kind == LONG]}", *values)
        if len(data) > 4:
            data, more = struct.pack(f"{sign}I", behind + len(more)), more + data
        entries += struct.pack(f"{sign}HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{sign}I", at if first is None else first)
    return head + pixels + struct.pack(f"{sign}H", len(listed)) + entries + struct.pack(f"{sign}I", next_) + more


def _tiff() -> Found:
    yield "as it should be", "ok", tiff()
    yield "from the other end", "ok", tiff(big=True)
    yield "tags in a circle", "ok", tiff(next_=200)
    yield "tags before the file", "skip", tiff(first=0)
    yield "tags beyond the file", "skip", tiff(first=0xFFFFFF00)
    yield "the next tags beyond the file", "ok", tiff(next_=0xFFFFFF00)
    yield "on its side", "ok", tiff({274: (SHORT, [6])})
    yield "an orientation of 999", "ok", tiff({274: (SHORT, [999])})
    for width, height in ((0, 8), (8, 0), (0xFFFFFFFF, 1), (20_000, 20_000)):
        yield f"{width}x{height}", "skip", tiff({256: (LONG, [width]), 257: (LONG, [height])})
    yield "9,000x9,000 in one strip of 192 bytes", "skip", tiff({256: (LONG, [9000]), 257: (LONG, [9000]), 278: (LONG, [9000])})
    for tag, name in ((256, "width"), (257, "height"), (273, "place"), (262, "colours")):
        yield f"no {name}", "either" if tag == 262 else "skip", tiff({tag: (LONG, [])})


def _tiff_data() -> Found:
    yield "half the pixels", "either", tiff(pixels=bytes(96))  # what follows in the file is there to be read
    yield "strips of no rows", "either", tiff({278: (LONG, [0])})
    yield "a strip of 4 GB", "either", tiff({279: (LONG, [0xFFFFFFFF])})
    yield "a strip beyond the file", "skip", tiff({273: (LONG, [0xFFFFFF00])})
    yield "more strips than rows", "either", tiff({273: (LONG, [8] * 1000), 279: (LONG, [24] * 1000), 278: (LONG, [1])})
    yield "tiles of no size", "skip", tiff({273: (LONG, []), 322: (LONG, [0]), 323: (LONG, [0]), 324: (LONG, [8]), 325: (LONG, [192])})
    yield "tiles of 4 billion", "skip", tiff({273: (LONG, []), 322: (LONG, [0xFFFFFFF0]), 323: (LONG, [0xFFFFFFF0]), 324: (LONG, [8])})
    yield "an unknown packing", "skip", tiff({259: (SHORT, [999])})
    for packed, name in ((5, "LZW"), (8, "deflate"), (32773, "runs"), (7, "JPEG")):
        yield (
            f"{name} that is none",
            "either" if packed == 32773 else "skip",
            tiff({259: (SHORT, [packed])}, pixels=b"\xff\xfe rubbish" * 20),
        )
    yield "500 colours a pixel", "skip", tiff({277: (SHORT, [500]), 258: (SHORT, [8] * 500)})
    yield "7 bits a colour", "skip", tiff({258: (SHORT, [7, 7, 7])})
