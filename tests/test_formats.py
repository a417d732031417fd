"""Pictures that plugins read: everywhere, within the same limits, under keys that know the reader; and readers of all sorts of badness."""

from __future__ import annotations

import errno
import io
import itertools
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart.errors import DataError
from genart.formats import FORMATS, HEAD_BYTES, MAGIC, OTHER_SUFFIXES, SUFFIXES, Brought, PictureFormat, PictureReader, is_plain, kind_of
from genart.nn.pictures import DECODERS, Unread, Unreadable, Want, decode, decode_bytes, header, picture_files
from genart.plugins import Plugins
from genart.testing import check_reader

from .test_startup import WATCH

#: A plugin in one file: b"RAWR", height, width and channels in two bytes each, then the pixels.
PLUGIN = """
import struct

import genart


def shape(file):
    return struct.unpack(">HHH", file.read(10)[4:])


def read(file):
    import numpy as np

    height, width, channels = shape(file)
    data = np.frombuffer(file.read(height * width * channels), np.uint8)
    return data.reshape(height, width, channels)


READER = genart.PictureReader(shape, read)


@genart.hookimpl
def genart_readers():
    return {"rawr": genart.PictureFormat((b"RAWR",), f"{__name__}:READER", suffixes=(".rawr",))}
"""
FOLDER = '[[stage]]\nuses = "images.folder"\npath = "pictures"\nsave = "out"\n'


def rawr(pixels: np.ndarray) -> bytes:
    """A file of the plugin's format."""
    return b"RAWR" + b"".join(side.to_bytes(2, "big") for side in pixels.shape) + pixels.tobytes()


def shades(seed: int, channels: int = 3) -> np.ndarray:
    """A picture of 12 by 16 pixels."""
    return np.random.default_rng(seed).integers(0, 256, (12, 16, channels), dtype=np.uint8)


@pytest.fixture
def plugin(home: Path) -> Path:
    """The plugin, as a file."""
    path = Path("raws.py")
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def pictures(home: Path) -> Path:
    """A folder of three pictures: one of the plugin's, one of the plugin's without a suffix, and a PNG."""
    folder = Path("pictures")
    folder.mkdir()
    (folder / "a.rawr").write_bytes(rawr(shades(1)))
    (folder / "b").write_bytes(rawr(shades(2)))
    Image.fromarray(shades(3)).save(folder / "c.png")
    return folder


def saved(folder: str | Path) -> list[np.ndarray]:
    """The pictures that a stage saved."""
    return [np.asarray(Image.open(path)) for path in sorted(Path(folder).glob("*.png"))]


# where they are read


def test_a_folder(plugin, pictures, recipe, run_toy):
    result = run_toy(recipe(FOLDER), plugin=plugin)
    assert result.code == 0, result.err
    assert all(np.array_equal(made, shades(1 + i)) for i, made in enumerate(saved("out/out")))
    assert len(saved("out/out")) == 3


def test_archives(plugin, pictures, recipe, run_toy):
    with zipfile.ZipFile("a.zip", "w") as archive, tarfile.open("b.tar", "w") as tar:
        archive.write(pictures / "a.rawr", "x.rawr")
        tar.add(pictures / "a.rawr", "y.rawr")
        tar.add(pictures / "b", "not-named-so")
    stage = '[[stage]]\nuses = "images.archive"\npath = ["a.zip", "b.tar"]\nsave = "out"\n'
    assert run_toy(recipe(stage), plugin=plugin).code == 0
    assert [np.array_equal(made, shades(1)) for made in saved("out/out")] == [True, True], "in archives a picture has a picture's name"


def test_a_filter_keeps_the_transparency(plugin, cli):
    pixels = shades(5, channels=4)
    Path("one.rawr").write_bytes(rawr(pixels))
    assert cli("apply", "images.resize", "-i", "one.rawr", "-o", "made.png", "--scale", "1", "-p", plugin).code == 0
    seen = pixels[..., 3] > 0
    assert np.array_equal(np.asarray(Image.open("made.png"))[seen], pixels[seen])


