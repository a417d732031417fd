"""What files say of themselves: true, whole, free of secrets; and what is stripped, edited or damaged is told apart."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from genart import tags
from genart.errors import DataError, UsageError
from genart.folders import Folder
from genart.provenance import as_text, name_of, read, sealed, sweep

from .conftest import TOYS
from .test_startup import WATCH

STAGES = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 4
save = "noise"
[[stage]]
uses = "toy.train"
id = "train"
steps = 3
save = "toy.safetensors"
[[stage]]
uses = "toy.draw"
id = "drawn"
count = 1
save = "one.png"
[[stage]]
uses = "toy.invert"
id = "jpeg"
save = "one.jpg"
[[stage]]
uses = "toy.invert"
id = "webp"
save = "one.webp"
[[stage]]
uses = "toy.film"
from = "noise"
save = "film.gif"
"""
FILES = ("noise/00002.png", "one.png", "one.jpg", "one.webp", "film.gif", "toy.safetensors")


@pytest.fixture
def out(run_toy, recipe):
    result = run_toy(recipe(STAGES))
    assert result.code == 0, result.err
    return Path("out")


def resealed(path, change, *, seal=True):
    """Write a picture again with a changed provenance, sealed anew as a forger would."""
    _, plain = read(path)
    change(plain)
    put(path, as_text(sealed(plain, plain["content"]) if seal else plain))


def put(path, text, picture=None):
    """Write a picture again with another text."""
    file = io.BytesIO()
    (picture or Image.open(path)).save(file, "PNG")
    file.seek(0)
    with open(path, "w+b") as out:
        tags.put(file, out, text)


@pytest.mark.parametrize("name", ["film", "a.old", "w.safetensors"])
def test_only_what_was_whole_gets_its_name_back(tmp_path, name):
    suffix = Path(name).suffix
    for left in (f".{name}.{os.getpid()}.tmp{suffix}", f".{name}.{os.getpid()}.0123abcd.tmp"):
        (tmp_path / left).write_text("half")
    with Folder.open(tmp_path) as folder:
        sweep(folder, name)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / f".{name}.{os.getpid()}.old").write_text("whole")
        sweep(folder, name)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "whole"}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_says_what_made_it(out, name):
    told, plain = read(out / name)
    assert (told.recipe, told.seed, told.device) == ("toy", 3, "cpu")
    assert told.stages[-1].id == told.stage
    assert told.stages[0].seed == plain["stages"][0]["seed"]
    assert told.index == (2 if "/" in name else None)
    for stage in told.stages:
        assert set(stage.made_with) == {"genart", "torch", "python", "system", "cores"}
    trained = [stage for stage in told.stages if stage.id == "train"]
    if trained:
        assert trained[0].weights["output"] == read(out / "toy.safetensors")[0].content, "the saved model can be told by its weights"
        assert trained[0].choices == {"lucky": 1.0}


def test_a_jpeg_and_a_webp_hold_the_picture(out):
    png, jpg, webp = (Image.open(out / f"one.{kind}").convert("RGB") for kind in ("png", "jpg", "webp"))
    assert png.size == jpg.size == webp.size
    near = [abs(a - (255 - b)) for a, b in zip(png.tobytes(), jpg.tobytes(), strict=True)]
    assert sum(near) / len(near) < 6
    assert webp.tobytes() == png.tobytes(), "inverted twice, by way of the JPEG's stage, not its file"


def test_a_jpeg_cannot_hold_transparency(cli):
    Image.new("RGBA", (8, 8), (9, 9, 9, 9)).save("a.png")
    result = cli("apply", "images.folder", "--path", "a.png", "--alpha", "keep", "-o", "b.jpg", "--device", "cpu")
    assert result.code == 3
    assert "transparency" in result.err
    assert "PNG or WebP" in result.err
    assert not Path("b.jpg").exists()


