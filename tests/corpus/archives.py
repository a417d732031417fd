"""Archives, 20 of them: each is given as what it is, and as three other things that genart reads."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator

from .case import Case, Expected, Use, zeros
from .models import zipped
from .png import good

#: What else each is called, its command, and what has to become of it.
FORMS: list[tuple[str, Use, Expected]] = [
    ("png", "folder", "skip"),
    ("safetensors", "model", "data"),
    ("toml", "check", "usage"),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for number, (name, expected, content) in enumerate(_archives()):
        yield Case("archives", f"{name}, read as one", f"a{number:02d}.archive", expected, content, "archive")
        for suffix, use, other in FORMS:
            yield Case("archives", f"{name} called {suffix}", f"a{number:02d}.{suffix}", other, content, use)


def _archives() -> Iterator[tuple[str, Expected, bytes]]:
    for name in ("../outside.png", "/tmp/outside.png", "a/../../outside.png", "..\\outside.png", "C:\\outside.png"):
        yield f"a ZIP of {ascii(name)[:24]}", "ok", zipped({name: good()})
    for name in ("a\0b.png", "x" * 5000):  # neither is a picture's
        yield f"a ZIP of {ascii(name)[:24]}", "data", zipped({name: good()})
    yield "a ZIP of a link", "data", _linked()
    yield "a ZIP of one name twice", "ok", _twice()
    yield "a ZIP of 10,000 files", "data", zipped({f"{number}.png": b"" for number in range(10_000)})
    yield "a ZIP in a ZIP", "data", zipped({"a.zip": zipped({"a.png": good()})})
    yield "an empty ZIP", "data", b"PK\5\6" + bytes(18)
    yield "a ZIP whose sizes lie", "data", zipped({"a.png": good()}).replace(len(good()).to_bytes(4, "little"), b"\xff\xff\xff\x7f")
    yield "half a ZIP", "data", zipped({"a.png": good() * 10})[:500]
    for name, kind, target in (
        ("../outside.png", tarfile.REGTYPE, ""),
        ("a", tarfile.SYMTYPE, "/etc/passwd"),
        ("a", tarfile.LNKTYPE, "/etc/passwd"),
        ("a", tarfile.CHRTYPE, ""),
    ):
        yield f"a TAR of {kind.decode()}, {name}", "ok" if kind == tarfile.REGTYPE else "data", _tar(name, kind, target)
    yield "a gzip of 64 MiB", "data", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + zeros(64 << 20)[2:-4] + bytes(8)
    yield "a 7z", "data", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(40)


def _linked() -> bytes:
    data, info = io.BytesIO(), zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return data.getvalue()


def _twice() -> bytes:
    one = zipped({"a.png": good(), "b.png": b"rubbish"})
    return one.replace(b"b.png", b"a.png")


def _tar(name: str, kind: bytes, target: str) -> bytes:
    data, info = io.BytesIO(), tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(good()) if kind == tarfile.REGTYPE else 0
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(info, io.BytesIO(good()))
    return data.getvalue()
