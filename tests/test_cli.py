"""The command line: its help, where it writes, what it prints into pipes, and what it says when it is interrupted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from genart.cli import app
from genart.commands.app import ORDER

from .conftest import TOYS
from .test_data import save, smooth


def commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words, those that hold others, too."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *words, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


# help


def test_commands_are_listed_in_the_order_of_use(cli):
    listed = cli("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == list(ORDER)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_whole(cli, words):
    result = cli(*words, "--help")
    assert result.code == 0
    usage, *options = result.out.splitlines()
    assert not re.search(r"\[\[|\.\.\.[\]}]", usage), "brackets are put around names, which have none"
    assert not [line for line in options if line.endswith("...")], "a summary is cut"


# places


def test_a_home_that_the_shell_has_left_as_it_is_is_found(cli, recipe, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "me"))
    save(Path("pictures/a.png"), smooth(1))
    save(Path("pictures/b.png"), smooth(1))
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsave = "m.safetensors"\n')
    for words in (
        ("run", path, "-p", TOYS, "--device", "cpu", "--out=~/out", "--tensorboard=~/board"),
        ("apply", "toy.noise", "-p", TOYS, "--device", "cpu", "-o", "~/applied"),
        ("remake", home / "me/applied/00000.png", "-p", TOYS, "-o", "~/remade.png"),
        ("schema", "--out=~/schema.json"),
        ("new", "recipe", "begun", "--dir=~/new"),
        ("data", "check", "pictures", "--sheet=~/sheet.png", "--quarantine=~/aside"),
    ):
        result = cli(*words)
        assert result.code in (0, 3), result.err
    made = ["aside", "applied", "board", "new", "out", "remade.png", "schema.json", "sheet.png"]
    assert sorted(os.listdir(home / "me")) == sorted(made)
    assert not Path("~").exists()


# pipes


def test_what_standard_output_cannot_spell_is_replaced(genart_process, home):
    process = genart_process("stages", "toy.noise", "-p", TOYS, PYTHONIOENCODING="ascii")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith("toy.noise  ? ? images\n")


def test_no_table_is_cut_in_a_pipe(genart_process, recipe, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    name = "a-very-long-" * 8
    path = recipe(f'[[stage]]\nuses = "toy.noise"\nid = "{name}"\n')
    out, err = genart_process("plan", path, "--why", "-p", TOYS, "--device", "cpu").communicate()
    assert re.search(rf"^{name} +toy\.noise +run +never made before *$", out, re.MULTILINE), (out, err)


# interruption


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("genart.convert.convert", ("convert", "weights.pt", "-o", "weights.safetensors")),
        ("genart.quarantine.bring_back", ("data", "restore", "aside", "pictures")),
        ("genart.store.Store.sweep_wrecks", ("cache", "verify")),
    ],
)
def test_what_keeps_nothing_does_not_say_that_it_goes_on(cli, home, monkeypatch, target, words):
    monkeypatch.setattr(target, interrupted)
    result = cli(*words)
    assert (result.code, result.err) == (130, "genart: interrupted\n")


def test_a_run_says_that_it_goes_on(run_toy, recipe, monkeypatch):
    monkeypatch.setattr("genart.runner.Runner.run", interrupted)
    result = run_toy(recipe('[[stage]]\nuses = "toy.noise"\n'))
    assert result.code == 130
    assert result.err.startswith("genart: interrupted; what was done so far is kept. Go on with:\n  genart run r.toml")