def test_the_doctor_of_data_sets(plugin, pictures, cli):
    (pictures / "cut.rawr").write_bytes(rawr(shades(4))[:-1])
    told = json.loads(cli("data", "check", pictures, "--json", "-p", plugin).out)
    assert told["formats"] == {"rawr": 2, "PNG": 1}
    assert [(odd["file"], odd["kind"]) for odd in told["odd"] if odd["kind"] != "tiny"] == [("cut.rawr", "corrupt")]
    assert "says the reader 'rawr'" in told["odd"][0]["reason"]


def test_a_parameter_that_takes_a_picture(plugin, pictures, recipe, run_toy):
    stage = (
        '[[stage]]\nuses = "images.folder"\npath = "pictures/c.png"\n'
        '[[stage]]\nuses = "video.frames"\nbeside = "pictures/a.rawr"\nsave = "out"\n'
    )
    result = run_toy(recipe(stage), plugin=plugin)
    assert result.code == 0, result.err
    assert np.array_equal(saved("out/out")[0][..., :3], np.concatenate([shades(3), shades(1)], 1))


def test_names_alone_prove_nothing_and_are_listed(plugin, pictures, formats):
    Plugins([plugin], only=()).bring_formats()
    (pictures / "d.rawr").write_bytes(b"something else")
    (pictures / "e.txt").write_bytes(b"RAW")
    assert [path.name for path in picture_files(pictures)] == ["a.rawr", "b", "c.png", "d.rawr"]
    with pytest.raises(Unreadable, match="not a PNG, JPEG, WebP, GIF, BMP, TIFF or rawr"):
        decode(pictures / "d.rawr", Want())
    assert header(pictures / "b").format == "rawr"
    formats.brought = ()
    assert [path.name for path in picture_files(pictures)] == ["c.png"]


# keys


def test_the_key_knows_the_reader(plugin, pictures, recipe, run_toy, cli):
    path = recipe(FOLDER)
    assert run_toy(path, plugin=plugin).made() == ["images.folder"]
    assert run_toy(path, plugin=plugin).made() == []
    plugin.write_text(PLUGIN.replace("return data", "return 255 - data"))
    assert "the reader 'rawr' changed" in cli("plan", path, "--why", "-p", plugin).out
    assert run_toy(path, plugin=plugin).made() == ["images.folder"]
    assert np.array_equal(saved("out/out")[0], 255 - shades(1))


def test_a_reader_that_comes_or_goes_is_seen(plugin, pictures, recipe, run_toy, cli):
    path = recipe(FOLDER)
    assert cli("run", path, "--out", "out").code == 0
    assert len(saved("out/out")) == 1
    assert "the reader 'rawr' is new" in cli("plan", path, "--why", "-p", plugin).out
    assert run_toy(path, plugin=plugin).made() == ["images.folder"]
    assert len(saved("out/out")) == 3
    (pictures / "c.png").write_bytes((pictures / "c.png").read_bytes() + b"\0")
    assert "the reader 'rawr' is gone" in cli("plan", path, "--why").out


def test_what_it_did_not_read_does_not_know_it(plugin, pictures, recipe, run_toy):
    (pictures / "a.rawr").unlink()
    (pictures / "b").write_text("notes")
    path = recipe(FOLDER)
    assert run_toy(path, plugin=plugin).made() == ["images.folder"]
    plugin.write_text(PLUGIN + "\n# changed\n")
    assert run_toy(path, plugin=plugin).made() == []


def test_an_archive_is_not_looked_into_for_its_key(plugin, pictures, recipe, run_toy):
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write(pictures / "a.rawr", "a.rawr")
    path = recipe('[[stage]]\nuses = "images.archive"\npath = "a.zip"\nsave = "out"\n')
    assert run_toy(path, plugin=plugin).made() == ["images.archive"]
    plugin.write_text(PLUGIN + "\n# changed\n")
    assert run_toy(path, plugin=plugin).made() == ["images.archive"]


