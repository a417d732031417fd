"""How files carry a text beside their picture, film or weights: put it in, take it out, and hash what it speaks of.

| file | where the text is | what is hashed |
|---|---|---|
| PNG, APNG | iTXt chunk `genart` | the chunks that make the picture |
| JPEG, WebP | XMP, property `genart:provenance` | the coded picture, without metadata |
| GIF | comment extension | all but comments |
| MP4, MOV, WebM | tag `comment` | the packets of each stream |
| safetensors | key `provenance` of the `genart` entry of the header | tensors and the model's header |

Files come from anywhere: sizes are bounded, nothing is decoded, nothing that a file names is opened.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from .artifacts import parse_safetensors_header
from .formats import FilmWriter

KEYWORD = b"genart"
#: Characters of a text that are read at most.
MAX_TEXT = 8 << 20
#: Bytes that are hashed or copied at once.
PIECE = 1 << 20


class Damaged(Exception):
    """A file is cut short or not built as its kind should be; the text says how, in a few words."""


@dataclass(frozen=True)
class Scan:
    """What a file holds: its text, if it carries one, and the SHA-256 of what the text speaks of, in hex."""

    text: str | None
    content: str


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: its usual suffix, without the dot.
        scan: reads a file that stands at its beginning.
        put: copies a file (at its beginning, without a text) to an empty one that is open for writing and reading, with a text.
    """

    name: str
    scan: Callable[[BinaryIO], Scan]
    put: Callable[[BinaryIO, BinaryIO, str], None]


def format_of(file: BinaryIO) -> Format | None:
    """The kind of a file, told by its first bytes, or None for one that cannot carry a text; leaves the file at its beginning."""
    head = file.read(16)
    file.seek(0)
    if head.startswith(PNG_SIGNATURE):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if head[4:8] == b"ftyp":
        return MOV if head[8:10] == b"qt" else MP4
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM
    return SAFETENSORS if head[8:9] == b"{" else None


def scan(file: BinaryIO) -> Scan | None:
    """Read a file of any kind; None if it is of none that can carry a text.

    Raises:
        Damaged: if it is cut short or not built as its kind should be.
    """
    kind = format_of(file)
    return None if kind is None else kind.scan(file)


def put(source: BinaryIO, out: BinaryIO, text: str) -> None:
    """Copy a file that stands at its beginning, with a text; nothing is encoded again.

    Args:
        source: the file.
        out: an empty one, open for writing and reading.
        text: goes into the copy.

    Raises:
        Damaged: if it is of no kind that can carry a text, or broken, or the text is too long for it.
    """
    kind = format_of(source)
    if kind is None:
        raise Damaged("a file of this kind cannot carry metadata")
    kind.put(source, out, text)


def of_writer(name: str, writer: FilmWriter) -> Format:
    """The kind of file that a plugin's writer of films makes; one that has no room for a text is hashed and copied as it is."""

    def scan_film(file: BinaryIO) -> Scan:
        if writer.scan is None:
            total = hashlib.sha256()
            while piece := file.read(PIECE):
                total.update(piece)
            return Scan(None, total.hexdigest())
        text, content = _asked(writer.scan, file)
        if text is not None and not (isinstance(text, str) and text.isascii() and len(text) <= MAX_TEXT):
            raise Damaged("its text is too long, or no text")
        return Scan(text, content)

    def put_film(source: BinaryIO, out: BinaryIO, text: str) -> None:
        if writer.put is None:
            shutil.copyfileobj(source, out, PIECE)
        else:
            _asked(writer.put, source, out, text)

    return Format(name, scan_film, put_film)


def _asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what a plugin brings; whatever it raises on a file means that the file is damaged."""
    try:
        return function(*arguments)
    except (Damaged, OSError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:80]
        raise Damaged(f"broken ({type(error).__name__}: {words})") from error


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise Damaged("cut short")
    return data


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Read exactly so many bytes, a piece at a time."""
    while count:
        piece = _exactly(file, min(count, PIECE))
        yield piece
        count -= len(piece)


def _only(texts: list[str]) -> str | None:
    """The text of a file: none, or one."""
    if len(texts) > 1:
        raise Damaged(f"it carries {len(texts)} provenances")
    return texts[0] if texts else None


def _inflate(data: bytes, limit: int | None = None) -> bytes:
    """Undo zlib's compression, up to the longest text that is read."""
    limit = limit or MAX_TEXT
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, limit + 1)
    except zlib.error:
        raise Damaged("its compressed text is broken") from None
    if len(text) > limit:
        raise Damaged("its text is too long")
    if not stream.eof:
        raise Damaged("its compressed text is cut short")
    return text


def _decoded(data: bytes, limit: int | None = None) -> str:
    if len(data) > (limit or MAX_TEXT):
        raise Damaged("its text is too long")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise Damaged("its text is not ASCII") from None


