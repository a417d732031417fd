"""`genart data`: the doctor of data sets, and the quarantine with its way back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart import quarantine
from genart.doctor import examine, need_of, resolutions
from genart.errors import Interrupted, RefusedError
from genart.nn import doctor as eyes
from genart.nn.pictures import Unread, header
from genart.plugins import Plugins

from .conftest import tree

TRAINED = [stage for stage in Plugins().stages() if stage.name.endswith(".train")]


def smooth(seed: int, size: int = 48) -> np.ndarray:
    """A picture of long waves, another one for each seed: (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = sum(np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(-1.5, 1.5, (4, 3)))
    tint = rng.uniform(0.6, 1, 3)
    return (255 * tint * (0.5 + 0.12 * waves[..., None])).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def folder_of(count: int, folder: Path = Path("in")) -> Path:
    for i in range(count):
        save(folder / f"{i:03d}.png", smooth(i))
    return folder


def check(cli, *arguments: object, code: int = 0) -> dict:
    result = cli("data", "check", *arguments, "--json")
    assert result.code == code, result.err
    return json.loads(result.out)


def odd(report: dict) -> dict[str, tuple[str, str]]:
    return {one["file"]: (one["kind"], one["reason"]) for one in report["odd"]}


def troubled(folder: Path = Path("in")) -> dict[str, str]:
    """A folder with one picture of each trouble: name -> kind."""
    folder_of(6, folder)
    shutil.copy(folder / "000.png", folder / "100.png")
    Image.fromarray(smooth(1)).resize((30, 30)).save(folder / "101.jpg", quality=60)
    save(folder / "102.png", np.full((40, 40, 3), 7, np.uint8))
    (folder / "103.png").write_bytes((folder / "002.png").read_bytes()[:300])
    (folder / "104.png").write_bytes(b"")
    return {"100.png": "duplicate", "101.jpg": "near-duplicate", "102.png": "blank", "103.png": "corrupt", "104.png": "corrupt"}


# what is found


def test_a_sound_folder(cli):
    report = check(cli, folder_of(5))
    assert (report["files"], report["usable"], report["odd"], report["moved"]) == (5, 5, [], 0)
    assert report["formats"] == {"PNG": 5}
    assert report["modes"] == {"RGB": 5}
    assert report["width"] == report["height"] == {"min": 48, "median": 48, "max": 48}
    assert report["bytes"] == sum(file.stat().st_size for file in Path("in").iterdir())
    assert {row["stage"] for row in report["families"]} == {stage.name for stage in TRAINED}
    assert {(row["resolution"], row["verdict"]) for row in report["families"]} == {(32, "few")}


def test_each_trouble_is_told(cli):
    expected = troubled()
    report = check(cli, "in")
    assert {file: kind for file, (kind, _) in odd(report).items()} == expected
    assert odd(report)["100.png"][1] == "equals 000.png"
    assert odd(report)["101.jpg"][1] == "looks like 001.png"
    assert "empty file" in odd(report)["104.png"][1]
    assert report["usable"] == 6
    assert report["counts"] == {"corrupt": 2, "unread": 0, "blank": 1, "duplicate": 1, "near-duplicate": 1, "tiny": 0}
    assert tree(Path("in")).keys() >= expected.keys(), "nothing is moved unless asked"


def test_kinds_of_pictures_are_counted(cli):
    folder = folder_of(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.jpg", smooth(10)[:24], exif=exif)
    save(folder / "grey.png", smooth(11)[..., 0])
    rgba = np.dstack([smooth(12), np.full((48, 48), 255, np.uint8)])
    save(folder / "opaque.png", rgba)
    rgba[:9, :, 3] = 0
    save(folder / "glass.png", rgba)
    frames = [Image.fromarray(smooth(i)) for i in (13, 14)]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("nothing")
    report = check(cli, folder)
    assert [report[name] for name in ("turned", "transparent", "see_through", "moving", "other_files")] == [1, 2, 1, 1, 1]
    assert report["modes"]["L"] == 1
    assert [24, 48, 1] in report["common_sizes"], "the size of a turned picture is that of the upright one"
    assert any("Transparent in part, 1 picture:" in line for line in report["advice"])


def test_transparency_counts_as_what_training_sees(cli):
    folder = folder_of(2)
    hidden = np.dstack([smooth(5), np.zeros((48, 48), np.uint8)])
    save(folder / "hidden.png", hidden)
    assert odd(check(cli, folder)) == {"hidden.png": ("blank", "one colour all over")}


def test_fine_lines_are_no_blank_page(tmp_path):
    page = np.full((600, 600, 3), 255, np.uint8)
    page[300] = 0
    assert not eyes.look(save(tmp_path / "line.png", page)).blank
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    assert not eyes.look(save(tmp_path / "noise.png", noise)).blank
    assert eyes.look(save(tmp_path / "grey.jpg", page[:100])).blank


def test_tiny_pictures_are_told_and_left_in_place(cli):
    folder = folder_of(3)
    save(folder / "tiny.png", smooth(9, 12))
    report = check(cli, folder, "--quarantine", "aside")
    assert odd(report) == {"tiny.png": ("tiny", "12x12")}
    assert report["moved"] == 0
    assert not Path("aside").exists()


def test_classes(cli):
    for name, count, first in (("rose", 30, 0), ("tulip", 4, 100)):
        for i in range(count):
            save(Path("in", name, f"{i:02d}.png"), smooth(first + i, 24))
    Path("in/daisy").mkdir()
    shutil.copy("in/rose/03.png", "in/tulip/99.png")
    report = check(cli, "in")
    assert report["classes"] == {"rose": 30, "tulip": 4}
    assert report["empty_classes"] == ["daisy"]
    assert report["other_class"] == ["tulip/99.png"]
    assert any("Unbalanced classes, from 4 pictures (tulip) to 30 (rose)" in line for line in report["advice"])
    save(Path("in/loose.png"), smooth(500, 24))
    report = check(cli, "in")
    assert report["unlabelled"] == 1
    assert any("the classes are ignored" in line for line in report["advice"])


def test_what_nearly_all_pictures_have_decides_the_resolution(cli):
    folder = Path("in")
    for i in range(20):
        save(folder / f"{i}.png", smooth(i, 140 if i >= 3 else 70))
    assert {row["resolution"] for row in check(cli, folder)["families"]} == {64}
    for i in range(2):
        save(folder / f"{i}.png", smooth(i, 140))
    assert {row["resolution"] for row in check(cli, folder)["families"]} == {128}


def test_what_families_need_is_what_they_declare():
    stages = {stage.name: stage for stage in TRAINED}
    assert resolutions(stages["dcgan.train"]) == (16, 32, 64, 128, 256)
    report = examine(folder_of(2), TRAINED, lambda done, total: None)
    for stage in TRAINED:
        need = need_of(stage, report)
        assert (need.least, need.enough) == (stage.params.least_pictures, stage.params.enough_pictures)
        report.usable = need.least - 1
        assert need_of(stage, report).verdict == "no"
        report.usable = need.enough
        assert need_of(stage, report).verdict == "good"
        report.usable = need.enough - 1
        assert need_of(stage, report).verdict == "few"


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "a copy.png"]], ids=["one", "the same twice"])
def test_what_nothing_can_be_trained_on_is_3(cli, names):
    for name in names:
        save(Path("in", name), smooth(0))
    report = check(cli, "in", code=3)
    assert not report["fits"]
    assert any("that is nothing yet" in line for line in report["advice"])