def test_a_picture_says_what_read_it(plugin, pictures, recipe, run_toy, cli):
    assert run_toy(recipe(FOLDER), plugin=plugin).code == 0
    told = json.loads(cli("show", "out/out/00000.png", "--json").out)["provenance"]["stages"][0]
    assert list(told["registered"]) == ["genart_readers:rawr"]
    assert cli("remake", "out/out/00000.png", "-p", plugin).code == 0
    assert cli("remake", "out/out/00000.png", "--from-scratch").code != 0


def test_a_module_beside_the_plugin_is_part_of_it(home, monkeypatch):
    Path("beside_codec.py").write_text("READER = 1\n")
    Path("beside.py").write_text(PLUGIN.replace('f"{__name__}:READER"', '"beside_codec:READER"'))
    monkeypatch.syspath_prepend(str(Path.cwd()))

    def source() -> str:
        plugins = Plugins([Path("beside.py")], only=())
        return plugins.identity(plugins.plugins["beside"])["source"]

    before = source()
    assert source() == before
    Path("beside_codec.py").write_text("READER = 2\n")
    assert source() != before


def test_a_plan_imports_nothing_heavy(plugin, pictures, recipe, genart_process):
    process = genart_process("plan", recipe(FOLDER), "-p", plugin, "--device", "cpu", prelude=WATCH)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err.splitlines()[-1] == "HEAVY []"


# bad readers, and good ones on bad files


def leave() -> None:
    raise SystemExit("bye")


def fail(error: Exception) -> None:
    raise error


