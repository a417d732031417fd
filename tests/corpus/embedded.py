"""What a saved picture says of itself, forged: 40 files for `genart show` and `genart remake`."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

from .case import Case, Expected, stored, zeros
from .jpeg import jpeg, segment
from .png import ESC, chunk, png
from .still import END, image, screen

SUM = "0" * 64
#: A picture of the toys' noise, as such a file would tell it.
TOLD: dict[str, Any] = {
    "format": 1,
    "genart": "0.1.0",
    "recipe": "x",
    "seed": 1,
    "stage": "noise",
    "device": "cpu",
    "torch": "2.0",
    "picture": {},
    "index": 0,
    "stages": [
        {
            "id": "noise",
            "uses": "toy.noise",
            "from": [],
            "params": {"count": 1, "size": 8, "mixed": False, "slow": 0.0, "fps": None},
            "plugin": {"version": "0", "source": "0"},
            "outputs": {"output": SUM},
            "seed": 1,
        }
    ],
}


def sealed(told: Any, *, content: str | None = None) -> str:
    """The text that goes into a PNG made here, with the hashes that belong to it."""
    if not isinstance(told, dict):
        return json.dumps(told)
    seen = hashlib.sha256()
    for kind, data in ((b"IHDR", png()[16:29]), (b"IDAT", _pixels()), (b"IEND", b"")):
        seen.update(kind + data)
    told = {**told, "content": content or seen.hexdigest()}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return json.dumps({**told, "seal": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True, separators=(",", ":"))


def _pixels() -> bytes:
    start = png().index(b"IDAT")
    return png()[start + 4 : -16]


def saying(*texts: str | bytes) -> bytes:
    """A PNG that says this of itself."""
    data = (text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass") for text in texts)
    return png(*(chunk(b"iTXt", b"genart\0\0\0\0\0" + text) for text in data))


def stage(**changed: Any) -> dict[str, Any]:
    """What is told, with its stage changed."""
    return {**TOLD, "stages": [{**TOLD["stages"][0], **changed}]}


def cases() -> Iterator[Case]:
    """All of them."""
    number = 0
    for use, found in (("show", _shown()), ("remake", _made_again())):
        for name, expected, content in found:
            yield Case("PNG-embedded recipes", f"{use}: {name}", f"e{number:02d}.png", expected, content, use)
            number += 1


Found = Iterator[tuple[str, Expected, bytes]]


def _shown() -> Found:
    yield "as it should be", "ok", saying(sealed(TOLD))
    yield "nothing", "data", png()
    yield "an empty text", "data", saying("")
    yield "no JSON", "data", saying("{nope")
    yield "a list", "data", saying("[]")
    yield "NaN", "data", saying(sealed(TOLD).replace('"seed":1', '"seed":NaN', 1))
    yield "JSON that nests", "data", saying('{"a":' + "[" * 50_000 + "]" * 50_000 + "}")
    yield "two of them", "data", saying(sealed(TOLD), sealed(TOLD))
    yield "of a later version", "data", saying(sealed({**TOLD, "format": 99}))
    yield "a seal that is not its own", "data", saying(sealed(TOLD).replace('"recipe":"x"', '"recipe":"y"'))
    yield "of another picture", "data", saying(sealed(TOLD, content=SUM))
    yield "in another tongue", "data", saying(sealed(TOLD).replace('"x"', '"\xe9"'))
    yield "64 MiB of zeros", "data", png(chunk(b"iTXt", b"genart\0\1\0\0\0" + zeros(64 << 20)))
    yield "compressed rubbish", "data", png(chunk(b"iTXt", b"genart\0\1\0\0\0rubbish"))
    yield "an unknown compression", "data", png(chunk(b"iTXt", b"genart\0\7\7\0\0" + stored(b"{}")))
    yield "ESC in its names", "data", saying(sealed({**TOLD, "recipe": "\x1b[2J"}))
    yield "ESC in its values", "ok", saying(sealed({**TOLD, "picture": {"note": ESC.decode("latin-1") + "\u202e\x9b31m"}}))
    yield "a name that is a path", "data", saying(sealed(stage(files={"path": {"name": "../../etc/passwd", "content": SUM}})))
    yield "100,000 stages", "data", saying(sealed({**TOLD, "stages": TOLD["stages"] * 20_000}))
    yield (
        "a JPEG that says it twice",
        "data",
        jpeg(*[segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<genart:provenance>{}</genart:provenance>")] * 2),
    )
    yield "a GIF whose comment is rubbish", "data", screen() + b"\x21\xfe" + b'\4{"a"' + b"\0" + image() + END
    yield "a chunk of 2 GB", "data", png()[:33] + struct.pack(">I", 0x7FFFFFFF) + b"iTXtgenart\0"


def _made_again() -> Found:
    yield "another picture than it says", "different", saying(sealed(TOLD))
    yield "a stage that nobody has", "usage", saying(sealed(stage(uses="os.system")))
    yield "a plugin that is code", "usage", saying(sealed(stage(uses="__import__('os').system")))
    yield "a parameter that nobody has", "data", saying(sealed(stage(params={"evil": 1})))
    yield "a parameter of another type", "data", saying(sealed(stage(params={"count": "eval"})))
    yield (
        "a file that is not here",
        "data",
        saying(sealed(stage(uses="images.folder", params={}, seed=None, files={"path": {"name": "passwd", "content": SUM}}))),
    )
    yield (
        "a file named as a device",
        "data",
        saying(sealed(stage(uses="images.folder", params={}, seed=None, files={"path": {"name": "null", "content": SUM}}))),
    )
    yield "a path among its parameters", "data", saying(sealed(stage(uses="images.folder", params={"path": ["/etc/passwd"]}, seed=None)))
    yield "a stage that reads itself", "data", saying(sealed(stage(uses="toy.invert", **{"from": ["noise"]}, params={}, seed=None)))
    yield "a stage that is not told", "data", saying(sealed(stage(uses="toy.invert", **{"from": ["other"]}, params={}, seed=None)))
    yield "two stages of one name", "data", saying(sealed({**TOLD, "stages": TOLD["stages"] * 2}))
    yield "a seed beyond all numbers", "different", saying(sealed({**TOLD, "seed": 10**400}))
    yield "a picture beyond the last", "data", saying(sealed({**TOLD, "index": 10**9}))
    yield "a stage of another name", "data", saying(sealed({**TOLD, "stage": "other"}))
    yield "a device that is not here", "different", saying(sealed({**TOLD, "device": "cuda"}))
    yield "choices that nest", "data", saying(sealed(stage(choices={"plan": json.loads("[" * 500 + "]" * 500)})))
    yield "a model that is not here", "data", saying(sealed(stage(uses="toy.draw", **{"from": ["other"]}, params={})))
    yield "a budget without end", "data", saying(sealed(stage(uses="toy.invert", params={"budget": "inf"}, **{"from": ["noise"]})))
