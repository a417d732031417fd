"""What strangers call things reaches no terminal as it is: names of files and plugins, metadata, errors, words of the command line."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from genart import tags
from genart.provenance import as_text, sealed
from tests.conftest import TOYS
from tests.faults.forge import Forge

from .conftest import CONTROLS, recipe, run_words, sampled

PAYLOADS = {
    "clear the screen": "\x1b[2J",
    "a colour": "\x1b[38;5;201m",
    "a blink": "\x1b[5;6;7m",
    "another screen": "\x1b[?1049h",
    "a report of the cursor": "\x1b[6n",
    "a scroll": "\x1b[99S",
    "a title": "\x1b]0;title\x07",
    "a title to its end": "\x1b]2;title\x1b\\",
    "the clipboard": "\x1b]52;c;aGFjaw==\x07",
    "a link": "\x1b]8;;http:evil\x07click\x1b]8;;\x07",
    "a device control": "\x1bP1$r0m\x1b\\",
    "a private message": "\x1b^x\x1b\\",
    "a reset": "\x1bc",
    "a character set": "\x1b(0",
    "a C1 sequence": "\x9b31m",
    "a C1 command": "\x9d0;x\x9c",
    "a next line": "a\x85b",
    "a bell": "\x07",
    "backspaces": "abc\x08\x08\x08",
    "a return": "a\rb",
    "a form feed": "a\x0cb",
    "a delete": "a\x7fb",
    "a shift": "\x0e",
    "an override of the direction": "\u202egnp.exe",
    "an embedding": "\u202bx\u202c",
    "an isolate": "\u2066x\u2069",
    "a mark of the direction": "a\u200fb",
    "markup": "[red]x[/red]",
    "markup that ends": "[/red]",
    "markup of a link": "[link=http:evil]x[link]",
}
#: What genart itself writes to a terminal: colours, and a display that is drawn again in place.
OURS = re.compile(r"\x1b\[(?:0|1|2|22|31|32|33|36|39|49|1;\d\d|38;5;(?!201)\d+|38;2;\d+;\d+;\d+)?m|\x1b\[(?:2K|\d*A|\?25[lh])|\r")
FAILS = (
    "import genart\n@genart.stage('bad.fail')\ndef fail(_: None, params: genart.Params, run: genart.Run) -> genart.Images:\n    raise {}\n"
)


def told_file(path: Path, payload: str) -> None:
    """A PNG whose provenance is in order, and whose every free text is hostile."""
    stage = {"id": payload, "uses": payload, "from": [payload], "params": {payload: payload}, "outputs": {}}
    stage |= {"plugin": {"version": payload, "source": payload}, "versions": {payload: payload}, "choices": {payload: payload}}
    told = {
        "format": 1,
        "genart": payload,
        "recipe": "x",
        "seed": 1,
        "stage": payload,
        "device": "cpu",
        "torch": payload,
        "stages": [stage],
    }
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    file.seek(0)
    found = tags.scan(file)
    assert found is not None
    file.seek(0)
    with open(path, "w+b") as out:
        tags.put(file, out, as_text(sealed({**told, "stages": [stage], "picture": {payload: payload}}, found.content)))


def a_file(folder: Path, text: str) -> tuple[object, ...]:
    pictures = folder / "in"
    pictures.mkdir()
    Image.new("RGB", (4, 4)).save(pictures / "good.png")
    (pictures / f"{text}.png").write_bytes(b"not a picture")
    recipe(folder, f'[[stage]]\nuses = "images.folder"\npath = "in"\nsave = {json.dumps("pictures")}\n')
    return run_words()


def a_folder(folder: Path, text: str) -> tuple[object, ...]:
    (folder / f"in{text}").mkdir()
    return ("apply", "images.folder", f"in{text}", "-o", f"out{text}")


def metadata(folder: Path, text: str) -> tuple[object, ...]:
    told_file(folder / "x.png", text)
    return ("show", "x.png")


def metadata_as_json(folder: Path, text: str) -> tuple[object, ...]:
    return (*metadata(folder, text), "--json")


def a_plugin(folder: Path, text: str) -> tuple[object, ...]:
    (folder / f"{text}.py").write_text("raise ValueError('x')\n")
    return ("plugins", "-p", f"{text}.py")


def an_error(folder: Path, text: str) -> tuple[object, ...]:
    (folder / "bad.py").write_text(FAILS.format(f"ValueError({text!r} * 2)"))
    recipe(folder, '[[stage]]\nuses = "bad.fail"\n')
    return ("run", "r.toml", "-p", "bad.py", "--out", "out")


def an_error_of_loading(folder: Path, text: str) -> tuple[object, ...]:
    (folder / "bad.py").write_text(f"raise ValueError({text!r})\n")
    return ("plugins", "bad", "-p", "bad.py")


def an_option(folder: Path, text: str) -> tuple[object, ...]:
    return ("run", f"--{text}")


def a_command(folder: Path, text: str) -> tuple[object, ...]:
    return (text,)


def a_recipe(folder: Path, text: str) -> tuple[object, ...]:
    return ("check", f"{text}.toml")


def a_setting(folder: Path, text: str) -> tuple[object, ...]:
    recipe(folder, '[[stage]]\nuses = "toy.noise"\n')
    return ("run", "r.toml", "-p", TOYS, "--set", f"toy.noise.{text}={text}")


def a_value(folder: Path, text: str) -> tuple[object, ...]:
    return ("apply", "toy.noise", "-p", TOYS, "--count", text)


def a_pickle(folder: Path, text: str) -> tuple[object, ...]:
    (folder / f"{text}.pth").write_bytes(b"x")
    return ("convert", f"{text}.pth", "-o", f"{text}.safetensors", "--sha256", "00000000")


NAMED = (a_file, a_folder, metadata, metadata_as_json, a_plugin, an_error, an_error_of_loading)
TYPED = (an_option, a_command, a_recipe, a_setting, a_value, a_pickle)
PLACES: dict[str, Callable[[Path, str], tuple[object, ...]]] = {place.__name__.replace("_", " "): place for place in (*NAMED, *TYPED)}
#: Places where a text is the name of a file.
FILES = ("a file", "a folder", "a plugin", "a pickle")
CASES = [(place, what, tty) for tty in (True, False) for what in PAYLOADS for place in PLACES]


@pytest.mark.parametrize("case", sampled(CASES, 16, "{0[0]}, {0[1]}, tty={0[2]}"))
def test_nothing_that_a_terminal_obeys_is_told(forge: Forge, tmp_path: Path, case: tuple[str, str, bool]) -> None:
    place, what, tty = case
    text = PAYLOADS[what].replace("/", "|") if place in FILES else PAYLOADS[what]
    done = forge.run(tmp_path, *PLACES[place](tmp_path, text), tty=tty, TERM="xterm-256color", COLUMNS="200")
    assert done.code in (0, 2, 3, 4, 7), done
    told = done.out + done.err
    assert "Traceback" not in told or place == "an error of loading"
    rest = OURS.sub("", told) if tty else told
    assert not [control for control in CONTROLS if control in rest], (what, told)
    if any(control in text for control in CONTROLS):
        assert text not in told
    assert "\x1b]" not in told, "no link, no title"