GOOD = PictureReader(lambda file: (2, 3, 3), lambda file: np.zeros((2, 3, 3), np.uint8))
BAD = {
    "raises": (GOOD.shape, lambda file: 1 // 0, "ZeroDivisionError: integer division"),
    "raises in the header": (lambda file: fail(KeyError()), GOOD.read, "KeyError"),
    "leaves": (GOOD.shape, lambda file: leave(), "SystemExit: bye"),
    "has no memory": (GOOD.shape, lambda file: fail(MemoryError()), "MemoryError"),
    "says why": (GOOD.shape, lambda file: fail(Unreadable("too dark")), "too dark, says the reader 'bad'"),
    "talks on several lines": (GOOD.shape, lambda file: fail(ValueError("a\n\n" + "b" * 1000)), "ValueError: a bbb"),
    "an error of files": (GOOD.shape, lambda file: fail(OSError("no such tag")), "OSError: no such tag"),
    "closes the file": (lambda file: file.close() or (2, 3, 3), GOOD.read, "damaged"),
    "gives nothing": (GOOD.shape, lambda file: None, "it gives NoneType, not uint8 of (2, 3, 3)"),
    "gives floats": (GOOD.shape, lambda file: np.zeros((2, 3, 3)), "it gives float64 of (2, 3, 3)"),
    "gives another size": (GOOD.shape, lambda file: np.zeros((3, 2, 3), np.uint8), "it gives uint8 of (3, 2, 3)"),
    "gives grey": (lambda file: (2, 3, 1), GOOD.read, "it gives the shape (2, 3, 1)"),
    "gives a shape of text": (lambda file: "2x3", GOOD.read, "it gives the shape 2x3"),
    "has no pixels": (lambda file: (0, 3, 3), GOOD.read, "no pixels"),
    "is less than nothing": (lambda file: (-2, -3, 3), GOOD.read, "no pixels"),
    "is huge": (lambda file: (2**31, 2**31, 3), lambda file: pytest.fail("it was decoded"), "above the limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_whatever_a_reader_does_one_picture_is_unreadable(monkeypatch, case):
    shape, read, words = BAD[case]
    bring(monkeypatch, ("bad", PictureReader(shape, read)))
    Path("x").write_bytes(b"RAWR")
    for attempt in (lambda: decode(Path("x"), Want()), lambda: decode_bytes(b"RAWR", Want((8, 8)))):
        with pytest.raises(Unreadable) as caught:
            attempt()
        assert words in str(caught.value)
        assert "says the reader 'bad'" in str(caught.value) or case in (
            "closes the file",
            "has no pixels",
            "is less than nothing",
            "is huge",
        )
        assert len(str(caught.value)) < 200
        assert not isinstance(caught.value, Unread)


def bring(monkeypatch: pytest.MonkeyPatch, *readers: tuple[str, object], **known: object) -> None:
    """Make readers known, all for one format."""
    import genart.formats

    for number, (name, reader) in enumerate(readers):
        monkeypatch.setattr(genart.formats, f"TOY_{number}", reader, raising=False)
        format_ = PictureFormat(**{"magic": (b"RAWR",), "reader": f"genart.formats:TOY_{number}"} | known)
        FORMATS.brought += (Brought(name, format_, name, f"genart-{name} 1.0"),)


def test_what_the_system_does_not_give_is_no_ones_fault(monkeypatch):
    bring(monkeypatch, ("good", PictureReader(GOOD.shape, lambda file: fail(OSError(errno.EIO, "Input/output error")))))
    with pytest.raises(Unread, match="input/output error"):
        decode_bytes(b"RAWR", Want())


@pytest.mark.parametrize("reader", [None, "no reader", 3])
def test_a_reader_that_is_none_stops_the_stage(monkeypatch, reader):
    """The picture may be whole: a result without it would be kept, and found again when the reader is mended."""
    bring(monkeypatch, ("broken", reader))
    with pytest.raises(Unread, match=r"its reader 'broken' \(genart-broken 1.0\) cannot be used"):
        decode_bytes(b"RAWR", Want())


def test_a_reader_that_cannot_be_imported_stops_the_stage(plugin, pictures, recipe, run_toy):
    plugin.write_text(PLUGIN.replace('f"{__name__}:READER"', '"nothing_of_the_kind:READER"'))
    result = run_toy(recipe(FOLDER), plugin=plugin)
    assert result.code == DataError.exit_code
    assert "its reader 'rawr' (raws.py) cannot be used: ModuleNotFoundError" in result.err


def test_two_readers_of_one_picture_are_told(plugin, pictures, recipe, cli):
    Path("others.py").write_text(PLUGIN.replace('"rawr"', '"rawest"'))
    both = ("-p", plugin, "-p", "others.py")
    result = cli("run", recipe(FOLDER), *both)
    assert result.code == 2
    assert "pictures/a.rawr: both 'rawest' (others.py) and 'rawr' (raws.py) read it" in result.err
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write(pictures / "a.rawr", "a.rawr")
    result = cli("apply", "images.archive", "--path", "a.zip", "-o", "out", *both)
    assert result.code == 3
    assert "a.rawr: both 'rawest' (others.py) and 'rawr' (raws.py) read it" in result.err


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ('{"rawr": "raws:READER"}', "TypeError: genart_readers must return a table of name -> genart.PictureFormat"),
        ('{"rawr": genart.PictureFormat((b"RAWR",), "raws")}', 'ValueError: reader must be "package.module:OBJECT"'),
        ("1 // 0", "ZeroDivisionError"),
    ],
)
def test_a_hook_that_gives_something_else_breaks_its_plugin(plugin, cli, hook, words):
    plugin.write_text(f"import genart\n@genart.hookimpl\ndef genart_readers():\n    return {hook}\n")
    assert words in cli("plugins", "raws", "-p", plugin).out


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"magic": b"RAWR"}, "magic must be a tuple"),
        ({"magic": ()}, "magic must be a tuple"),
        ({"magic": (b"",)}, "magic must be a tuple"),
        ({"at": -1}, "within the first 32 bytes"),
        ({"at": 29}, "within the first 32 bytes"),
        ({"suffixes": (".RAW",)}, "small letters with a dot"),
        ({"suffixes": ("raw",)}, "small letters with a dot"),
        ({"suffixes": (".png", ".raw")}, "names that end in .png are genart's own"),
        ({"suffixes": (".safetensors",)}, "genart's own"),
        ({"reader": "somewhere"}, "package.module:OBJECT"),
    ],
)
def test_a_format_that_cannot_be_is_refused(known, words):
    with pytest.raises(ValueError, match=words):
        PictureFormat(**{"magic": (b"RAWR",), "reader": "a:B"} | known)


