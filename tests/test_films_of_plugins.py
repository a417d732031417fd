"""Films that plugins write: chosen by their suffix, fed frame by frame, saved and explained like the others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart.formats import FilmWriter
from genart.testing import check_writer

from .test_startup import WATCH

#: A plugin in one file: a film is "RFILM", width and height, then its frames in RGBA, and perhaps a text with its length behind them.
PLUGIN = """
import hashlib
import struct

import genart


def write(frames, path, fps, params):
    with open(path, "wb") as file:
        for number, frame in enumerate(frames):
            if number == 0:
                file.write(struct.pack(">5sHHBd", b"RFILM", *frame.shape, fps))
            file.write(b"F" + frame.tobytes())


def put(source, out, text):
    out.write(source.read() + b"T" + text.encode("ascii"))


def scan(file):
    head = file.read(18)
    magic, height, width, channels, fps = struct.unpack(">5sHHBd", head)
    if magic != b"RFILM":
        raise ValueError("no film")
    total = hashlib.sha256(head)
    while file.read(1) == b"F":
        data = file.read(height * width * channels)
        if len(data) < height * width * channels:
            raise ValueError("cut short")
        total.update(data)
    return file.read().decode("ascii") or None, total.hexdigest()


WRITER = genart.FilmWriter(write, alpha=True, put=put, scan=scan)


@genart.hookimpl
def genart_writers():
    return {"rfilm": f"{__name__}:WRITER"}
