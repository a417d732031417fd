"""PNG: 160 files, put together chunk by chunk."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator

from .case import Case, Expected, stored, zeros

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ESC = b"\x1b[2J\x1b]52;c;aGFjaw==\x07"


def chunk(kind: bytes, data: bytes = b"", *, crc: int | None = None, size: int | None = None) -> bytes:
    """A chunk, however wrong."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data) if size is None else size) + kind + data + struct.pack(">I", crc & 0xFFFFFFFF)


def ihdr(width: int = 8, height: int = 8, depth: int = 8, colour: int = 2, *methods: int) -> bytes:
    """The header chunk; methods of compression, filter and interlace."""
    return chunk(b"IHDR", struct.pack(">II5B", width, height, depth, colour, *(*methods, 0, 0, 0)[:3]))


def rows(width: int = 8, height: int = 8, *, bits: int = 24, filter_: int = 0) -> bytes:
    """Pixels with a filter byte before each row."""
    length = (width * bits + 7) // 8
    return b"".join(bytes([filter_]) + bytes((7 * x + 31 * y) % 256 for x in range(length)) for y in range(height))


def png(*chunks: bytes, head: bytes | None = None, pixels: bytes | None = None) -> bytes:
    """A PNG with these chunks between header and pixels."""
    body = chunk(b"IDAT", stored(rows())) if pixels is None else pixels
    return SIGNATURE + (ihdr() if head is None else head) + b"".join(chunks) + body + chunk(b"IEND")


def idat(data: bytes) -> bytes:
    """A PNG with this compressed stream."""
    return png(pixels=chunk(b"IDAT", data))


def good() -> bytes:
    """A small PNG with nothing wrong."""
    return png()


def tiff_of(orientation: int = 1, *, loop: bool = False, count: int = 1, kind: int = 3, offset: int = 8, big: bool = False) -> bytes:
    """An EXIF block with an orientation."""
    sign = ">" if big else "<"
    value = struct.pack(f"{sign}I", orientation) if kind == 4 else struct.pack(f"{sign}HH", orientation, 0)
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{sign}I", offset)
    entry = struct.pack(f"{sign}HHI", 274, kind, count) + value
    sub = struct.pack(f"{sign}HHII", 0x8769, 4, 1, 8) if loop else b""
    return head + struct.pack(f"{sign}H", 1 + loop) + entry + sub + struct.pack(f"{sign}I", 8 if loop else 0)


def parts() -> list[tuple[str, bytes]]:
    """Chunks of a PNG that has one of nearly every kind, in order."""
    return [
        ("IHDR", ihdr(8, 8, 8, 3)),
        ("gAMA", chunk(b"gAMA", struct.pack(">I", 45455))),
        ("cHRM", chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))),
        ("sRGB", chunk(b"sRGB", b"\0")),
        ("PLTE", chunk(b"PLTE", bytes(range(256)) * 3)),
        ("tRNS", chunk(b"tRNS", bytes(range(255, -1, -1)))),
        ("pHYs", chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))),
        ("tEXt", chunk(b"tEXt", b"Comment\0none")),
        ("iTXt", chunk(b"iTXt", b"Title\0\0\0\0\0none")),
        ("tIME", chunk(b"tIME", struct.pack(">H5B", 2020, 1, 1, 0, 0, 0))),
        ("IDAT", chunk(b"IDAT", stored(rows(bits=8)))),
        ("IEND", chunk(b"IEND")),
    ]


def cases() -> Iterator[Case]:
    """All of them."""
    groups = (_sums(), _cuts(), _headers(), _data(), _texts(), _beside(), _palettes(), _sound(), _animated(), _polyglots())
    for number, (name, expected, content) in enumerate(itertools.chain.from_iterable(groups)):
        yield Case("PNG", name, f"p{number:03d}.png", expected, content)


Found = Iterator[tuple[str, Expected, bytes]]


