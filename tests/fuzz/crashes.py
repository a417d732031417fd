"""Inputs that once broke a target, as small as they could be made; replayed by the normal run.

What `python -m tests.fuzz` prints of a new one goes through `base64.b85decode`, or better is built here, so that one sees what it is.
"""

from __future__ import annotations

import struct
from functools import cache

from PIL import Image, ImageCms

from genart import tags

from . import seeds


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks."""
    return tags.PNG_SIGNATURE + b"".join(tags.chunk(kind, body) for kind, body in chunks)


def nameless_profile() -> bytes:
    """A colour profile whose colour space has a name that is no text."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[19] = 0xF4
    return bytes(profile)


def odd_profile() -> bytes:
    """A whole PNG with such a profile."""
    return seeds.encoded(Image.fromarray(seeds.noise(2, 2, 3)), "PNG", icc_profile=nameless_profile())


def nameless() -> bytes:
    """A ZIP with an entry that has no name, and nothing in it."""
    return b"PK\3\4" + bytes(26) + b"PK\1\2" + bytes(42) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 30, 0)


HEADER = (b"IHDR", b"\0\0\0\1\0\0\0\1\x08\2\0\0\0")


@cache
def crashes() -> dict[str, tuple[str, bytes]]:
    """Target and input by what is wrong with it."""
    deep = b"[" * 100_000
    seeds.set_files()  # imports what reads them
    return {
        "save is a space": ("save", b" "),
        "save ends in a dot": ("save", b"film./a.png"),
        "save holds an escape of one byte": ("save", b"c\xc2\x9b2J"),
        "save turns the direction of a text": ("save", "c\u202egnp".encode()),
        "size of 400 digits": ("words", b"9" * 400),
        "colour profile for a space that is no text": ("picture", b"\0" + odd_profile()),
        "PNG in a pipe with a second, short header": ("stream", b"\0" + png(HEADER, (b"IHDR", b"\0\0\0"), (b"IEND", b""))),
        "entry of a ZIP without a name": ("many", b"\0" + nameless()),
        "class without a name": ("many", b"\2" + seeds.classes(3, 200, 9)),
        "fewer classes than pictures": ("many", b"\2" + seeds.classes(3)),
        "note of a result nested too deeply": ("store", b"\2" + deep),
        "history nested too deeply": ("store", b"\3" + deep),
        "choices nested too deeply": ("store", b"\4" + deep),
        "choices that are a list": ("store", b"\4[1]"),
        "mark of written pictures nested too deeply": ("store", b"\5" + deep),
        "mark of written pictures that is a list": ("store", b"\5[1]"),
        "mark of written pictures without a count": ("store", b'\5{"runs": [], "ends": [0, 0]}'),
        "mark of written pictures with one end": ("store", b'\5{"runs": [], "count": 0, "ends": [0]}'),
        "mark of written pictures before the beginning": ("store", b'\5{"runs": [[-1, 1, 1, 1]], "count": -1, "ends": [-1, 0]}'),
        "remembered hashes nested too deeply": ("store", b"\6" + deep),
        "remembered devices nested too deeply": ("store", b"\7" + deep),
        "remembered hash that is a number": ("store", b'\6{"": 5}'),
        "remembered hash that is too short": ("store", b'\6{"": []}'),
    }
