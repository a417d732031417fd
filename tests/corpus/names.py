"""Fifty names that a terminal, a shell, a template or another system would take for more than a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .case import Case
from .png import good

NAMES = [
    "a\nb.png",
    "a\rb.png",
    "a\tb.png",
    "\x1b[2J.png",
    "\x1b]52;c;aGFjaw==\x07.png",
    "\x1b]8;;http:evil\x07click\x1b]8;;\x07.png",
    "\x07.png",
    "\x08\x08\x08.png",
    "\x9b31m.png",
    "\u202egnp.exe.png",
    "\u2066a\u2069.png",
    "a\u200bb.png",
    "\ufeffa.png",
    "[red]a[.png",
    "[link=http:evil]a.png",
    "[[stage]].png",
    "-i.png",
    "--out=x.png",
    "--.png",
    "%d.png",
    "%n%s%p.png",
    "{0.__class__}.png",
    "{{7*7}}.png",
    "$(id).png",
    "`id`.png",
    "$HOME.png",
    "~.png",
    "a'b.png",
    'a"b.png',
    "a;id.png",
    "a|id.png",
    "a&id.png",
    "<script>.png",
    "*.png",
    "?.png",
    "\\.png",
    "a\\..\\b.png",
    "x" * 251 + ".png",
    os.fsdecode(b"\xff\xfe.png"),
    os.fsdecode(b"caf\xe9.png"),
    "e\u0301.png",
    "GOOD.PNG",
    "CON.png",
    "a. .png",
    " .png",
    "\U0001f3a8.png",
    "a..png.png",
]


def cases() -> Iterator[Case]:
    """All of them: those of sound pictures and of damaged ones in turn."""
    for number, name in enumerate(NAMES):
        whole = number % 2 == 0
        yield Case("names", ascii(name)[:60], name, "ok" if whole else "skip", good() if whole else b"rubbish")
    yield Case("names", "a recipe with ESC", "\x1b[2J.toml", "usage", b"rubbish", "check")
    yield Case("names", "a recipe that is not there", "\u202elmot.toml", "usage", _nothing, "check")
    yield Case("names", "a model with a line break", "a\nb.safetensors", "data", b"rubbish", "model")


def _nothing(path: Path) -> None:
    """Put nothing there."""