@pytest.mark.parametrize("make", [lambda folder: folder.mkdir(), lambda folder: None, lambda folder: folder.write_text("x")])
def test_no_folder_and_no_picture_is_3(cli, make):
    make(Path("in"))
    result = cli("data", "check", "in")
    assert result.code == 3
    assert result.err.startswith("genart: in: no ")


# near pictures


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {"quality": 50}), ("a.webp", {"quality": 60}), ("a.png", {}), ("a.gif", {})],
)
@pytest.mark.parametrize("side", [96, 40])
def test_saved_anew_and_resized_is_still_the_same_picture(tmp_path, name, options, side):
    save(tmp_path / "original.png", smooth(3, 96))
    Image.fromarray(smooth(3, 96)).resize((side, side)).save(tmp_path / name, **options)
    files = [tmp_path / name, tmp_path / "original.png"]
    found = eyes.repeated(files, [eyes.look(file) for file in files])
    assert {i: of for i, (of, _) in found.items()} == ({0: 1} if side == 40 else {1: 0})


def test_near_pictures_are_those_that_a_comparison_of_all_pairs_finds():
    """Nothing that the bands should bring together is missed, and what differs is not called the same."""
    rng = np.random.default_rng(0)
    thumbs = np.stack([smooth(i % 120, eyes.THUMB) for i in range(240)]).astype(int)
    thumbs = np.clip(thumbs + rng.normal(0, 1.5, thumbs.shape), 0, 255).astype(np.uint8)
    hashes = eyes.difference_hash(eyes.reduced(thumbs))
    bits = eyes.BITS_SET[hashes[:, None] ^ hashes[None]].sum(2)
    values = thumbs.reshape(240, -1).astype(float)
    apart = np.sqrt(((values[:, None] - values[None]) ** 2).mean(2))
    allowed = np.maximum(eyes.NEAR_LEVELS, eyes.NEAR_SHARE * values.std(1))
    same = (bits <= eyes.NEAR_BITS) & (apart <= np.maximum(allowed[:, None], allowed[None]))
    expected: dict[int, int] = {}
    for i in range(240):
        before = [j for j in range(i) if same[i, j] and j not in expected]
        if before:
            expected[i] = before[0]
    assert eyes.shown_before(thumbs) == expected
    assert len(expected) > 40
    assert all(i - of == 120 for i, of in expected.items())


