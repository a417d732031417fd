"""Kinds of pictures that are not read (40), and what is no picture at all (50)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from .case import Case
from .jpeg import jpeg
from .png import ihdr, png

#: Beginnings of files by their suffixes, such as their own programs write them.
KINDS: dict[str, bytes] = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch pwned) (r) file\n%%EOF\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="file:///etc/passwd"/></svg>',
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(12),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END".ljust(2720),
    "icns": b"icns" + struct.pack(">I", 16) + b"ic07" + struct.pack(">I", 8),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ",
    "dds": b"DDS " + struct.pack("<III", 124, 0x1007, 8) + bytes(112),
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(18),
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(44),
    "xpm": b'/* XPM */\nstatic char *x[] = {"8 8 1 1", "a c #ff0000"' + b', "aaaaaaaa"' * 8 + b"};",
    "ico": b"\0\0\1\0\1\0\x08\x08\0\0\1\0\x20\0\x28\1\0\0\x16\0\0\0" + bytes(296),
    "pcx": b"\x0a\5\1\x08" + struct.pack("<4H", 0, 0, 7, 7) + bytes(116) + b"\xc8\1" * 8,
    "tga": bytes([0, 0, 2]) + bytes(9) + struct.pack("<HHBB", 8, 8, 24, 0) + bytes(192),
    "ppm": b"P6 8 8 255\n" + bytes(192),
    "sgi": b"\1\xda\0\1\0\3" + struct.pack(">HHH", 8, 8, 3) + bytes(500) + bytes(192),
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(32),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(32),
    "jxl": b"\xff\x0a" + bytes(32),
    "exr": b"\x76\x2f\x31\1\2\0\0\0" + bytes(32),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for suffix, content in KINDS.items():
        yield Case("formats to refuse", suffix, f"f.{suffix}", "data", content, "alone")
        yield Case("formats to refuse", f"{suffix} called PNG", f"f-{suffix}.png", "skip", content)
    yield from _contents()
    yield from _places()


GROUP = "not pictures"
PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>Not Found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def _contents() -> Iterator[Case]:
    texts = {
        "nothing": b"",
        "a byte": b"\x89",
        "a line break": b"\n",
        "a text": b"hello",
        "a page": PAGE,
        "a pointer of Git LFS": POINTER,
        "a ZIP": b"PK\3\4" + bytes(26) + b"PK\5\6" + bytes(18),
        "a gzip": b"\x1f\x8b\x08" + bytes(20),
        "a program": b"\x7fELF\2\1\1" + bytes(60),
        "a script": b"#!/bin/sh\ntouch pwned\n",
        "a pickle": b"\x80\4\x8c\x05posix\x94\x8c\6system\x94\x93\x94\x8c\x0btouch pwned\x94\x85\x94R.",
        "a stub of a cloud": b"bplist00\xd2\1\2\3\4_NSURLUbiquitousItem" + bytes(20),
        "zeros": bytes(4096),
        "all bytes": bytes(range(256)) * 16,
        "the word PNG": b"PNG\r\n\x1a\n",
        "the first bytes of PNG": b"\x89PNG\r\n\x1a\n",
        "the first bytes of JPEG": b"\xff\xd8\xff",
        "the first bytes of GIF": b"GIF89a",
        "the first bytes of WebP": b"RIFF\0\0\0\0WEBP",
        "the first bytes of TIFF": b"II*\0",
        "the first bytes of BMP": b"BM",
        "JSON": b'{"width": 8}',
        "a key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "escape sequences": b"\x1b]52;c;aGFjaw==\x07" * 50,
    }
    for number, (name, content) in enumerate(texts.items()):
        yield Case(GROUP, name, f"n{number:02d}.{'jpg' if number % 2 else 'png'}", "skip", content)
    for name in ("nothing", "a page", "a program", "all bytes"):
        yield Case(GROUP, f"{name}, alone", "alone.png", "skip", texts[name], "alone")
    for name in ("nothing", "a text", "a script", "the first bytes of BMP"):
        yield Case(GROUP, f"{name}, without a suffix", "README", "silent", texts[name])
    yield Case(GROUP, "a JPEG called PNG", "other.png", "ok", jpeg())
    yield Case(GROUP, "a PNG called JPEG", "other.jpg", "ok", png())
    yield Case(GROUP, "a PNG without a suffix", "picture", "ok", png())


def _places() -> Iterator[Case]:
    def link(target: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(target)

    def in_a_circle(path: Path) -> None:
        path.symlink_to(path.with_name("b.png"))
        path.with_name("b.png").symlink_to(path)

    def folder(path: Path) -> None:
        path.mkdir()

    def circle_of_folders(path: Path) -> None:
        path.mkdir()
        (path / "again").symlink_to(path.parent)

    def endless(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(1 << 40)

    def large(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(png(head=ihdr(10_000, 10_000)))
            file.truncate((1 << 30) + 1)

    def listening(path: Path) -> None:
        where = os.getcwd()
        os.chdir(path.parent)  # the path of a socket may be no longer than 107 bytes
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(where)

    def elsewhere(path: Path) -> None:
        target = path.parent.parent / "elsewhere.png"
        target.write_bytes(png())
        path.symlink_to(target)

    yield Case(GROUP, "a folder", "a.png", "silent", folder)
    yield Case(GROUP, "a folder, alone", "a.png", "data", folder, "alone")
    yield Case(GROUP, "folders in a circle", "a.png", "silent", circle_of_folders)
    yield Case(GROUP, "a pipe", "a.png", "skip", lambda path: os.mkfifo(path))
    yield Case(GROUP, "a pipe without a suffix", "pipe", "silent", lambda path: os.mkfifo(path))
    yield Case(GROUP, "a pipe, alone", "a.png", "usage", lambda path: os.mkfifo(path), "alone")
    yield Case(GROUP, "a socket", "a.png", "skip", listening)
    yield Case(GROUP, "a link to zeros without end", "a.png", "skip", link("/dev/zero"))
    yield Case(GROUP, "a link to nothing ever", "a.png", "skip", link("/dev/null"))
    yield Case(GROUP, "a link that leads nowhere", "a.png", "skip", link("nowhere.png"))
    yield Case(GROUP, "links in a circle", "a.png", "skip", in_a_circle)
    yield Case(GROUP, "a link to itself", "a.png", "skip", link("a.png"))
    yield Case(GROUP, "a link to another folder", "a.png", "ok", elsewhere)
    yield Case(GROUP, "a terabyte of nothing", "a.png", "skip", endless)
    yield Case(GROUP, "a picture of more than a gigabyte", "a.png", "skip", large)
