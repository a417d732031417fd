"""Texts of a recipe are data: wherever one stands, nothing of it is run, opened, expanded or obeyed by a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from genart.plugins import Plugins

from .conftest import CANARY, recipe, run_words

CODE = [
    "__import__('os').system('touch pwned')",
    "{0.__class__.__mro__[1].__subclasses__()}",
    "{x.__init__.__globals__}",
    "%(x)s %n %s %p",
    "${env:GENART_CANARY} $GENART_CANARY ${GENART_CANARY}",
    "$(touch pwned) `touch pwned`",
    "; touch pwned #",
    "| touch pwned",
    "{{ 7 * 7 }} {% import os %}",
    "os:system",
    "os.system",
    "builtins:eval",
    "movie=/etc/passwd",
    "concat:/etc/passwd|x",
    "http://127.0.0.1:9/x",
    "file:///etc/passwd",
    "-i",
    "--out=/tmp",
    "!!python/object/apply:os.system ['id']",
    "<script>alert(1)</script>",
]
TERMINAL = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGFjaw==\x07",
    "\x1b]8;;http://evil/\x07click\x1b]8;;\x07",
    "\x9b31m",
    "\x07",
    "\x08\x08\x08",
    "a\rb",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\x00",
    "[red]x[/red]",
    "[/red]",
    "[link=http://evil]x[/link]",
]


#: Texts tried in each parameter.
TRIED = 3


@cache
def texts() -> list[tuple[str, str]]:
    """Every parameter of every stage that takes a text, so that a new one is tested by existing."""
    plugins = Plugins()
    found = []
    for stage in plugins.stages():
        for parameter, field in stage.params.model_fields.items():
            if any(kind in str(field.annotation) for kind in ("str", "Path")):
                found.append((stage.name, parameter))
    return found


@pytest.mark.parametrize(("stage", "parameter"), texts(), ids=lambda part: part)
def test_no_text_of_a_recipe_is_run(watched: Callable, stage: str, parameter: str) -> None:
    takes = Plugins().stage(stage).takes
    before = {
        None: "",
        "images": '[[stage]]\nuses = "toy.noise"\ncount = 2\nsize = 16\n',
        "model": '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsteps = 1\n',
        "video": '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.film"\n',
    }[takes]
    first = texts().index((stage, parameter))  # a few for each, so that all are tried somewhere
    for number in range(TRIED):
        text = (CODE + TERMINAL)[(TRIED * first + number) % len(CODE + TERMINAL)]
        for value in (text, [text]):
            recipe(watched.inside, f'{before}[[stage]]\nuses = "{stage}"\n{parameter} = {json.dumps(value)}\n')
            watched("check", "r.toml", "-p", Path(__file__).parents[1] / "toys.py", codes=(0, 2, 3, 7))


@pytest.mark.parametrize("text", [*CODE, *TERMINAL])
def test_a_caption_is_drawn_and_nothing_else(watched: Callable, text: str) -> None:
    stages = '[[stage]]\nuses = "toy.noise"\ncount = 2\nsize = 16\n[[stage]]\nuses = "video.assemble"\nsave = "a.gif"\n'
    recipe(watched.inside, f"{stages}caption = {json.dumps(text)}\ntitle = {json.dumps(text)}\n")
    watched(*run_words(), codes=(0, 2, 3))
    for path in watched.inside.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("text", [*CODE, *TERMINAL])
@pytest.mark.parametrize("place", ["name", "description", "id", "uses", "from", "key", "sweep"])
def test_words_of_a_recipe_reach_no_terminal_as_they_are(watched: Callable, text: str, place: str) -> None:
    noise: dict[str, Any] = {"uses": "toy.noise", "count": 2}
    tables = {"name": "stranger"} | ({place: text} if place in ("name", "description") else {})
    stage = noise | ({place: text} if place in ("id", "uses", "from") else {}) | ({text: 1} if place == "key" else {})
    lines = ["[recipe]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in tables.items()), "[[stage]]"]
    lines += [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in stage.items()]
    lines += ["[sweep]", f"{json.dumps(text)} = [1, 2]"] if place == "sweep" else []
    (watched.inside / "r.toml").write_text("\n".join(lines), encoding="utf-8")
    for words in (("check", "r.toml"), ("plan", "r.toml", "--why"), ("run", "r.toml", "--out", "out")):
        watched(*words, "-p", Path(__file__).parents[1] / "toys.py", codes=(0, 2, 3, 7))
