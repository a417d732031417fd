"""What a case of bad input is, and the bits and bytes that its makers share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: What has to become of a file, by what is in it.
#:
#: ok: it is used.
#: skip: as one of a folder it is left out and named, alone it is bad data (exit 3).
#: either: ok or skip, where its pixels are whole and something beside them is broken.
#: any: the same, and a folder may be silent about it.
#: silent: it is no picture, and a folder that holds it is read without it and without a word.
#: data, usage, refused, different: exit 3, 2, 7, 9.
#: healed: what it belongs to is made again, the same to the byte.
Expected = Literal["ok", "skip", "either", "data", "usage", "refused", "healed", "silent", "different", "any"]
#: The command that a user would give it to; see `law.WORDS`.
Use = Literal["folder", "alone", "check", "model", "film", "archive", "show", "remake", "run", "report"]
Content = bytes | Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One file and what has to become of it.

    Attributes:
        group: the table's row.
        name: what is odd about it.
        file: its own name.
        expected: what has to become of it.
        content: its bytes, or what puts it at a path.
        use: the command.
    """

    group: str
    name: str
    file: str
    expected: Expected
    content: Content
    use: Use = "folder"

    def __str__(self) -> str:
        """A name for tests."""
        return f"{self.group}/{self.name}"

    def put(self, path: Path) -> None:
        """Put the file at a path."""
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)


def stored(data: bytes) -> bytes:
    """A zlib stream that compresses nothing: the same bytes whatever library is at hand."""
    pieces = [data[i : i + 0xFFFF] for i in range(0, len(data), 0xFFFF)] or [b""]
    blocks = b"".join(struct.pack("<BHH", piece is pieces[-1], len(piece), len(piece) ^ 0xFFFF) + piece for piece in pieces)
    return b"\x78\x01" + blocks + zlib.adler32(data).to_bytes(4, "big")


def zeros(count: int) -> bytes:
    """A zlib stream of so many zeros, a thousandth of that in size: runs of 258 in fixed Huffman codes."""
    runs, rest = divmod(count - 1, 258)
    bits = "110" + "00110000" + "1100010100000" * runs + "00110000" * rest + "0000000"
    body = int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")
    return b"\x78\x01" + body + ((count % 65521) << 16 | 1).to_bytes(4, "big")


def bits_of(*fields: tuple[int, int]) -> bytes:
    """Numbers in so many bits each, the lowest bit first, as WebP has them."""
    total = at = 0
    for value, width in fields:
        total |= value << at
        at += width
    return total.to_bytes((at + 7) // 8, "little")
