"""Formats of pictures: which there are, and how a file is known as one of them; and what plugins bring beside them.

Here is what plans need, so nothing heavy is imported; `genart.nn.pictures` decodes. Pillow reads a file under the names that its own
formats have, whatever plugins say; all else is a reader's whose first bytes it has.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

#: Kinds of pictures that are read, by the ends of their names; and those that are not, named at the end rather than passed over in silence.
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
OTHER_SUFFIXES = {".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".tga", ".exr", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf"}
#: first bytes -> Pillow's name of what they begin
MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
}
#: Bytes of a file that are looked at to know it.
HEAD_BYTES = 32
#: Fewer bytes than this prove nothing without a name.
SURE_BYTES = 4
#: The ends of names of archives of pictures.
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz")
#: What is never a picture, however it begins.
MODELS = (".safetensors",)
_SUFFIX = re.compile(r"\.[a-z0-9_.-]{1,20}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def kind_of(head: bytes) -> str | None:
    """Pillow's name of the format of a file that begins with these 16 bytes or more; None if it is none that Pillow reads here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


# what plugins bring


@dataclass(frozen=True)
class PictureReader:
    """What reads a format of pictures. Its functions are called from several threads at once, each with a file of its own.

    They raise what they like on a file that they cannot read: it is left out, and named with the reason.

    Attributes:
        shape: reads the header of a file that stands at its beginning, and no pixel: (height, width, 3 or 4). From that alone
            a picture is refused that is too large.
        read: reads the file from its beginning: (H, W, 3 or 4) uint8, sRGB, upright, of that shape; of four channels the last is opacity,
            not multiplied into the others.
    """

    shape: Callable[[BinaryIO], tuple[int, int, int]]
    read: Callable[[BinaryIO], np.ndarray]


@dataclass(frozen=True)
class PictureFormat:
    """How a format of pictures is known, and what reads it; see the hook genart_readers.

    Attributes:
        magic: what such a file has in it at `at`, one of these. Fewer than four bytes, or those that Pillow's formats begin with too, count
            together with the end of the name.
        reader: "package.module:READER", a `PictureReader`; imported when the first such picture is read.
        at: where they stand; they end within the first 32 bytes.
        suffixes: ends of names, such as (".ff",). What is called so in a folder is taken for a picture, whatever is in it.

    Raises:
        ValueError: if it says what cannot be.
    """

    magic: tuple[bytes, ...]
    reader: str
    at: int = 0
    suffixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.magic, tuple) or not self.magic or not all(isinstance(one, bytes) and one for one in self.magic):
            raise ValueError(f'magic must be a tuple of bytes, such as (b"farbfeld",), and is {self.magic!r}')
        if self.at < 0 or self.at + max(map(len, self.magic)) > HEAD_BYTES:
            raise ValueError(f"magic must stand within the first {HEAD_BYTES} bytes")
        if not isinstance(self.suffixes, tuple) or not all(_SUFFIX.fullmatch(one) for one in self.suffixes):
            raise ValueError(f'suffixes must be a tuple of small letters with a dot in front, such as (".ff",), and is {self.suffixes!r}')
        if taken := SUFFIXES.union(MODELS).intersection(self.suffixes):
            raise ValueError(f"names that end in {', '.join(sorted(taken))} are genart's own")
        if not _TARGET.fullmatch(self.reader):
            raise ValueError(f'reader must be "package.module:OBJECT", and is {self.reader!r}')

    def fits(self, head: bytes, suffix: str) -> bool:
        """True for a file of this format.

        Args:
            head: its first 32 bytes.
            suffix: the end of its name, small letters; "" if it has none.
        """
        found = max((len(one) for one in self.magic if head[self.at : self.at + len(one)] == one), default=0)
        if not found or suffix in MODELS:
            return False
        return suffix in self.suffixes if found < SURE_BYTES or kind_of(head) is not None else True


@dataclass(frozen=True)
class Brought:
    """A format of pictures with the plugin that brings it.

    Attributes:
        name: that the plugin gives the format.
        format: how it is known.
        plugin: name of the plugin.
        origin: the distribution and its version, or the file.
    """

    name: str
    format: PictureFormat
    plugin: str
    origin: str

    def __str__(self) -> str:
        return f"'{self.name}' ({self.origin})"

    def reader(self) -> PictureReader:
        """Import what reads it.

        Raises:
            ImportError: if it cannot be imported, or is no reader; whatever else its module raises.
        """
        module, _, attribute = self.format.reader.partition(":")
        reader: Any = getattr(importlib.import_module(module), attribute, None)
        if not isinstance(reader, PictureReader):
            raise ImportError(f"{self.format.reader} is no PictureReader")
        return reader


class Formats:
    """The formats that plugins have brought to this process; one object, `FORMATS`, since threads that decode know of no plugins."""

    def __init__(self) -> None:
        self.brought: tuple[Brought, ...] = ()

    def fitting(self, head: bytes, suffix: str) -> list[Brought]:
        """Formats that a file is of, by its first 32 bytes and the end of its name in small letters: none, one, or a quarrel."""
        return [one for one in self.brought if one.format.fits(head, suffix)]

    @property
    def suffixes(self) -> set[str]:
        """Ends of names of pictures, those that cannot be read among them."""
        return SUFFIXES.union(OTHER_SUFFIXES, *(one.format.suffixes for one in self.brought))

    def words(self, joined: str = "and") -> str:
        """What is read, for messages: "PNG, JPEG, WebP, GIF, BMP and TIFF", and what plugins bring."""
        *most, last = ["PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF", *(one.name for one in self.brought)]
        return f"{', '.join(most)} {joined} {last}"


def is_plain(head: bytes, suffix: str) -> bool:
    """True for a file of Pillow's under a name of Pillow's or none, for which no plugin need be asked."""
    return kind_of(head) is not None and suffix in SUFFIXES | {""}


#: Those of this process; `Plugins.bring_formats` fills it.
FORMATS = Formats()


# films


@dataclass(frozen=True)
class FilmWriter:
    """What writes a format of films; see the hook genart_writers.

    Attributes:
        write: called with (frames, path, fps, params): an iterator of the frames, each (H, W, 3 or 4) uint8 sRGB, all of one size, made as
            they are asked for; the path of a file that is not there yet; frames per second; the parameters of `video.assemble`. It reads
            all frames, keeps none, and leaves the whole film at the path. The same frames give the same bytes.
        alpha: frames keep their transparency, where the pictures have some; else they are laid on `background`.
        put: copies a film (source, out, text) with a text of ASCII in it; `out` is empty, and open for writing and reading. None for a
            format that has no room for one.
        scan: reads a film that stands at its beginning: (the text or None, SHA-256 in hex of all that is seen and heard, whatever the
            text). Both or neither of these two.
    """

    write: Callable[[Iterator[np.ndarray], Path, float, Any], object]
    alpha: bool = False
    put: Callable[[BinaryIO, BinaryIO, str], object] | None = None
    scan: Callable[[BinaryIO], tuple[str | None, str]] | None = None

    def __post_init__(self) -> None:
        if (self.put is None) != (self.scan is None):
            raise ValueError("a FilmWriter has both `put` and `scan`, or neither")