def test_the_user_is_not_named(home, monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane")
    assert name_of(Path("/home/jane")) == "folder"
    assert name_of(Path("/")) == "folder"
    assert name_of(Path("/data/jane")) == "folder"
    assert name_of(Path("/home/jane/art/photo.jpg")) == "photo.jpg"


def test_stripped_metadata_is_told_apart(out):
    Image.open(out / "one.png").save("stripped.png")
    with pytest.raises(DataError, match="nothing in it says how it was made"):
        read(Path("stripped.png"))


def test_an_edited_picture_is_told_apart(out):
    _, plain = read(out / "one.png")
    put(out / "one.png", as_text(plain), Image.new("RGB", (8, 8)))
    with pytest.raises(DataError, match="not what its provenance was written for"):
        read(out / "one.png")


def test_a_changed_provenance_is_told_apart(out):
    resealed(out / "one.png", lambda plain: plain.update(seed=4), seal=False)
    with pytest.raises(DataError, match="changed after it was written"):
        read(out / "one.png")


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("stages"),
        lambda plain: plain.update(seed="3"),
        lambda plain: plain.update(stages=[]),
        lambda plain: plain.update(recipe="../up"),
        lambda plain: plain["stages"][0].update(files={"path": {"name": "../secret", "content": "0" * 64}}),
        lambda plain: plain["stages"][0].update(files={"path": {"name": "..", "content": "0" * 64}}),
        lambda plain: plain["stages"][0].update(outputs={"output": "no hash"}),
        lambda plain: plain.update(index=-1),
        lambda plain: plain.update(device="toaster"),
    ],
    ids=range(9),
)
def test_what_has_another_form_is_damaged(out, change):
    resealed(out / "one.png", change)
    with pytest.raises(DataError, match="its provenance is damaged"):
        read(out / "one.png")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"format":1', "not the JSON"),
        ("[]", "its provenance is damaged"),
        ("nothing", "not the JSON"),
        ('{"seed":NaN}', "not the JSON"),
        ("[" * 100_000, "its provenance is damaged"),
    ],
    ids=range(5),
)
def test_what_is_no_provenance_is_damaged(out, text, why):
    put(out / "one.png", text)
    with pytest.raises(DataError, match=why):
        read(out / "one.png")


def test_a_later_format_is_told_apart(out):
    resealed(out / "one.png", lambda plain: plain.update(format=2))
    with pytest.raises(DataError, match="a newer genart wrote it"):
        read(out / "one.png")


def test_what_a_later_version_adds_is_passed_over(out):
    resealed(out / "one.png", lambda plain: plain.update(mood="blue"))
    assert read(out / "one.png")[0].seed == 3


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_damaged(cli, out, name):
    path = out / name
    path.write_bytes(path.read_bytes()[:-40])
    result = cli("show", path)
    assert result.code == 3
    assert len(result.err.splitlines()) <= 3
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("name", "code", "says"), [("no.png", 2, "no such file"), (".", 2, "is a folder"), ("a.txt", 3, "carries no")])
def test_what_is_no_such_file_is_refused(cli, name, code, says):
    Path("a.txt").write_text("hello")
    result = cli("show", name)
    assert (result.code, says in result.err) == (code, True)
    with pytest.raises((UsageError, DataError)):
        read(Path(name))


# showing


@pytest.mark.parametrize("name", FILES)
def test_show_tells_people_and_programs(cli, out, name):
    people = cli("show", out / name, "-p", TOYS)
    assert (people.code, people.err) == (0, "")
    for word in ("toy.noise", "seed 3", "recipe 'toy'", "genart"):
        assert word in people.out
    programs = cli("show", out / name, "--json")
    assert json.loads(programs.out) == {"path": str(out / name), "provenance": read(out / name)[1]}


def test_show_tells_what_is_not_the_default(cli, out):
    told = cli("show", out / "one.png", "-p", TOYS).out
    assert "steps = 3" in told
    assert "slow" not in told
    assert "chose lucky: 1.0" in told
    assert "weights" in told


def test_show_obeys_nothing_that_a_file_says(cli, out):
    resealed(out / "one.png", lambda plain: plain["stages"][0]["params"].update(evil="\x1b]0;owned\x07[bold]x[/]\x1b[2J"))
    told = cli("show", out / "one.png").out
    assert "\x1b" not in told
    assert "[bold]x[/]" in told


def test_show_of_a_picture_imports_nothing_heavy(genart_process, out):
    process = genart_process("show", out / "one.png", "-p", TOYS, prelude=WATCH)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err.splitlines()[-1] == "HEAVY []"
