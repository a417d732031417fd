"""Texts of a recipe are data: wherever one stands, nothing of it is run, opened, expanded or obeyed by a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from genart.plugins import Plugins
from tests.conftest import TOYS

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


#: Texts tried in each parameter, so many that all are tried somewhere; the slow tests try all everywhere.
TRIED = 2


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
    first = TRIED * texts().index((stage, parameter))
    every = CODE + TERMINAL
    attempt(watched, stage, parameter, [every[(first + number) % len(every)] for number in range(TRIED)])


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "parameter"), texts(), ids=lambda part: part)
def test_none_of_all_texts_is_run_anywhere(watched: Callable, stage: str, parameter: str) -> None:
    attempt(watched, stage, parameter, CODE + TERMINAL)


def attempt(watched: Callable, stage: str, parameter: str, given: list[str]) -> None:
    """Check recipes with these texts in a parameter, alone and in a list."""
    takes = Plugins().stage(stage).takes
    before = {
        None: "",
        "images": '[[stage]]\nuses = "toy.noise"\ncount = 2\nsize = 16\n',
        "model": '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsteps = 1\n',
        "video": '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.film"\n',
    }[takes]
    for number, text in enumerate(given):
        value = [text] if number % 2 else text
        recipe(watched.inside, f'{before}[[stage]]\nuses = "{stage}"\n{parameter} = {json.dumps(value)}\n')
        watched("check", "r.toml", "-p", TOYS, codes=(0, 2, 3, 7))


@pytest.mark.parametrize("text", [*CODE, *TERMINAL])
def test_a_caption_is_drawn_and_nothing_else(watched: Callable, text: str) -> None:
    stages = '[[stage]]\nuses = "toy.noise"\ncount = 2\nsize = 16\n[[stage]]\nuses = "video.assemble"\nsave = "a.gif"\n'
    recipe(watched.inside, f"{stages}caption = {json.dumps(text)}\ntitle = {json.dumps(text)}\n")
    watched(*run_words(), codes=(0, 2, 3))
    for path in watched.inside.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("text", [*CODE[:6], *TERMINAL])
@pytest.mark.parametrize("place", ["name", "description", "id", "uses", "from", "key", "sweep"])
def test_words_of_a_recipe_reach_no_terminal_as_they_are(watched: Callable, text: str, place: str) -> None:
    noise: dict[str, Any] = {"uses": "toy.noise", "count": 2}
    tables = {"name": "stranger"} | ({place: text} if place in ("name", "description") else {})
    stage = noise | ({place: text} if place in ("id", "uses", "from") else {}) | ({text: 1} if place == "key" else {})
    lines = ["[recipe]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in tables.items()), "[[stage]]"]
    lines += [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in stage.items()]
    lines += ["[sweep]", f"{json.dumps(text)} = [1, 2]"] if place == "sweep" else []
    (watched.inside / "r.toml").write_text("\n".join(lines), encoding="utf-8")
    watched("plan", "r.toml", "--why", "-p", TOYS, codes=(0, 2, 3, 7))
    if place in ("name", "description", "id"):  # the others are refused
        watched(*run_words(), codes=(0, 2, 7))