# how a file is known


def test_pillows_own_stay_pillows():
    heads = {**dict.fromkeys(MAGIC, None), b"RIFF\0\0\0\0WEBP": None}
    for head in heads:
        taker = PictureFormat((head[:8],), "a:B", suffixes=(".raw", ".dng"))
        assert kind_of(head) in DECODERS
        assert not any(taker.fits(head, suffix) for suffix in (*SUFFIXES, "", ".txt"))
        assert taker.fits(head, ".dng"), "a camera's raw picture begins like a TIFF, and is known by its name too"
    assert set(DECODERS) == {*MAGIC.values(), "WEBP"}


def test_what_plans_pass_over_no_plugin_takes():
    """A key is made without asking plugins for such a file, so that none may read it."""
    starts = [*MAGIC, b"RIFF\0\0\0\0WEBP", b"RAWR", b"R", b"", b"\0" * 8]
    for head, suffix in itertools.product(starts, (*SUFFIXES, *OTHER_SUFFIXES, "", ".rawr", ".txt", ".safetensors")):
        taker = PictureFormat((head[:8] or b"?",), "a:B", suffixes=tuple({suffix} - {"", ".safetensors"} - SUFFIXES))
        assert not (is_plain(head, suffix) and taker.fits(head, suffix))


def test_few_bytes_count_with_a_name():
    short = PictureFormat((b"P6",), "a:B", suffixes=(".ppm",))
    assert short.fits(b"P6 3 2 255\n", ".ppm")
    assert not short.fits(b"P6 is what I call it", ".txt")
    assert not short.fits(b"P5", ".ppm")
    later = PictureFormat((b"ftypheic", b"ftypmif1"), "a:B", at=4)
    assert later.fits(b"\0\0\0\x18ftypmif1" + b"\0" * 20, "")
    assert not later.fits(b"ftypmif1" + b"\0" * 20, "")


# what authors test with


GOOD_FILE, GOOD_PIXELS = rawr(shades(1)), shades(1)
RAWR = PictureFormat((b"RAWR",), "a:B", suffixes=(".rawr",))


def toy_shape(file: io.BytesIO) -> tuple[int, int, int]:
    data = file.read(10)
    if len(data) < 10:
        raise ValueError("no header")
    height, width, channels = (int.from_bytes(data[i : i + 2], "big") for i in (4, 6, 8))
    return height, width, channels


def toy_read(file: io.BytesIO) -> np.ndarray:
    shape = toy_shape(file)
    return np.frombuffer(file.read(), np.uint8).reshape(shape)


def test_a_good_reader_passes():
    check_reader(RAWR, PictureReader(toy_shape, toy_read), GOOD_FILE, GOOD_PIXELS)


@pytest.mark.parametrize(
    ("known", "shape", "read", "words"),
    [
        (PictureFormat((b"RAWX",), "a:B"), toy_shape, toy_read, "is not known for this format"),
        (RAWR, lambda file: (1, 2, 3), toy_read, "`shape` gives"),
        (RAWR, toy_shape, lambda file: 255 - toy_read(file), "other pixels"),
        (RAWR, toy_shape, lambda file: toy_read(file)[::-1].astype(np.float32), "not uint8"),
        (RAWR, toy_shape, lambda file: [], "gives list"),
        (RAWR, toy_shape, lambda file: np.resize(np.frombuffer(file.read()[10:] or b"\0", np.uint8), (12, 16, 3)), "is cut off"),
    ],
)
def test_a_bad_reader_does_not(known, shape, read, words):
    with pytest.raises(AssertionError, match=words):
        check_reader(known, PictureReader(shape, read), GOOD_FILE, GOOD_PIXELS)


def test_only_first_bytes_are_looked_at():
    assert len(max(MAGIC, key=len)) <= HEAD_BYTES
