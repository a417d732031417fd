"""Paths that a recipe names, in every parameter of every stage that takes one: a new parameter is tested by existing.

Reading is allowed wherever the user may read, through decoders alone: so nothing is written outside of the output folder, nothing hangs,
and not a byte of what is no picture reaches an output, a log or the store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from genart.params import reads_path
from genart.plugins import Plugins

from .conftest import CANARY, recipe, run_words, sampled

#: Paths of something that is there: it may be read, and is of no use to anybody.
THERE = {
    "upwards": "../outside/secret.txt",
    "upwards by way of a folder": "sub/../../outside/secret.txt",
    "absolute": "{outside}/secret.txt",
    "two slashes": "/{outside}/secret.txt",
    "home": "~/secret.txt",
    "home itself": "~",
    "a link to a file": "link",
    "a link to a folder": "linked",
    "through a link": "linked/secret.txt",
    "a hard link": "hard",
    "a folder outside": "{outside}",
    "an empty folder": "sub",
    "the folder above": "..",
    "the environment": "/proc/self/environ",
    "the recipe itself": "r.toml",
}
#: Paths of nothing, or of what never ends: refused before anything is done.
NOT_THERE = {
    "a variable": "$HOME/secret.txt",
    "a variable in braces": "${GENART_CANARY}",
    "a percent code": "%2e%2e/outside/secret.txt",
    "backslashes": "..\\outside\\secret.txt",
    "a share": "\\\\server\\share\\x",
    "a drive": "C:\\x",
    "an address of a file": "file://{outside}/secret.txt",
    "an address": "http://127.0.0.1:9/x",
    "a space behind": "hard ",
    "a dot behind": "hard.",
    "a NUL": "hard\0.png",
    "a line feed": "hard\n",
    "an escape": "\x1b[2J",
    "dots of another alphabet": "\u2024\u2024/outside/secret.txt",
    "nobody's home": "~nobody-of-this-name/x",
    "a loop of links": "loop",
    "through a loop of links": "loop/x",
    "a link to nothing": "dangling",
    "too long": "x" * 5000,
    "too deep": "a/" * 3000 + "x",
    "a pipe": "pipe",
    "a link to a pipe": "to-pipe",
    "standard input": "/dev/stdin",
    "a device": "/dev/zero",
    "an open file": "/proc/self/fd/0",
}


@cache
def parameters() -> list[tuple[str, str]]:
    """(stage, parameter) of every path that a bundled stage reads."""
    stages = Plugins().stages()
    return [(stage.name, name) for stage in stages for name, info in stage.params.model_fields.items() if reads_path(info)]


@pytest.fixture
def furnished(watched: Callable) -> Callable:
    """The folder with what the paths lead to."""
    inside, outside = watched.inside, watched.outside
    (inside / "sub").mkdir()
    for name, target in {"link": "secret.txt", "linked": ".", "dangling": "nothing"}.items():
        (inside / name).symlink_to(outside / target)
    (inside / "loop").symlink_to("loop")
    os.link(outside / "secret.txt", inside / "hard")
    os.mkfifo(inside / "pipe")
    (inside / "to-pipe").symlink_to("pipe")
    return watched


#: Parameters without which a stage is refused for another reason, though each of them may be left out.
NEEDED = ("style",)
#: Parameters that are no paths, and that a stage does not do without.
GIVEN = {"images.torchvision": 'name = "MNIST"'}


def stages_with(stage: str, parameter: str, value: str) -> str:
    """A recipe's stages, the last with this path in this parameter, and any file in the others that it needs."""
    declared = Plugins().stage(stage)
    before = {
        None: "",
        "images": '[[stage]]\nuses = "toy.noise"\ncount = 2\nsize = 16\n',
        "model": '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsteps = 1\n',
    }[declared.takes]
    lines = [f'[[stage]]\nuses = "{stage}"', GIVEN.get(stage, "")]
    for name, info in declared.params.model_fields.items():
        if name == parameter or (reads_path(info) and (info.is_required() or name in NEEDED)):
            text = value if name == parameter else "r.toml"
            lines.append(f"{name} = {json.dumps([text] if 'tuple' in str(info.annotation) else text)}")
    return before + "\n".join(lines) + "\n"


def holds_canary(folder: Path) -> list[str]:
    """Files of a folder, but for the links that a test put there, in which the canary is."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name not in ("hard", "r.toml")]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


CASES = [(stage, parameter, what) for stage, parameter in parameters() for what in (*THERE, *NOT_THERE)]


@pytest.mark.parametrize(("case"), sampled(CASES, 19, "{0[0]}.{0[1]}: {0[2]}"))
def test_no_path_of_a_recipe_leads_to_harm(furnished: Callable, case: tuple[str, str, str]) -> None:
    stage, parameter, what = case
    value = (THERE | NOT_THERE)[what].replace("{outside}", str(furnished.outside))
    recipe(furnished.inside, stages_with(stage, parameter, value))
    done = furnished(*run_words(), codes=(0, 2, 3, 4, 7) if what in THERE else (2, 7))
    if what in NOT_THERE:
        assert f"{stage}.{parameter}: no such file or folder" in done.err
        assert not (furnished.inside / "out").exists()
    assert holds_canary(furnished.inside) == []


IDS = [
    "../x",
    "/x",
    "a/b",
    "..",
    ".",
    "",
    "-x",
    ".x",
    "x\0",
    "x\n",
    "C:x",
    "x\\y",
    "~",
    "$HOME",
    "\u2024\u2024",
    "x" * 300,
    "{outside}/x",
    "con/..",
]


@pytest.mark.parametrize("name", IDS)
def test_an_id_names_no_place(watched: Callable, name: str) -> None:
    stages = f'[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsteps = 1\nid = {json.dumps(name)}\nsave = "m.safetensors"\n'
    recipe(watched.inside, stages)
    watched(*run_words("--tensorboard", "board"), codes=(2, 7))
    assert not (watched.inside / "board").exists()


@pytest.mark.parametrize(
    "what", ["pipe", "loop", "dangling", "hard", "link", "to-pipe", "x" * 300, "/dev/null", "/proc/self/fd/1", "C:\\x", "a\\b"]
)
@pytest.mark.parametrize("option", ["--out", "-o", "--tensorboard", "schema -o"])
def test_where_the_user_says_is_there_or_told(furnished: Callable, what: str, option: str) -> None:
    """The user may write anywhere; whatever stands there, the command ends, in words, and follows no link at the end of the path."""
    recipe(furnished.inside, '[[stage]]\nuses = "toy.noise"\ncount = 1\n[[stage]]\nuses = "toy.train"\nsteps = 1\nsave = "m.safetensors"\n')
    words = {
        "--out": (*run_words()[:-1], what),
        "-o": ("apply", "toy.noise", "--count", "1", "-p", run_words()[3], "-o", f"{what}.png"),
        "--tensorboard": run_words("--tensorboard", what),
        "schema -o": ("schema", "-o", f"{what}.json"),
    }[option]
    furnished(*words, codes=(0, 2, 3, 4, 5, 7), audited=not what.startswith("/"))
    assert Path(furnished.inside, "hard").read_text() == CANARY