# PNG: signature, then chunks of length, type, data, CRC

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of the signature and of the header chunk, which comes first.
PNG_HEAD = 33
#: Chunks beside the critical ones (capital first letter) that change what is seen.
SEEN_CHUNKS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")


def _scan_png(file: BinaryIO) -> Scan:
    total, texts = hashlib.sha256(), []
    _exactly(file, len(PNG_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        size, kind = int.from_bytes(_exactly(file, 4), "big"), _exactly(file, 4)
        check, kept = zlib.crc32(kind), []
        seen = kind[:1].isupper() or kind in SEEN_CHUNKS
        if seen:
            total.update(kind)
        for piece in _pieces(file, size):
            check = zlib.crc32(piece, check)
            if seen:
                total.update(piece)
            elif kind == b"iTXt" and size <= MAX_TEXT:
                kept.append(piece)
        if _exactly(file, 4) != check.to_bytes(4, "big"):
            raise Damaged(f"its chunk {kind!r} is broken")
        if kept and (text := itxt(b"".join(kept))) is not None:
            texts.append(text)
    return Scan(_only(texts), total.hexdigest())


def itxt(data: bytes, limit: int | None = None) -> str | None:
    """The text of an iTXt chunk's body with our keyword; None of one with another.

    Raises:
        Damaged: if it is not built as it should be, or longer than `limit` characters (MAX_TEXT by default).
    """
    keyword, _, rest = data.partition(b"\0")
    if keyword != KEYWORD:
        return None
    parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) != 3 or rest[:2] not in (b"\0\0", b"\1\0"):
        raise Damaged("its text is not built as it should be")
    return _decoded(_inflate(parts[2], limit) if rest[0] else parts[2], limit)


def _put_png(source: BinaryIO, out: BinaryIO, text: str) -> None:
    out.write(_exactly(source, PNG_HEAD) + png_chunk(text))
    shutil.copyfileobj(source, out, PIECE)


def png_chunk(text: str) -> bytes:
    """The chunk that carries a text; it stands after the first `PNG_HEAD` bytes of a PNG."""
    return chunk(b"iTXt", KEYWORD + b"\0\1\0\0\0" + zlib.compress(text.encode("ascii"), 9))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG's chunk."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")


PNG = Format("png", _scan_png, _put_png)


# XMP, the metadata of JPEG and WebP

XMP_NAMESPACE = "urn:genart:provenance:1#"
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:genart="{namespace}"><genart:{name}>{text}</genart:{name}></rdf:Description>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_PROPERTY = re.compile(rb"<genart:(provenance|deflated)>([^<]*)</genart:\1>")


def xmp_packet(text: str, *, most: int = MAX_TEXT) -> bytes:
    """The XMP packet that carries a text; one longer than `most` bytes carries it compressed.

    Raises:
        Damaged: if it is still too long.
    """
    for name, written in (("provenance", html.escape(text, quote=False)), ("deflated", _deflated(text))):
        packet = _PACKET.format(namespace=XMP_NAMESPACE, name=name, text=written).encode()
        if len(packet) <= most:
            return packet
    raise Damaged(f"its provenance is too long for a file of this kind ({len(text)} bytes)")


def _deflated(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode()


def _xmp_texts(packet: bytes) -> list[str]:
    """What our properties of an XMP packet say."""
    texts = []
    for name, value in _PROPERTY.findall(packet):
        if name == b"provenance":
            texts.append(html.unescape(_decoded(value)))
            continue
        try:
            texts.append(_decoded(_inflate(base64.b64decode(value, validate=True))))
        except ValueError:
            raise Damaged("its compressed text is broken") from None
    return texts


# JPEG: segments of marker, length, data up to the scan

JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
#: Bytes of an XMP packet that one segment holds.
JPEG_MOST = 0xFFFF - 2 - len(JPEG_XMP)
#: Segments of metadata: comments, and applications' own but for JFIF's (0) and Adobe's (14), which say what the colours are.
_JPEG_BESIDE = frozenset({0xFE, *range(0xE1, 0xEE), 0xEF})
_JPEG_SCAN = 0xDA


def _scan_jpeg(file: BinaryIO) -> Scan:
    total, texts = hashlib.sha256(), []
    _exactly(file, 2)
    marker = 0
    while marker != _JPEG_SCAN:
        sign, marker = _exactly(file, 2)
        size = int.from_bytes(_exactly(file, 2), "big")
        if sign != 0xFF or size < 2:
            raise Damaged("its segments are broken")
        data = _exactly(file, size - 2)
        if marker not in _JPEG_BESIDE:
            total.update(bytes([marker]) + data)
        elif data.startswith(JPEG_XMP):
            texts += _xmp_texts(data)
    last = b""
    while piece := file.read(PIECE):
        total.update(piece)
        last = last[-1:] + piece
    if not last.endswith(b"\xff\xd9"):
        raise Damaged("cut short")
    return Scan(_only(texts), total.hexdigest())


def _put_jpeg(source: BinaryIO, out: BinaryIO, text: str) -> None:
    packet = xmp_packet(text, most=JPEG_MOST)
    out.write(_exactly(source, 2))
    head = source.read(4)
    if head[:2] == b"\xff\xe0":  # JFIF comes first
        out.write(head + _exactly(source, int.from_bytes(head[2:], "big") - 2))
    else:
        source.seek(2)
    out.write(b"\xff\xe1" + (2 + len(JPEG_XMP) + len(packet)).to_bytes(2, "big") + JPEG_XMP + packet)
    shutil.copyfileobj(source, out, PIECE)


JPEG = Format("jpg", _scan_jpeg, _put_jpeg)


# WebP: chunks of name, length, data, padded to even lengths

#: The header of extended files names its canvas and which metadata follow: it changes when they do.
_WEBP_BESIDE = (b"VP8X", b"XMP ", b"EXIF")
_WEBP_XMP_FLAG = 0x04


def _webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of each chunk; the reader takes its data, and padding, before it goes on."""
    head = _exactly(file, 12)
    left = int.from_bytes(head[4:8], "little") - 4
    while left >= 8:
        name, size = _exactly(file, 4), int.from_bytes(_exactly(file, 4), "little")
        yield name, size
        left -= 8 + size + size % 2
    if left:
        raise Damaged("its chunks are broken")


def _scan_webp(file: BinaryIO) -> Scan:
    total, texts = hashlib.sha256(), []
    for name, size in _webp_chunks(file):
        if name == b"XMP ":
            texts += _xmp_texts(_exactly(file, min(size, MAX_TEXT)))
            file.seek(max(0, size - MAX_TEXT), 1)
        else:
            beside = name in _WEBP_BESIDE
            total.update(b"" if beside else name)
            for piece in _pieces(file, size):
                total.update(b"" if beside else piece)
        _exactly(file, size % 2)
    return Scan(_only(texts), total.hexdigest())


def _put_webp(source: BinaryIO, out: BinaryIO, text: str) -> None:
    packet = xmp_packet(text)
    out.write(b"RIFF\0\0\0\0WEBP")
    for name, size in _webp_chunks(source):
        data = bytearray(_exactly(source, size + size % 2))
        if name == b"VP8X":
            data[0] |= _WEBP_XMP_FLAG
        if name != b"XMP ":
            out.write(name + size.to_bytes(4, "little") + data)
    out.write(b"XMP " + len(packet).to_bytes(4, "little") + packet + b"\0" * (len(packet) % 2))
    end = out.tell()
    out.seek(4)
    out.write((end - 8).to_bytes(4, "little"))


WEBP = Format("webp", _scan_webp, _put_webp)


# GIF: a screen, then blocks; data in sub-blocks of up to 255 bytes

_GIF_IMAGE, _GIF_EXTENSION, _GIF_END, _GIF_COMMENT = 0x2C, 0x21, 0x3B, 0xFE


def _gif_table(flags: int) -> int:
    """Bytes of the colour table that a flags byte speaks of."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the sub-blocks with their length byte, and the empty one at the end."""
    size = 1
    while size:
        size = _exactly(file, 1)[0]
        yield bytes([size]) + _exactly(file, size)


def _scan_gif(file: BinaryIO) -> Scan:
    total, texts = hashlib.sha256(), []
    screen = _exactly(file, 13)
    total.update(screen + _exactly(file, _gif_table(screen[10])))
    while (block := _exactly(file, 1)[0]) != _GIF_END:
        if block == _GIF_EXTENSION:
            label = _exactly(file, 1)[0]
            if label == _GIF_COMMENT:
                comment = b"".join(part[1:] for part in _sub_blocks(file))
                texts += [_decoded(comment)] if comment.startswith(b'{"') else []
                continue
            total.update(bytes([block, label]))
        elif block == _GIF_IMAGE:
            descriptor = _exactly(file, 9)
            total.update(bytes([block]) + descriptor + _exactly(file, _gif_table(descriptor[8]) + 1))
        else:
            raise Damaged("its blocks are broken")
        for part in _sub_blocks(file):
            total.update(part)
    return Scan(_only(texts), total.hexdigest())


def _put_gif(source: BinaryIO, out: BinaryIO, text: str) -> None:
    raw = text.encode("ascii")
    shutil.copyfileobj(source, out, PIECE)
    out.seek(-1, 2)  # over the end mark
    out.write(bytes([_GIF_EXTENSION, _GIF_COMMENT]))
    for i in range(0, len(raw), 255):
        part = raw[i : i + 255]
        out.write(bytes([len(part)]) + part)
    out.write(bytes([0, _GIF_END]))


GIF = Format("gif", _scan_gif, _put_gif)


# films, by FFmpeg's demuxers; what a file says of other files or addresses is not followed

#: FFmpeg's name of what reads each kind of film.
DEMUXERS = {"mp4": "mp4", "mov": "mov", "webm": "matroska"}
_CLOSED = {"protocol_whitelist": "", "enable_drefs": "0", "use_absolute_path": "0"}
#: The index goes first, so that a browser plays while it loads; a MOV's own tags hold 64 KB, those by name what there is.
_MUXER_OPTIONS = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart+use_metadata_tags"}, "webm": {}}


def _film(name: str) -> Format:
    def scan_film(file: BinaryIO) -> Scan:
        import av

        try:
            with av.open(file, "r", format=DEMUXERS[name], container_options=_CLOSED, metadata_errors="replace") as film:
                found = {key.lower(): value for key, value in film.metadata.items()}
                hashes = {stream.index: hashlib.sha256() for stream in film.streams}
                for packet in film.demux():
                    if packet.dts is not None:
                        hashes.setdefault(packet.stream.index, hashlib.sha256()).update(bytes(packet))
        except av.FFmpegError as error:
            raise Damaged(f"broken ({error.strerror})") from None
        texts = [text for key, text in found.items() if key == "comment" and text.startswith('{"')]
        total = hashlib.sha256(b"".join(hashes[index].digest() for index in sorted(hashes)))
        return Scan(_only([_decoded(text.encode()) for text in texts]), total.hexdigest())

    def put_film(source: BinaryIO, out: BinaryIO, text: str) -> None:
        _remux(source, out, text, name)

    return Format(name, scan_film, put_film)


def _remux(source: BinaryIO, out: BinaryIO, text: str, name: str) -> None:
    import av

    def read_again(*_: Any) -> _Again:
        return _Again(out)

    options = {**_MUXER_OPTIONS[name], "fflags": "+bitexact"}
    with (
        av.open(source, "r", format=DEMUXERS[name]) as film,
        av.open(out, "w", format=name, options=options, io_open=read_again) as made,
    ):
        made.metadata["comment"] = text
        streams = {stream.index: made.add_stream_from_template(stream, opaque=True) for stream in film.streams}
        for packet in film.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


class _Again:
    """Reads a file that is being written: to bring the table of an MP4 to its front, what is there is moved backwards.

    Args:
        file: stays where it stands.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def read(self, count: int) -> bytes:
        """Read on from where this reader stands."""
        back = self._file.tell()
        self._file.seek(self._at)
        data = self._file.read(count)
        self._at = self._file.tell()
        self._file.seek(back)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Stand elsewhere, as files do."""
        back = self._file.tell()
        end = self._file.seek(0, 2)
        self._file.seek(back)
        self._at = offset + (0, self._at, end)[whence]
        return self._at

    def tell(self) -> int:
        """Where this reader stands."""
        return self._at

    def close(self) -> None:
        """There is nothing to let go of."""


MP4, MOV, WEBM = _film("mp4"), _film("mov"), _film("webm")


# safetensors: length, JSON header, data


def _model_header(file: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header of a model file, and the document in it that is genart's; leaves the file at its data."""
    try:
        header = parse_safetensors_header(file)
        document = json.loads(header["__metadata__"]["genart"])
        document["model"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged("not a model that genart saved") from None
    return header, document


def _scan_model(file: BinaryIO) -> Scan:
    header, document = _model_header(file)
    tensors = {name: about for name, about in header.items() if name != "__metadata__"}
    total = hashlib.sha256(json.dumps([tensors, document["model"]], sort_keys=True).encode())
    while piece := file.read(PIECE):
        total.update(piece)
    text = json.dumps(document["provenance"], sort_keys=True) if "provenance" in document else None
    return Scan(text, total.hexdigest())


def _put_model(source: BinaryIO, out: BinaryIO, text: str) -> None:
    header, document = _model_header(source)
    header["__metadata__"]["genart"] = json.dumps({**document, "provenance": json.loads(text)}, sort_keys=True, allow_nan=False)
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    raw += b" " * (-len(raw) % 8)  # safetensors aligns its data to 8 bytes
    out.write(len(raw).to_bytes(8, "little") + raw)
    shutil.copyfileobj(source, out, PIECE)


SAFETENSORS = Format("safetensors", _scan_model, _put_model)

#: Names of the kinds that can be compared beyond their bytes.
COMPARED = {kind.name for kind in (PNG, JPEG, WEBP, GIF, MP4, MOV, WEBM, SAFETENSORS)}