@pytest.mark.parametrize("kind", ["all different", "all alike"])
def test_many_pictures_are_not_compared_each_with_each(monkeypatch, kind):
    """Of 6,000 pictures fewer than a hundredth of all pairs is looked at, whether they differ or are one film of nothing moving."""
    rng = np.random.default_rng(0)
    thumbs = rng.integers(0, 256, (6000, 8, 8, 3), np.uint8)
    if kind == "all alike":
        thumbs = np.clip(thumbs[:1].astype(int) + rng.integers(-1, 2, thumbs.shape), 0, 255).astype(np.uint8)
    looked = 0
    close = eyes._close

    def counted(hashes, i, others):
        nonlocal looked
        looked += len(others)
        return close(hashes, i, others)

    monkeypatch.setattr(eyes, "_close", counted)
    found = eyes.shown_before(thumbs.repeat(2, 1).repeat(2, 2))
    assert found == ({} if kind == "all different" else dict.fromkeys(range(1, 6000), 0))
    assert 0 < looked < 6000**2 / 2 / 100


def test_frames_of_a_film_do_not_all_go_for_the_first(tmp_path):
    """A chain of pictures, each like the next: only what is like one that stays is named."""
    wide = smooth(0, 400)[:48]
    files = [save(tmp_path / f"{i:03d}.png", np.ascontiguousarray(wide[:, i : i + 48])) for i in range(0, 300, 2)]
    seen = [eyes.look(file) for file in files]
    found = eyes.repeated(files, seen)
    assert 0 < len(found) < len(files) - 2
    for i, (of, _) in found.items():
        assert of not in found
        assert eyes.shown_before(np.stack([seen[of].thumb, seen[i].thumb])) == {1: 0}


def test_what_equals_a_near_picture_repeats_the_one_that_stays(tmp_path):
    large = save(tmp_path / "large.png", smooth(3, 96))
    Image.fromarray(smooth(3, 96)).resize((48, 48)).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    files = [tmp_path / "a.png", tmp_path / "b.png", large]
    assert eyes.repeated(files, [eyes.look(file) for file in files]) == {0: (2, False), 1: (2, True)}