"""
WALK = '[[stage]]\nuses = "toy.noise"\ncount = 3\n[[stage]]\nuses = "video.assemble"\nfps = 10\n'
RECIPE = WALK + 'save = "film.rfilm"\n'


@pytest.fixture
def plugin(home: Path) -> Path:
    """The plugin, as a file."""
    path = Path("films.py")
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def run(plugin, run_toy):
    """Run a recipe with toys and the plugin."""
    return lambda path, *arguments: run_toy(path, "-p", plugin, *arguments)


def test_a_film_is_written_saved_and_explains_itself(run, recipe, plugin, cli):
    result = run(recipe(RECIPE))
    assert result.code == 0, result.err
    film = Path("out/film.rfilm").read_bytes()
    assert film.startswith(b"RFILM")
    assert film[9:18] == b"\3" + np.array(10.0, ">f8").tobytes()
    told = json.loads(cli("show", "out/film.rfilm", "--json", "-p", plugin).out)["provenance"]
    assert [stage["uses"] for stage in told["stages"]] == ["toy.noise", "video.assemble"]
    assert list(told["stages"][1]["registered"]) == ["genart_writers:rfilm"]
    assert "toy.noise" in cli("show", "out/film.rfilm", "-p", plugin).out
    assert run(recipe(RECIPE)).made() == []
    assert Path("out/film.rfilm").read_bytes() == film
    assert [path.name for path in Path("out").iterdir() if path.name.startswith(".")] == []


def test_it_is_made_again_and_compared(run, recipe, plugin, cli):
    from .conftest import TOYS

    assert run(recipe(RECIPE)).code == 0
    both = ("-p", plugin, "-p", TOYS)
    assert "identical, every byte" in cli("remake", "out/film.rfilm", *both).out
    assert cli("remake", "out/film.rfilm", "-o", "again.rfilm", *both).code == 0
    assert Path("again.rfilm").read_bytes() == Path("out/film.rfilm").read_bytes()
    plugin.write_text(PLUGIN.replace('b"F" + frame', 'b"F" + (255 - frame)'))
    other = cli("remake", "out/film.rfilm", *both)
    assert other.code == 9
    assert "what two .rfilm films show cannot be compared here" in other.out
    assert "genart_writers:rfilm" in other.out


def test_a_changed_film_is_not_believed(run, recipe, plugin, cli):
    assert run(recipe(RECIPE)).code == 0
    film = bytearray(Path("out/film.rfilm").read_bytes())
    film[40] ^= 1
    Path("changed.rfilm").write_bytes(film)
    assert "it is not what its provenance was written for" in cli("show", "changed.rfilm", "-p", plugin).err
    Path("cut.rfilm").write_bytes(film[:100])
    result = cli("show", "cut.rfilm", "-p", plugin)
    assert result.code == 3
    assert "a damaged file: broken (ValueError: cut short)" in result.err
    assert "a file of this kind carries no provenance" in cli("show", "out/film.rfilm").err


def test_a_format_without_room_says_so(run, recipe, plugin, cli):
    plugin.write_text(PLUGIN.replace(", put=put, scan=scan", ""))
    result = run(recipe(RECIPE))
    assert result.code == 0, result.err
    assert "a .rfilm file has no room to say how it was made" in [event.get("message") for event in result.events]
    assert b"genart" not in Path("out/film.rfilm").read_bytes()
    assert "carries no provenance" in cli("show", "out/film.rfilm", "-p", plugin).err
    assert cli("remake", "out/film.rfilm", "-p", plugin).code == 3
    assert cli("report", "out").code == 0
    assert re.search(r'href="[^"]*film\.rfilm"', Path("out/report.html").read_text())


def test_the_key_knows_the_writer(run, recipe, plugin, cli):
    path = recipe(RECIPE)
    assert run(path).code == 0
    plugin.write_text(PLUGIN + "\n# changed\n")
    assert run(path).made() == ["video.assemble"]
    assert run(recipe(WALK + 'save = "film.webp"\n')).code == 0
    plugin.write_text(PLUGIN)
    assert run(recipe(WALK + 'save = "film.webp"\n')).made() == []


def test_check_knows_the_suffix_and_imports_nothing_heavy(plugin, recipe, genart_process):
    from .conftest import TOYS

    process = genart_process("check", recipe(RECIPE), "-p", plugin, "-p", TOYS, prelude=WATCH)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err.splitlines()[-1] == "HEAVY []"


def test_an_unknown_suffix_or_format_lists_what_there_is(run, recipe):
    result = run(recipe(WALK + 'save = "film.flm"\n'))
    assert result.code == 2
    assert "r.toml:10: save: a video cannot be saved as '.flm'" in result.err
    assert ".mov, .rfilm" in result.err
    result = run(recipe(WALK + 'format = "rfilms"\n'))
    assert result.code == 2
    assert "r.toml:10: format: there is no writer 'rfilms'; did you mean 'rfilm'?" in result.err
    assert "mp4" in result.err
    result = run(recipe(WALK + 'format = "rfilm"\nsave = "film.mp4"\n'))
    assert "format = 'rfilm' does not fit save = 'film.mp4'" in result.err
    result = run(recipe(WALK.replace("video.assemble", "toy.invert").replace("fps = 10\n", "") + 'save = "film.rfilm"\n'))
    assert "images cannot be saved as '.rfilm'" in result.err, "only who can be told of a format writes it"


def test_a_filter_writes_it_too(plugin, cli):
    Image.new("RGB", (8, 8), "red").save("a.png")
    result = cli("apply", "video.assemble", "-i", "a.png", "-o", "film.rfilm", "-p", plugin)
    assert result.code == 0, result.err
    assert Path("film.rfilm").read_bytes().startswith(b"RFILM")
    result = cli("apply", "video.assemble", "-i", "a.png", "-o", "film.rfilms", "-p", plugin)
    assert result.code == 2
    assert ".mov or .rfilm" in result.err


def test_transparency_and_size(run, recipe, plugin):
    Image.new("RGBA", (40, 20), (255, 0, 0, 128)).save("a.png")
    stages = '[[stage]]\nuses = "images.folder"\npath = "a.png"\nalpha = "keep"\n[[stage]]\nuses = "video.assemble"\n'
    assert run(recipe(stages + 'save = "film.rfilm"\n')).code == 0
    assert Path("out/film.rfilm").read_bytes()[9] == 4
    assert run(recipe(stages + 'save = "film.rfilm"\nscale = 4\nmax_mb = 0.03\n')).code == 0
    film = Path("out/film.rfilm").read_bytes()
    assert 1000 < len(film) < 30_000
    plugin.write_text(PLUGIN.replace("alpha=True, ", ""))
    assert run(recipe(stages + 'save = "film.rfilm"\n')).code == 0
    assert Path("out/film.rfilm").read_bytes()[9] == 3


BAD = {
    "leaves frames": ("next(frames); path.write_bytes(b'x')", "what writes .rfilm films stopped after 0 frames"),
    "leaves more frames": ("next(frames); next(frames); path.write_bytes(b'x')", "stopped after 1 frames, and there are more"),
    "leaves no film": ("list(frames)", "what writes .rfilm films left no film"),
    "leaves an empty film": ("list(frames); path.touch()", "left no film"),
    "raises": ("raise KeyError('x')", "stage 'video.assemble' failed: KeyError"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_bad_writer_does_is_told(run, recipe, plugin, case):
    body, words = BAD[case]
    plugin.write_text(PLUGIN.replace('    with open(path, "wb") as file:', f"    {body}\n    return\n    with open(path, 'wb') as file:"))
    result = run(recipe(RECIPE))
    assert result.code == 4
    assert words in result.err
    assert not Path("out/film.rfilm").exists()


@pytest.mark.parametrize("source", ["WRITER = 3", "del WRITER", "WRITER = genart.FilmWriter"])
def test_what_is_no_writer_is_told(run, recipe, plugin, source):
    plugin.write_text(PLUGIN + source + "\n")
    result = run(recipe(RECIPE))
    assert result.code == 4
    assert "the writer of rfilm (films.py) cannot be used" in result.err


def test_a_writer_that_catches_everything_is_stopped_all_the_same(run, recipe, plugin):
    """Pictures of two sizes are an error of the input, whoever asks for the next one."""
    plugin.write_text(
        PLUGIN.replace("        for number", "        try:\n         for number")
        .replace("            if number", "             if number")
        .replace("                file.write(struct", "                 file.write(struct")
        .replace('            file.write(b"F"', '             file.write(b"F"')
        .replace("\n\n\ndef put", "\n        except Exception: pass\n\n\ndef put")
    )
    Path("two").mkdir()
    for side in (8, 9):
        Image.new("RGB", (side, side)).save(f"two/{side}.png")
    result = run(recipe('[[stage]]\nuses = "images.folder"\npath = "two"\n[[stage]]\nuses = "video.assemble"\nsave = "film.rfilm"\n'))
    assert result.code == 3
    assert "must be of one size" in result.err


# what authors test with


def write_plain(frames, path, fps, params):
    with open(path, "wb") as file:
        for frame in frames:
            file.write(frame.tobytes())


def scan_plain(file):
    data, _, text = file.read().partition(b"TEXT")
    return text.decode() or None, hashlib.sha256(data).hexdigest()


def put_plain(source, out, text):
    out.write(source.read() + b"TEXT" + text.encode())


def write_all_at_once(frames, path, fps, params):
    path.write_bytes(b"".join([frame.tobytes() for frame in [*frames]]))


def write_some(frames, path, fps, params):
    path.write_bytes(next(frames).tobytes())


def write_by_chance(frames, path, fps, params):
    write_plain(frames, path, fps, params)
    with open(path, "ab") as file:
        file.write(os.urandom(8))


def write_beside(frames, path, fps, params):
    write_plain(frames, path, fps, params)
    path.with_name("beside").write_bytes(b"x")


def test_a_good_writer_passes(tmp_path):
    check_writer(FilmWriter(write_plain), tmp_path / "film.x")
    check_writer(FilmWriter(write_plain, alpha=True, put=put_plain, scan=scan_plain), tmp_path / "film.x")


@pytest.mark.parametrize(
    ("writer", "words"),
    [
        (FilmWriter(write_all_at_once), "it held 40 frames at once"),
        (FilmWriter(write_some), "it read 0 of 40 frames"),
        (FilmWriter(lambda frames, path, fps, params: list(map(np.sum, frames))), "it left no film"),
        (FilmWriter(write_by_chance), "other bytes the second time"),
        (FilmWriter(write_beside), "it left more than the film"),
        (FilmWriter(write_plain, put=lambda source, out, text: out.write(source.read()), scan=scan_plain), "does not find the text"),
        (
            FilmWriter(write_plain, put=put_plain, scan=lambda file: (scan_plain(file)[0], hashlib.sha256(file.getvalue()).hexdigest())),
            "hash",
        ),
        (FilmWriter(write_plain, put=put_plain, scan=lambda file: (scan_plain(file)[0], "same")), "a changed film has the same hash"),
    ],
)
def test_a_bad_writer_does_not(writer, words, tmp_path):
    with pytest.raises(AssertionError, match=words):
        check_writer(writer, tmp_path / "film.x")


def test_a_text_needs_both_its_functions():
    with pytest.raises(ValueError, match="both `put` and `scan`, or neither"):
        FilmWriter(write_plain, put=put_plain)
    assert scan_plain(io.BytesIO(b"xTEXTy"))[0] == "y"
