"""Every output explains itself: what made it travels inside the file, without paths, user names or secrets.

| kind | where |
|---|---|
| PNG, APNG | iTXt chunk `genart` |
| GIF | comment extension |
| WebP | XMP |
| MP4, MOV, WebM | tag `comment` |
| safetensors | key `provenance` of the `genart` entry of the header |
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .artifacts import Images, Model, Video, read_safetensors_header
from .errors import DataError
from .store import is_alive

KEYWORD = "genart"


def as_text(provenance: dict[str, Any]) -> str:
    """Provenance as the one line of ASCII JSON that goes into files."""
    return json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


# pictures


def write_png(images: Images, target: Path, provenance: dict[str, Any]) -> None:
    """Write the one picture of `images` as PNG.

    Raises:
        DataError: if there is not exactly one.
    """
    if len(images) != 1:
        raise DataError(
            f"{target.name}: {len(images)} pictures cannot be one PNG",
            "save them into a folder (a name without suffix), or make a contact sheet with images.grid",
        )
    _write_picture(images[0].array[0], target, {**provenance, "picture": images[0].meta[0]})


def write_folder(images: Images, target: Path, provenance: dict[str, Any]) -> None:
    """Write numbered PNGs into a new folder; each carries its own metadata."""
    target.mkdir()
    digits = max(5, len(str(len(images))))
    for batch in images:
        for i, array, meta in zip(batch.index, batch.array, batch.meta, strict=True):
            _write_picture(array, target / f"{i:0{digits}d}.png", {**provenance, "picture": meta, "index": i})


def _write_picture(array: Any, target: Path, provenance: dict[str, Any]) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(KEYWORD, as_text(provenance), zip=True)
    Image.fromarray(array).save(target, "PNG", pnginfo=info)


# models


def write_model(model: Model, target: Path, provenance: dict[str, Any]) -> None:
    """Copy a model file with the provenance in its header; the weights stay as they are, byte for byte."""
    header, data_at = read_safetensors_header(model.path)
    document = json.loads(header["__metadata__"]["genart"])
    header["__metadata__"]["genart"] = json.dumps({**document, "provenance": provenance}, sort_keys=True, allow_nan=False)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns its data to 8 bytes
    with open(model.path, "rb") as source, open(target, "wb") as out:
        source.seek(data_at)
        out.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(source, out, 1 << 20)


# films


def write_video(video: Video, target: Path, provenance: dict[str, Any]) -> None:
    """Copy a film with the provenance in it; no frame is encoded again."""
    _VIDEO_WRITERS[video.path.suffix](video.path, target, as_text(provenance))


def _write_gif(source: Path, target: Path, text: str) -> None:
    data = source.read_bytes()
    if not data.endswith(b"\x3b"):
        raise DataError(f"{source.name}: not a whole GIF")
    raw = text.encode("ascii")
    blocks = b"".join(bytes([len(raw[i : i + 255])]) + raw[i : i + 255] for i in range(0, len(raw), 255))
    target.write_bytes(data[:-1] + b"\x21\xfe" + blocks + b"\x00\x3b")


def _remux(source: Path, target: Path, text: str) -> None:
    import av

    container_format = source.suffix.lstrip(".")
    options = {} if container_format == "webm" else {"movflags": "+faststart"}
    with (
        av.open(str(source)) as film,
        av.open(str(target), "w", format=container_format, options={**options, "fflags": "+bitexact"}) as out,
    ):
        out.metadata["comment"] = text
        streams = {stream.index: out.add_stream_from_template(stream) for stream in film.streams}
        for packet in film.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)


def _write_webp(source: Path, target: Path, text: str) -> None:
    """Append the text as XMP; an animation has the extended header already, which says so."""
    data = bytearray(source.read_bytes())
    if data[12:16] != b"VP8X":
        raise DataError(f"{source.name}: not an animated WebP")
    data[20] |= 0b100
    packet = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><genart><![CDATA[{text}]]></genart></x:xmpmeta>".encode()
    data += b"XMP " + len(packet).to_bytes(4, "little") + packet + b"\0" * (len(packet) % 2)
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    target.write_bytes(data)


def _write_apng(source: Path, target: Path, text: str) -> None:
    """Put the text behind the header, as in a PNG."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(KEYWORD, text, zip=True)
    kind, body = info.chunks[0][:2]
    chunk = len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    data = source.read_bytes()
    target.write_bytes(data[:33] + chunk + data[33:])  # the signature and IHDR are 33 bytes


_VIDEO_WRITERS: dict[str, Callable[[Path, Path, str], None]] = {
    ".gif": _write_gif,
    ".webp": _write_webp,
    ".apng": _write_apng,
    ".mp4": _remux,
    ".webm": _remux,
    ".mov": _remux,
}


# putting things in place


def save(artifact: Images | Model | Video, target: Path, provenance: dict[str, Any]) -> None:
    """Write an artifact under its output name.

    Nothing half-written is ever visible there, and an old one stays until the new one is whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp{target.suffix}")
    _remove(temporary)
    _sweep(target)
    try:
        if isinstance(artifact, Model):
            write_model(artifact, temporary, provenance)
        elif isinstance(artifact, Video):
            write_video(artifact, temporary, provenance)
        elif target.suffix:
            write_png(artifact, temporary, provenance)
        else:
            write_folder(artifact, temporary, provenance)
        _put(temporary, target)
    except BaseException:
        _remove(temporary)
        raise


def _put(temporary: Path, target: Path) -> None:
    from .run import fsync_file

    for path in sorted(temporary.iterdir()) if temporary.is_dir() else [temporary]:
        fsync_file(path)
    if temporary.is_dir() or (target.is_dir() and not target.is_symlink()):
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        if os.path.lexists(target):
            os.rename(target, old)  # a folder cannot be replaced in one step; the old one is whole under its other name
        os.rename(temporary, target)
        _remove(old)
    else:
        os.replace(temporary, target)


def _sweep(target: Path) -> None:
    """Remove what saves of this target left half-done when they were killed."""
    form = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(?:tmp{re.escape(target.suffix)}|old)")
    for path in target.parent.iterdir():
        match = form.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
