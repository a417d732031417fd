"""`genart apply`: one stage as a shell command."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.main import get_command

from genart.apply import aligned, check_output, describe, option, read_options
from genart.artifacts import Model
from genart.cli import app
from genart.errors import RefusedError, UsageError
from genart.params import read_value
from genart.plugins import Plugins
from genart.provenance import read

from .conftest import TOYS

PLUGINS = Plugins([TOYS])


@pytest.fixture
def apply(cli):
    """`genart apply ... -p toys.py --device cpu` in this process."""
    return lambda *words: cli("apply", *words, "-p", TOYS, "--device", "cpu")


@pytest.fixture
def picture():
    """Write a picture: picture("a.png", size=8, grey=40, alpha=None) -> path."""

    def write(name: str, size: int = 8, grey: int = 40, alpha: int | None = None) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (grey,) * 3 if alpha is None else (*(grey,) * 3, alpha)
        Image.new("RGB" if alpha is None else "RGBA", (size, size), colour).save(path)
        return path

    return write


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# options


@pytest.mark.parametrize("stage", Plugins().stages(), ids=lambda stage: stage.name)
def test_no_parameter_has_the_name_of_an_option_of_apply(stage):
    """What the command takes itself never reaches the stage."""
    written = {word for parameter in get_command(app).commands["apply"].params for word in parameter.opts}
    assert {"--seed", "--device", "--quiet"} <= written
    assert not written & {option(name) for name in stage.params.model_fields}


def options(name: str, *words: str) -> dict[str, object]:
    return read_options(PLUGINS.stage(name), words)[0]


@pytest.mark.parametrize(
    ("stage", "words", "expected"),
    [
        ("toy.noise", ["--count", "3", "--fps=12.5"], {"count": 3, "fps": 12.5}),
        ("toy.noise", ["--mixed"], {"mixed": True}),
        ("toy.noise", ["--mixed", "--count", "1"], {"mixed": True, "count": 1}),
        ("toy.noise", ["--mixed", "false"], {"mixed": False}),
        ("toy.noise", ["--no-mixed"], {"mixed": False}),
        ("toy.invert", ["--amount", "-0.5"], {"amount": -0.5}),
        ("toy.invert", ["--budget", "90s"], {"budget": "90s"}),
        ("toy.invert", ["--budget", "90"], {"budget": 90}),
        ("toy.invert", ["--ops", "[{a = 1}, {b = [2, 3]}]"], {"ops": [{"a": 1}, {"b": [2, 3]}]}),
        ("toy.read", ["--path", "2024"], {"path": "2024"}),
        ("toy.read", ["--path", "1979-05-27"], {"path": "1979-05-27"}),
        ("toy.read", ["--path", "a=b.png"], {"path": "a=b.png"}),
        ("toy.read", ["--more", "a"], {"more": ["a"]}),
        ("toy.read", ["--more", "a", "--more", "b"], {"more": ["a", "b"]}),
        ("toy.read", ["--more", '["a", "b"]', "--more=c"], {"more": ["a", "b", "c"]}),
        ("dcgan.train", ["--batch-size", "8"], {"batch_size": 8}),
        ("dcgan.train", ["--batch_size", "8"], {"batch_size": 8}),
    ],
)
def test_options_are_read_as_the_stage_has_them(stage, words, expected):
    assert options(stage, *words) == expected


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("toy.noise", ["--cuont", "3"], r"toy.noise has no option '--cuont'; did you mean '--count'\?"),
        ("toy.noise", ["--count"], r"--count needs a value \(integer\)"),
        ("toy.noise", ["--count", "--mixed"], r"--count needs a value"),
        ("toy.noise", ["--no-count"], r"has no option '--no-count'"),
        ("toy.noise", ["--count", "3", "--count", "4"], r"--count is given 2 times, and takes one value"),
        ("toy.noise", ["--mixed", "a.png"], r"'a.png' belongs to no option"),
        ("toy.draw", ["--"], r"'--' belongs to no option"),
        ("toy.noise", ["--", "x"], r"'--' belongs to no option"),
        ("video.assemble", ["--x"], r"has no option '--x'"),
    ],
)
def test_wrong_options_are_refused_by_name(stage, words, message):
    with pytest.raises(UsageError, match=message):
        options(stage, *words)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_path_is_taken_as_it_is_written_unless_it_is_quoted_or_a_list(text):
    info = PLUGINS.stage("toy.read").params.model_fields["path"]
    value = read_value(text, info)
    assert value == text or text.strip(" \t\n\r")[:1] in ("'", '"', "[", "{")


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9.png"), "a\\b.png", "🎨.png"])
def test_a_file_of_any_name_is_read_told_and_found_again(apply, cli, picture, name):
    picture(name)
    assert apply("toy.invert", "-i", name, "-o", "out.png").code == 0
    told = read(Path("out.png"))[0]
    assert told.stages[0].files["path"][0].name == told.picture["source"] == name.encode("utf-8", "backslashreplace").decode()
    again = cli("remake", "out.png", "-p", TOYS)
    assert (again.code, "identical" in again.out) == (0, True), again.err
    Path(name).rename("other.png")
    for written in (name, told.picture["source"]):
        assert cli("remake", "out.png", "-p", TOYS, "--input", f"{written}=other.png").code == 0
    Path("other.png").rename(name)
    assert apply("toy.read", name, name, "--more", name, "-o", "read").code == 2, "a path is given twice"
    assert apply("toy.read", name, "--more", "out.png", "--more", name, "-o", "read").code == 0


def test_a_file_that_cannot_be_read_is_bad_input(apply, picture, monkeypatch):
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = picture("a.png").resolve()
    monkeypatch.setattr("genart.apply.head_of", denied)
    result = apply("toy.invert", "-i", "a.png", "-o", "b.png")
    assert (result.code, result.err.splitlines()[0]) == (3, f"genart: {path}: cannot be read: Permission denied")


def test_a_text_that_is_not_utf8_is_refused(apply, picture):
    result = apply("toy.crash", "--how", os.fsdecode(b"caf\xe9"), "-i", picture("a.png"))
    assert (result.code, result.err.splitlines()[0]) == (2, "genart: --how: this text is not UTF-8")


def test_a_name_is_written_with_dashes():
    assert option("batch_size") == "--batch-size"


# running


def test_a_stage_is_applied_to_files(apply, picture):
    a, b = picture("in/a.png", grey=40), picture("b.png", grey=200)
    result = apply("toy.invert", "-i", a, "-o", "new/out.png", "--amount", "1")
    assert result.code == 0, result.err
    assert (pixels("new/out.png") == 215).all()
    assert result.out == "", "what is saved needs no words"
    assert apply("toy.invert", "-i", "in", "-i", b, "-o", "many").code == 0
    assert [int(pixels(path)[0, 0, 0]) for path in sorted(Path("many").iterdir())] == [215, 55], "several inputs are merged, in order"
    assert {path.name for path in Path().rglob("*") if path.is_file()} == {"a.png", "b.png", "out.png", "00000.png", "00001.png"}, (
        "nothing is written beside what was asked for"
    )


def test_it_is_the_same_as_a_recipe(apply, run_toy, recipe):
    """The same seed and id give the same picture, and what the one made the other finds."""
    assert run_toy(recipe('[[stage]]\nuses = "toy.noise"\ncount = 1\nsave = "x.png"\n', seed=5)).code == 0
    result = apply("toy.noise", "--count", "1", "--seed", "5", "-o", "y.png", "--json")
    assert result.made() == []
    assert (pixels("y.png") == pixels("out/x.png")).all()
    other = apply("toy.noise", "--count", "1", "--seed", "6", "-o", "z.png", "--json")
    assert other.made() == ["toy.noise"]
    assert (pixels("z.png") != pixels("y.png")).any()


def test_what_is_there_is_not_made_again(apply, picture, toy_log):
    picture("a.png")
    assert apply("toy.invert", "-i", "a.png").out == "1 picture of 8x8 pixels\n"
    assert toy_log() == ["invert 0"]
    assert apply("toy.invert", "-i", "a.png").out == "1 picture of 8x8 pixels\n"
    assert apply("toy.invert", "-i", "a.png", "-o", "b.png").code == 0
    assert toy_log() == []
    picture("a.png", grey=41)
    assert apply("toy.invert", "-i", "a.png").code == 0
    assert toy_log() == ["invert 0"], "content decides"


def test_a_damaged_result_is_made_again(apply, picture, toy_log, store):
    picture("a.png")
    assert apply("toy.invert", "-i", "a.png").code == 0
    toy_log()
    for path in store.glob("entries/??/*/output/pixels.bin"):
        path.write_bytes(b"\0" * 192)
    result = apply("toy.invert", "-i", "a.png")
    assert result.code == 0, result.err
    assert toy_log() == ["invert 0"]


def test_transparency_comes_in_and_goes_out(apply, picture):
    assert apply("toy.fade", "-i", picture("clear.png", alpha=0), "-i", picture("full.png"), "-o", "x").code == 0
    assert [pixels(f"x/0000{i}.png").shape[2] for i in (0, 1)] == [4, 4], "one transparent picture makes all of them so"
    assert apply("toy.fade", "-i", "full.png", "-o", "y.png").code == 0
    assert pixels("y.png").shape[2] == 3


def test_every_output_says_how_it_was_made(apply, picture):
    assert apply("toy.invert", "-i", picture("a.png"), "-o", "b.png").code == 0
    with Image.open("b.png") as image:
        told = json.loads(image.info["genart"])
    assert [stage["uses"] for stage in told["stages"]] == ["images.folder", "toy.invert"]
    assert told["recipe"] == "apply"


def test_models_and_films(apply, picture):
    picture("in/a.png")
    assert apply("toy.train", "-i", "in", "-o", "m.safetensors").code == 0
    assert Model.open(Path("m.safetensors")).family == "toy"
    result = apply("toy.draw", "-i", "m.safetensors", "--count", "2", "-o", "drawn")
    assert result.code == 0, result.err
    assert len(list(Path("drawn").iterdir())) == 2
    assert apply("toy.draw", "-i", "m.safetensors", "--count", "2", "--json").made() == []
    assert apply("toy.train", "-i", "in").out == "a model of the family toy, 8 px\n"
    assert apply("toy.film", "-i", "drawn", "-o", "film.gif").code == 0
    assert Path("film.gif").read_bytes().startswith(b"GIF89a")
    assert apply("toy.film", "-i", "drawn").out == "a film of 2 frames, GIF, 10 frames per second\n"


def test_a_film_comes_in_frame_by_frame(apply):
    assert apply("toy.noise", "--count", "4", "--size", "32", "-o", "frames").code == 0
    assert apply("video.assemble", "-i", "frames", "--fps", "5", "-o", "film.mp4").code == 0
    result = apply("toy.invert", "-i", "film.mp4", "--json")
    assert result.code == 0, result.err
    assert (result.events[-1]["count"], result.events[-1]["fps"]) == (4, 5)


def test_the_format_follows_the_name(apply, picture):
    picture("in/a.png", size=32)
    assert apply("video.assemble", "-i", "in", "-o", "f.webm").code == 0
    assert Path("f.webm").read_bytes()[:4] == b"\x1aE\xdf\xa3"
    result = apply("video.assemble", "-i", "in", "-o", "f.webm", "--format", "gif")
    assert result.code == 2
    assert "--format gif does not fit -o f.webm" in result.err


def test_json_is_events_and_then_the_result(apply):
    result = apply("toy.noise", "--count", "2", "--json")
    last = result.events[-1]
    assert (last["event"], last["kind"], last["count"], last["sizes"]) == ("result", "images", 2, [[8, 8]])
    assert len(last["pictures"]) == 2
    assert result.err == ""


def test_quiet_says_the_result_alone(apply):
    result = apply("toy.noise", "--count", "2", "-q")
    assert (result.out, result.err) == ("2 pictures of 8x8 pixels\n", "")
    assert "done in" in apply("toy.noise", "--count", "2").err


# refusing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a stage first"),
        (["--count", "3", "toy.noise"], "name a stage first"),
        (["toy.niose"], "there is no stage 'toy.niose'; did you mean 'toy.noise'?"),
        (["toy.noise", "--count", "-1"], "--count: expected greater than or equal to 0, got -1"),
        (["toy.noise", "--count", "many"], '--count: expected an integer, got "many"'),
        (["toy.read"], "--path: this parameter is required"),
        (["toy.read", "--path", "aa.pgn"], "--path: no such file or folder: aa.pgn; did you mean 'aa.png'?"),
        (["toy.read", "--path", "aa.png", "--more", "nowhere"], "--more: no such file or folder: nowhere"),
        (["toy.invert"], "toy.invert takes pictures"),
        (["toy.invert", "-i", "aa.pgn"], "-i: no such file or folder: aa.pgn; did you mean 'aa.png'?"),
        (["toy.noise", "aa.png"], "'aa.png' belongs to no option"),
        (["toy.invert", "aa.pgn"], "-i: no such file or folder: aa.pgn; did you mean 'aa.png'?"),
        (["toy.read", "aa.png", "aa.png"], "--path is given 2 times, and takes one value"),
        (["toy.noise", "--y4m"], "--y4m: only pictures on standard output can be Y4M"),
        (["toy.invert", "-i", "-", "-i", "-"], "-i -: standard input can be read once"),
        (["toy.noise", "-i", "-"], "-i -: toy.noise takes nothing"),
        (["toy.noise", "-i", "aa.png"], "-i aa.png: toy.noise takes nothing"),
        (["toy.draw", "-i", "aa.png"], "-i aa.png: toy.draw takes a model, not pictures"),
        (["toy.draw", "-i", "aa.png", "-i", "aa.png"], "toy.draw takes one model"),
        (["toy.noise", "-o", "x.bmp"], "-o x.bmp: pictures can't be saved under this name"),
        (["toy.noise", "-o", "."], "-o .:"),
        (["toy.invert", "-i", "aa.png", "--mode", "c"], "--mode: expected 'a' or 'b'"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_command_line(apply, picture, words, message):
    picture("aa.png")
    result = apply(*words)
    assert result.code == 2
    assert result.err.startswith("genart: ")
    assert message in result.err
    assert len(result.err.splitlines()) <= 3
    assert result.out == ""


def test_bad_data_has_its_own_code(apply):
    Path("bad.safetensors").write_bytes(b"nothing of the kind")
    assert apply("toy.draw", "-i", "bad.safetensors").code == 3
    Path("bad.png").write_bytes(b"nothing of the kind")
    result = apply("toy.invert", "-i", "bad.png")
    assert result.code == 3
    assert "bad.png" in result.err
    assert apply("toy.noise", "--count", "2", "-o", "x.png").code == 3, "two pictures are no PNG"
    assert not Path("x.png").exists()


def test_nothing_of_the_users_is_lost(apply, picture):
    """A saved folder replaces the one that is there: never one with anything in it that genart did not save."""
    picture("photos/00000.png")
    picture("a.png")
    Path("notes").write_text("mine")
    Path("x.png").mkdir()
    before = Path("photos/00000.png").read_bytes()
    for target in ("photos", "notes", "x.png"):
        result = apply("toy.invert", "-i", "a.png", "-o", target)
        assert result.code == 7, target
        assert f"-o {target}" in result.err
    assert Path("photos/00000.png").read_bytes() == before
    assert Path("notes").read_text() == "mine"
    Path("empty").mkdir()
    for count in (3, 2):
        assert apply("toy.noise", "--count", count, "-o", "empty").code == 0, "an empty folder, and one that genart saved"
        assert len(list(Path("empty").iterdir())) == count
    assert apply("toy.invert", "-i", "a.png", "-o", "a.png").code == 0, "a file is replaced, as everywhere in the shell"
    assert (pixels("a.png") == 215).all()


def test_a_link_to_a_folder_is_not_followed_into_it(picture):
    picture("photos/one.png")
    Path("link").symlink_to("photos")
    with pytest.raises(RefusedError, match="-o link"):
        check_output(Path("link"), "images")


# telling


def test_help_explains_the_stage(apply):
    result = apply("toy.noise", "--help")
    assert result.code == 0
    assert "Noise, picture by picture." in result.out
    assert "--count" in result.out
    assert "-i PATH" in apply("--help").out
    assert "toy.noise" not in apply("--help").out


@pytest.mark.parametrize("words", [["--help"], ["images.samples", "--help"], ["images.resize"]], ids=" ".join)
def test_what_computes_nothing_imports_nothing_heavy(genart_process, words):
    watch = "import atexit; atexit.register(lambda: print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules], file=sys.stderr)); "
    _, err = genart_process("apply", *words, prelude=watch).communicate()
    assert err.splitlines()[-1] == "[]"


def test_tables_of_metadata_are_printed():
    rows = [{"b": 1.23456, "name": "long name", "a": 2}, {"b": None, "name": "x\x1b[1m", "c": 3.0}]
    assert aligned(rows) == [
        "name           b  a  c",
        "long name  1.235  2",
        "x?[1m                3",
    ]


def test_a_long_film_is_described_by_its_first_pictures(apply):
    result = apply("toy.noise", "--count", "20", "--json")
    assert result.events[-1]["count"] == 20
    assert len(result.events[-1]["pictures"]) == 16
    assert describe(Model(Path("m"), {"family": "toy", "parameters": {}}))["family"] == "toy"