# hostile folders


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_links_pipes_and_names_that_speak_to_terminals(cli, home):
    secret = home / "secret"
    save(secret / "s.png", smooth(77))
    (home / "text").write_text("no picture")
    folder = folder_of(3)
    os.mkfifo(folder / "pipe.png")
    os.symlink(secret, folder / "linked")
    os.symlink(home / "text", folder / "text.png")
    os.symlink(home / "gone", folder / "gone.png")
    (folder / "a\x1b[31m\u202e\n.png").write_bytes(b"")
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"")
    before = tree(secret)
    result = cli("data", "check", folder)
    assert result.code == 0
    assert not [sign for sign in ("\x1b[31m", "\u202e", "\udcff") if sign in result.out + result.err]
    report = check(cli, folder, "--quarantine", "aside")
    assert set(odd(report)) == {"pipe.png", "text.png", "gone.png", "a\x1b[31m\u202e\n.png", os.fsdecode(b"\xff\xfe.png")}
    assert report["moved"] == 5
    assert tree(secret) == before
    assert (home / "text").read_text() == "no picture"
    assert os.readlink("aside/pictures/text.png") == str(home / "text"), "the link itself was moved"
    result = cli("data", "restore", "aside", folder)
    assert (result.code, result.out.split()[0]) == (0, "5")
    assert {os.fsencode(name) for name in os.listdir(folder)} >= {b"\xff\xfe.png", b"pipe.png"}


def test_the_system_may_withhold_a_picture(cli, monkeypatch):
    folder = folder_of(3)

    def failing(path):
        if path.name == "001.png":
            raise Unread("input/output error")
        return header(path)

    monkeypatch.setattr(eyes, "header", failing)
    report = check(cli, folder, "--quarantine", "aside")
    assert odd(report) == {"001.png": ("unread", "input/output error")}
    assert report["moved"] == 0, "it may be whole"


# the quarantine


def test_set_aside_and_brought_back_to_the_byte(cli):
    expected = troubled()
    before = tree(Path("in"))
    report = check(cli, "in", "--quarantine", "aside")
    assert report["moved"] == len(expected)
    assert tree(Path("in")) == {name: data for name, data in before.items() if name not in expected}
    assert {name.removeprefix("pictures/") for name in tree(Path("aside"))} == {*expected, "moved.jsonl"}
    assert odd(check(cli, "in")) == {}
    result = cli("data", "restore", "aside", "in", "--json")
    assert json.loads(result.out) == {"restored": len(expected), "taken": []}
    assert tree(Path("in")) == before
    assert not Path("aside").exists()


def test_people_are_told_the_way_back(cli):
    troubled()
    result = cli("data", "check", "in", "--quarantine", "aside", "--sheet", "odd.png")
    assert result.code == 0
    assert result.out == ""
    assert "genart data restore aside in" in result.err
    for words in ("near-duplicate", "looks like 001.png", "dcgan.train", "what to do"):
        assert words in result.err
    with Image.open("odd.png") as sheet:
        assert min(sheet.size) > 300


def test_nothing_in_the_quarantine_or_the_folder_is_overwritten(cli):
    troubled()
    save(Path("aside/pictures/100.png"), smooth(50))
    kept = Path("aside/pictures/100.png").read_bytes()
    check(cli, "in", "--quarantine", "aside")
    assert Path("aside/pictures/100.png").read_bytes() == kept
    assert Path("aside/pictures/100~2.png").read_bytes() == Path("in/000.png").read_bytes()
    save(Path("in/102.png"), smooth(51))
    newer = Path("in/102.png").read_bytes()
    result = cli("data", "restore", "aside", "in", "--json")
    assert json.loads(result.out) == {"restored": 4, "taken": ["102.png"]}
    assert Path("in/102.png").read_bytes() == newer
    Path("in/102.png").unlink()
    assert json.loads(cli("data", "restore", "aside", "in", "--json").out) == {"restored": 1, "taken": []}