def _sums() -> Found:
    every = parts()
    for name, _ in every:
        broken = b"".join(data[:-1] + bytes([data[-1] ^ 1]) if kind == name else data for kind, data in every)
        yield f"bad sum of {name}", "skip" if name in ("IHDR", "PLTE") else "either", SIGNATURE + broken


def _cuts() -> Found:
    whole, at = SIGNATURE, []
    for _, data in parts():
        at.append(len(whole))
        whole += data
    end_of_pixels = at[-1]
    places = sorted({0, 4, *(place + shift for place in at for shift in (-1, 0, 1)), len(whole) - 1})
    places += [at[10] + 20, end_of_pixels - 30]
    for place in sorted(places)[:40]:
        yield f"cut at {place}", "skip" if place < end_of_pixels - 8 else "either", whole[:place]


def _headers() -> Found:
    most = 0x7FFFFFFF
    for width, height in [(0, 8), (8, 0), (0, 0), (most, 1), (65535, 65535), (most, most), (most + 1, 8), (0xFFFFFFFF, 1), (100_000, 1001)]:
        yield f"{width}x{height}", "skip", png(head=ihdr(width, height))
    for depth, colour in [(3, 2), (0, 2), (255, 2), (16, 3), (4, 2), (8, 1), (8, 5), (8, 7)]:
        yield f"depth {depth}, colour {colour}", "skip", png(head=ihdr(8, 8, depth, colour))
    yield "unknown compression", "either", png(head=ihdr(8, 8, 8, 2, 9))
    yield "unknown filter", "skip", png(head=ihdr(8, 8, 8, 2, 0, 9))
    yield "unknown interlace", "either", png(head=ihdr(8, 8, 8, 2, 0, 0, 9))
    yield "header of 12 bytes", "skip", png(head=chunk(b"IHDR", ihdr()[8:20]))
    yield "two headers", "either", png(ihdr(16, 16))
    yield "header not first", "either", SIGNATURE + chunk(b"gAMA", struct.pack(">I", 45455)) + ihdr() + png()[33:]
    yield "no header", "skip", png(head=b"")