@pytest.mark.parametrize("again", [False, True], ids=["then restored", "then checked again"])
def test_a_kill_before_a_move_loses_nothing(cli, monkeypatch, again):
    expected = troubled()
    before = tree(Path("in"))
    rename, done = os.rename, 0

    def killed(source, target):
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    assert cli("data", "check", "in", "--quarantine", "aside").code == 130
    monkeypatch.setattr(os, "rename", rename)
    with open("aside/moved.jsonl", "ab") as file:
        file.write(b'{"file": "00')
    assert len(expected) > 2
    if again:
        assert cli("data", "check", "in", "--quarantine", "aside").code == 0
    assert json.loads(cli("data", "restore", "aside", "in", "--json").out)["restored"] == (len(expected) if again else 2)
    assert tree(Path("in")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quarantine", "in/aside"], "lies within"),
        (["--quarantine", "in"], "lies within"),
        (["--quarantine", "file"], "no folder"),
        (["--sheet", "in/sheet.png"], "one of the pictures"),
        (["--sheet", "sheet.txt"], "ends in"),
        (["--sheet", "nowhere/sheet.png"], "no such folder"),
    ],
)
def test_places_that_are_refused_before_anything_is_done(cli, options, words):
    troubled()
    Path("file").write_text("x")
    before = tree(Path())
    result = cli("data", "check", "in", *options)
    assert result.code == 2
    assert words in result.err
    assert tree(Path()) == before


def test_pictures_are_not_moved_to_where_they_are(cli):
    """The pictures of a quarantine lie in its folder "pictures", which may be the one that is looked at."""
    troubled(Path("pictures"))
    before = tree(Path())
    result = cli("data", "check", "pictures", "--quarantine", ".")
    assert (result.code, "pictures lies within pictures" in result.err) == (2, True), result.err
    assert tree(Path()) == before


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "", "."])
@pytest.mark.parametrize("key", ["file", "to"])
def test_a_strangers_list_leads_nowhere(cli, name, key):
    folder_of(1)
    save(Path("aside/pictures/x.png"), smooth(0))
    Path("aside/moved.jsonl").write_text(json.dumps({"file": "x.png", "to": "x.png", "reason": ""} | {key: name}) + "\n")
    before = tree(Path())
    assert cli("data", "restore", "aside", "in").code == 7
    assert tree(Path()) == before


def test_links_in_the_way_are_not_followed(cli, home):
    outside = home / "outside"
    outside.mkdir()
    troubled(Path("in/sub"))
    (Path("aside/pictures")).mkdir(parents=True)
    os.symlink(outside, "aside/pictures/sub")
    before = tree(Path("in"))
    assert cli("data", "check", "in", "--quarantine", "aside").code == 7
    assert tree(Path("in")) == before
    assert not list(outside.iterdir())
    os.unlink("aside/pictures/sub")
    save(Path("aside/pictures/sub/x.png"), smooth(0))
    os.symlink(outside, "in/way")
    Path("aside/moved.jsonl").write_text(json.dumps({"file": "way/x.png", "to": "sub/x.png", "reason": ""}) + "\n")
    with pytest.raises(RefusedError):
        quarantine.bring_back(Path("aside"), Path("in"))
    assert not list(outside.iterdir())


@pytest.mark.parametrize("text", ['nonsense\n{"file": "a", "to": "a", "reason": ""}\n', "[]\n[]\n", None])
def test_a_damaged_list_is_3(cli, text):
    folder_of(1)
    Path("aside").mkdir()
    if text is not None:
        Path("aside/moved.jsonl").write_text(text)
    result = cli("data", "restore", "aside", "in")
    assert result.code == 3
    assert len(result.err.splitlines()) <= 3


# progress and memory


def test_progress_is_told_and_a_signal_stops(cli, monkeypatch):
    folder = folder_of(40)
    told: list[tuple[int, int]] = []
    examine(folder, TRAINED, lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)
    assert len({done for done, _ in told}) > 1

    def stop(done, total):
        raise Interrupted(2, kept=False)

    with pytest.raises(Interrupted):
        examine(folder, TRAINED, stop)


def test_a_picture_leaves_less_than_a_kilobyte_behind(tmp_path):
    seen = eyes.look(save(tmp_path / "large.png", smooth(0, 1000)))
    assert seen.thumb.nbytes < 1000
    assert seen.thumb.base is None or seen.thumb.base.nbytes < 1000