def _data() -> Found:
    short = stored(rows())
    yield "a bomb of 50,000x50,000", "skip", png(head=ihdr(50_000, 50_000, 1, 0), pixels=chunk(b"IDAT", zeros(60_000_000)))
    yield "rows for 9,000x9,000 are missing", "skip", png(head=ihdr(9000, 9000))
    yield "more rows than it says", "either", idat(stored(rows(8, 2000)))
    yield "half the rows", "either", idat(stored(rows(8, 4)))  # a whole stream with its checksum: readers take the rest for black
    yield "no data", "skip", png(pixels=b"")
    yield "not compressed", "skip", idat(rows())
    yield "wrong checksum of all", "either", idat(short[:-1] + bytes([short[-1] ^ 1]))
    yield "a preset dictionary", "skip", idat(b"\x78\x20" + short[2:])
    yield "one byte a chunk", "ok", png(pixels=b"".join(chunk(b"IDAT", short[i : i + 1]) for i in range(len(short))))
    yield "a thousand empty chunks", "ok", png(pixels=chunk(b"IDAT") * 1000 + chunk(b"IDAT", short))
    yield "data in two places", "either", png(pixels=chunk(b"IDAT", short[:100]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", short[100:]))
    yield "unknown row filter", "skip", idat(stored(rows(filter_=9)))
    yield "a block whose length lies", "skip", idat(short[:5] + b"\0\0" + short[7:])
    yield "a block of an unknown type", "skip", idat(b"\x78\x01\x07" + short[3:])
    yield "64 megapixels of nothing", "ok", png(head=ihdr(8000, 8000, 8, 6), pixels=chunk(b"IDAT", zeros(8000 * 32_001)))
    yield "64 megapixels of nothing, deep", "ok", png(head=ihdr(8000, 8000, 16, 0), pixels=chunk(b"IDAT", zeros(8000 * 16_001)))


def _texts() -> Found:
    big = zeros(64 << 20)
    for name, text in [
        ("NUL", b"a\0b\0c"),
        ("ESC", ESC),
        ("HTML", b"<script>alert(1)</script>"),
        ("CRLF", b"a\r\nb\rc"),
        ("latin", b"\xe9\xff"),
    ]:
        yield f"text with {name}", "ok", png(chunk(b"tEXt", b"Comment\0" + text))
    yield "zTXt of 64 MiB", "either", png(chunk(b"zTXt", b"Comment\0\0" + big))
    yield "iTXt of 64 MiB", "either", png(chunk(b"iTXt", b"Comment\0\1\0\0\0" + big))
    yield "64 MiB in 80 texts", "either", png(*(chunk(b"zTXt", b"k%d\0\0" % i + zeros(800_000)) for i in range(80)))
    yield "no keyword", "either", png(chunk(b"tEXt", b"\0text"))
    yield "nothing but a keyword", "either", png(chunk(b"tEXt", b"Comment"))
    yield "a keyword of 1,000 letters", "either", png(chunk(b"tEXt", b"k" * 1000 + b"\0text"))
    yield "unknown compression of a text", "either", png(chunk(b"zTXt", b"Comment\0\7" + stored(b"x")))
    yield "a text that is not compressed", "either", png(chunk(b"zTXt", b"Comment\0\0rubbish"))
    yield "iTXt that is not UTF-8", "either", png(chunk(b"iTXt", b"Comment\0\0\0\0\0\xff\xfe"))
    yield "iTXt cut short", "either", png(chunk(b"iTXt", b"Comment\0\0"))
    yield "10,000 texts", "either", png(chunk(b"tEXt", b"a\0b") * 10_000)


def _beside() -> Found:
    yield "rubbish for a profile", "ok", png(chunk(b"iCCP", b"p\0\0" + stored(b"rubbish" * 40)))
    yield "a profile of 64 MiB", "either", png(chunk(b"iCCP", b"p\0\0" + zeros(64 << 20)))
    yield "a profile that is not compressed", "either", png(chunk(b"iCCP", b"p\0\0rubbish"))
    yield "a profile without name", "either", png(chunk(b"iCCP", b""))
    yield "gamma 0", "ok", png(chunk(b"gAMA", bytes(4)))
    yield "gamma of 3 bytes", "either", png(chunk(b"gAMA", bytes(3)))
    yield "cHRM of 8 bytes", "either", png(chunk(b"cHRM", bytes(8)))
    yield "eXIf that is rubbish", "ok", png(chunk(b"eXIf", b"rubbish"))
    yield "eXIf in a circle", "ok", png(chunk(b"eXIf", tiff_of(loop=True)))
    yield "eXIf on its side", "ok", png(chunk(b"eXIf", tiff_of(6)))
    yield "eXIf of 4 billion values", "ok", png(chunk(b"eXIf", tiff_of(6, count=0xFFFFFFFF)))
    yield "pHYs of 2 bytes", "either", png(chunk(b"pHYs", bytes(2)))
    yield "sRGB of an unknown intent", "ok", png(chunk(b"sRGB", b"\xff"))
    yield "an unknown chunk that must be known", "either", png(chunk(b"EViL", b"x"))


def _palettes() -> Found:
    head, pixels, palette = ihdr(8, 8, 8, 3), chunk(b"IDAT", stored(rows(bits=8))), chunk(b"PLTE", bytes(range(256)) * 3)

    def paletted(*chunks: bytes, after: bytes = b"") -> bytes:
        return png(*chunks, head=head, pixels=pixels + after)

    yield "no palette", "either", paletted()
    yield "a palette of 2 colours", "either", paletted(chunk(b"PLTE", bytes(6)))
    yield "a palette of 7 bytes", "either", paletted(chunk(b"PLTE", bytes(7)))
    yield "a palette of 300 colours", "either", paletted(chunk(b"PLTE", bytes(900)))
    yield "an empty palette", "either", paletted(chunk(b"PLTE"))
    yield "a palette after the data", "either", paletted(after=palette)
    yield "two palettes", "either", paletted(palette, palette)
    yield "more transparencies than colours", "either", paletted(chunk(b"PLTE", bytes(6)), chunk(b"tRNS", bytes(300)))
    yield "transparency before the palette", "either", paletted(chunk(b"tRNS", bytes(3)), palette)
    yield "an empty transparency", "either", paletted(palette, chunk(b"tRNS"))
    yield "a transparency of 3 bytes in RGB", "either", png(chunk(b"tRNS", bytes(3)))
    yield (
        "a transparency in RGBA",
        "either",
        png(chunk(b"tRNS", bytes(6)), head=ihdr(8, 8, 8, 6), pixels=chunk(b"IDAT", stored(rows(bits=32)))),
    )


def _sound() -> Found:
    palette, faint = chunk(b"PLTE", bytes(range(256)) * 3), chunk(b"tRNS", bytes(range(256)))
    kinds = [("grey", 0, 1, ()), ("grey", 0, 2, ()), ("grey", 0, 4, ()), ("grey", 0, 16, ()), ("RGB", 2, 16, ()), ("LA", 4, 8, ())]
    kinds += [("LA", 4, 16, ()), ("RGBA", 6, 16, ()), ("palette and alpha", 3, 8, (palette, faint))]
    kinds += [("palette", 3, 1, ()), ("palette", 3, 4, ()), ("grey, one transparent", 0, 8, (chunk(b"tRNS", bytes(2)),))]
    for name, colour, depth, chunks in kinds:
        bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        if colour == 3 and depth < 8:
            chunks = (chunk(b"PLTE", bytes(range(3 << depth))),)
        yield f"{name} of {depth} bits", "ok", png(*chunks, head=ihdr(8, 8, depth, colour), pixels=chunk(b"IDAT", stored(rows(bits=bits))))
    adam = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
    yield "interlaced", "ok", png(head=ihdr(8, 8, 8, 2, 0, 0, 1), pixels=chunk(b"IDAT", stored(b"".join(rows(*size) for size in adam))))
    yield "one pixel", "ok", png(head=ihdr(1, 1), pixels=chunk(b"IDAT", stored(rows(1, 1))))


def _animated() -> Found:
    def control(number: int = 0, width: int = 8, height: int = 8, x: int = 0, y: int = 0) -> bytes:
        return chunk(b"fcTL", struct.pack(">5IHHBB", number, width, height, x, y, 1, 10, 0, 0))

    def frames(count: int) -> bytes:
        return chunk(b"acTL", struct.pack(">II", count, 0))

    more = chunk(b"fdAT", struct.pack(">I", 2) + stored(rows()))
    pixels = chunk(b"IDAT", stored(rows()))
    yield "0 frames", "either", png(frames(0), control())
    yield "2 billion frames", "either", png(frames(0x7FFFFFFF), control())
    yield "a frame outside", "either", png(frames(1), control(0, 8, 8, 100, 100))
    yield "frame data without a frame", "either", png(frames(2), pixels=pixels + more)
    yield "frames in no order", "either", png(frames(2), control(5), pixels=pixels + control(5) + more)
    yield "a frame of no size", "either", png(frames(1), control(0, 0, 0))


def _polyglots() -> Found:
    archive = b"PK\x05\x06" + bytes(18)
    yield "with a ZIP behind", "ok", png() + archive
    yield "with a PDF behind", "ok", png() + b"%PDF-1.4\n%%EOF"
    yield "with a page inside", "ok", png(chunk(b"tEXt", b"x\0<html><script>alert(1)</script></html>"))
    yield "with another behind", "ok", png() + png()
    yield "a byte in front", "skip", b"\0" + png()
    yield "sent as text", "skip", png().replace(b"\r\n", b"\n")
