"""The plan: what runs again and what does not, and the reason in words."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from genart import plan
from genart.errors import DataError
from genart.provenance import read
from genart.store import sha256_of

from .conftest import TOYS, tree

CHAIN = """
[[stage]]
uses = "toy.noise"
count = 5
[[stage]]
uses = "toy.invert"
id = "inv"
save = "pics"
[[stage]]
uses = "toy.read"
path = "a.txt"
id = "r"
save = "one.png"
"""


@pytest.fixture
def path(recipe) -> Path:
    Path("a.txt").write_text("abc")
    old = 1_600_000_000
    os.utime("a.txt", (old, old))
    return recipe(CHAIN)


@pytest.fixture
def why(cli):
    """Return {id: reasons} of what would run."""

    def call(path: Path, *arguments: object, plugin: Path = TOYS) -> dict[str, list[str]]:
        result = cli("plan", path, "--why", "--json", "-p", plugin, "--device", "cpu", *arguments)
        assert result.code == 0, result.err
        return {row["id"]: row["why"] for row in json.loads(result.out)["stages"] if row["status"] == "run"}

    return call


def test_first_time_and_second_time(path, why, run_toy, cli):
    assert why(path) == {id_: ["never made before"] for id_ in ("toy.noise", "inv", "r")}
    run_toy(path)
    assert why(path) == {}
    text = cli("plan", path, "--why", "-p", TOYS, "--device", "cpu").out
    assert "everything is cached" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        (["--set", "inv.amount=0.5"], {"inv": ["parameter amount: 1.0 → 0.5"]}),
        (["--set", "inv.mode=b"], {"inv": ['parameter mode: "a" → "b"']}),
        (["--set", "toy.noise.count=6"], {"toy.noise": ["parameter count: 5 → 6"], "inv": ["input 'toy.noise' changed"]}),
        (["--seed", "4"], {"toy.noise": ["seed "], "inv": ["input 'toy.noise' changed"]}),
        (["--force", "inv"], {"inv": ["forced by --force"]}),
        (["--force"], {"toy.noise": ["forced"], "inv": ["forced"], "r": ["forced"]}),
        (["--force", "r"], {"r": ["forced"]}),
        (["--until", "toy.noise"], {}),
    ],
)
def test_reasons(path, why, run_toy, arguments, reasons):
    run_toy(path)
    found = why(path, *arguments)
    assert set(found) == set(reasons)
    for id_, words in reasons.items():
        assert len(found[id_]) == len(words)
        assert all(part in text for part, text in zip(words, found[id_], strict=True)), found[id_]


def test_content_counts_and_dates_do_not(path, why, run_toy):
    run_toy(path)
    os.utime("a.txt")
    assert why(path) == {}
    shutil.copy("a.txt", "b.txt")
    path.write_text(path.read_text().replace("a.txt", "b.txt"))
    assert why(path) == {}, "nor do names"
    stat = os.stat("b.txt")
    Path("b.txt").write_text("xyz")
    os.utime("b.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert why(path) == {"r": ["content of path changed"]}, "same size and date, other content"


def test_folders_count_by_names_and_contents(recipe, why, run_toy):
    Path("f/sub").mkdir(parents=True)
    Path("f/a").write_text("1")
    Path("f/.hidden").write_text("1")
    path = recipe('[[stage]]\nuses = "toy.read"\npath = "f"\nsave = "x"\n')
    Path("f/sub").rmdir()
    run_toy(path)
    Path("f/.hidden").write_text("2")
    Path("f/a").touch()
    assert why(path) == {}
    Path("f/a").rename("f/b")
    assert list(why(path)) == ["toy.read"]
    Path("f/b").rename("f/a")
    assert why(path) == {}
    Path("f/c").write_text("")
    assert list(why(path)) == ["toy.read"]


def test_a_change_of_code_reruns_the_stage_and_spares_what_follows(path, why, run_toy, home):
    toys = Path("toys.py")
    shutil.copy(TOYS, toys)
    run_toy(path, plugin=toys)
    wanted = tree(Path("out"))
    toys.write_text(toys.read_text() + "\n# a comment\n")
    assert why(path, plugin=toys) == {
        "toy.noise": ["code of the plugin 'toy' changed"],
        "inv": ["code of the plugin 'toy' changed", "input 'toy.noise' changed"],
        "r": ["code of the plugin 'toy' changed"],
    }
    run_toy(path, plugin=toys)
    assert tree(Path("out")).keys() == wanted.keys()
    toys.write_bytes(TOYS.read_bytes())
    assert why(path, plugin=toys) == {}, "yesterday's results are still there"


def test_a_changed_plugin_reruns_only_its_own_stages(recipe, run_toy, home):
    """Early cut-off across plugins: the source runs again, gives the same pictures, and the other plugin's stage is cached."""
    mine = Path("mine.py")
    source = (
        "from typing import Iterator\nimport genart\n"
        "@genart.stage('mine.one')\n"
        "def one(_: None, params: None, run: genart.Run) -> Iterator[genart.Batch]:\n"
        "    '''One.'''\n    import torch\n    yield genart.Batch(torch.zeros(1, 3, 4, 4))\n"
    )
    mine.write_text(source)
    path = recipe('[[stage]]\nuses = "mine.one"\n[[stage]]\nuses = "toy.invert"\n[[stage]]\nuses = "toy.train"\nsave = "m.safetensors"\n')
    assert len(run_toy(path, "-p", mine).made()) == 3
    mine.write_text(source + "# a comment\n")
    assert run_toy(path, "-p", mine).made() == ["mine.one"]
    assert run_toy(path, "-p", mine).made() == []


#: A stage whose model another plugin rebuilds, and one that draws from it.
MODELS = """
import genart
from collections.abc import Iterator

@genart.stage("mine.model")
def model(_: None, params: None, run: genart.Run) -> genart.Model:
    import torch
    return run.model({"w": torch.zeros(1)}, family="other", parameters={})

@genart.stage("mine.draw")
def draw(model: genart.Model, params: None, run: genart.Run) -> Iterator[genart.Batch]:
    import torch
    yield genart.Batch(torch.zeros(1, 3, 4, 4))
"""


def test_what_draws_from_a_model_runs_again_when_the_code_that_rebuilds_it_changes(recipe, why, run_toy):
    family = 'import genart\n@genart.hookimpl\ndef genart_generators():\n    return {"other": "genart_local.theirs:Net"}\n'
    Path("mine.py").write_text(MODELS)
    Path("theirs.py").write_text(family)
    path = recipe('[[stage]]\nuses = "mine.model"\nid = "m"\n[[stage]]\nuses = "mine.draw"\nid = "d"\nsave = "pics"\n')
    plugins = ("-p", "mine.py", "-p", "theirs.py")
    assert run_toy(path, *plugins).made() == ["m", "d"]
    assert run_toy(path, *plugins).made() == []
    Path("theirs.py").write_text(family + "# a comment\n")
    assert why(path, *plugins) == {"d": ["code that rebuilds the model of 'm' changed"]}
    assert run_toy(path, *plugins).made() == ["d"]
    assert run_toy(path, *plugins).made() == []
    Path("theirs.py").write_text(family)
    assert run_toy(path, *plugins).made() == [], "yesterday's result is still there"


def test_adding_a_stage_changes_no_other_picture(path, recipe, run_toy):
    run_toy(path)
    before = tree(Path("out"))
    new = '[[stage]]\nuses = "toy.noise"\nid = "first"\n[[stage]]\nuses = "toy.fade"\nsave = "faded"\n'
    result = run_toy(recipe(new + CHAIN.replace('id = "inv"', 'id = "inv"\nfrom = "toy.noise"')))
    assert result.code == 0, result.err
    assert sorted(result.made()) == ["first", "toy.fade"]
    after = tree(Path("out"))
    assert {name: after[name] for name in before if name.startswith("pics")} == {n: d for n, d in before.items() if n.startswith("pics")}


def pixels(path):
    """What is seen of a saved picture, without what it says of itself."""
    with Image.open(path) as picture:
        return picture.tobytes()


def test_adding_a_picture_changes_no_other(recipe, run_toy):
    path = recipe('[[stage]]\nuses = "toy.noise"\ncount = 3\nsave = "x"\n')
    run_toy(path)
    first = [pixels(p) for p in sorted(Path("out/x").iterdir())]
    run_toy(path, "--set", "toy.noise.count=5")
    second = [pixels(p) for p in sorted(Path("out/x").iterdir())]
    assert second[:3] == first
    assert len(set(second)) == 5


def test_stages_and_seeds_draw_apart(recipe, run_toy):
    run_toy(recipe('[[stage]]\nuses = "toy.noise"\nid = "a"\nsave = "a"\n[[stage]]\nuses = "toy.noise"\nid = "b"\nsave = "b"\n'))
    one, other = pixels("out/a/00000.png"), pixels("out/b/00000.png")
    assert one != other
    run_toy(Path("r.toml"), "--seed", "99")
    assert pixels("out/a/00000.png") != one


def test_until_makes_and_saves_no_more(path, run_toy):
    result = run_toy(path, "--until", "toy.noise")
    assert result.made() == ["toy.noise"]
    assert not Path("out/pics").exists()
    assert run_toy(path, "--until", "nois").code == 2


def test_force_makes_again_and_keeps_the_bytes(path, run_toy):
    run_toy(path)
    wanted = tree(Path("out"))
    assert run_toy(path, "--force", "toy.noise").made() == ["toy.noise"], "the same pictures again, so nothing follows"
    assert sorted(run_toy(path, "--force").made()) == ["inv", "r", "toy.noise"]
    assert tree(Path("out")) == wanted
    assert run_toy(path).made() == []
    assert run_toy(path, "--force", "nothing").code == 2


def test_a_typed_parameter_is_another(recipe, why, run_toy):
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.invert"\nid = "i"\nops = [{a = 1}]\nsave = "x"\n')
    run_toy(path)
    for value in ("1.0", "true", '"1"'):
        path.write_text(path.read_text().replace("a = 1}", f"a = {value}}}"))
        assert list(why(path)) == ["i"], value
        assert why(path)["i"] != []
        path.write_text(path.read_text().replace(f"a = {value}}}", "a = 1}"))
    assert why(path) == {}


def test_two_recipes_share_what_is_common(recipe, run_toy):
    run_toy(recipe(CHAIN.partition('[[stage]]\nuses = "toy.read"')[0]))
    other = recipe('[[stage]]\nuses = "toy.noise"\ncount = 5\n[[stage]]\nuses = "toy.fade"\nsave = "x"\n', name="other", file="o.toml")
    assert run_toy(other).made() == ["toy.fade"]


def test_an_unknown_device(cli, path):
    result = cli("plan", path, "-p", TOYS, "--device", "tpu")
    assert result.code == 2
    assert "auto, cpu, cuda, mps" in result.err


def test_an_estimate_from_earlier_runs(cli, path, run_toy):
    rows = json.loads(cli("plan", path, "--json", "-p", TOYS, "--device", "cpu").out)["stages"]
    assert [row["seconds"] for row in rows] == [None] * 3
    run_toy(path)
    rows = json.loads(cli("plan", path, "--json", "-p", TOYS, "--device", "cpu", "--force").out)["stages"]
    assert all(row["seconds"] is not None for row in rows)


def test_what_a_plan_says_of_times_that_nobody_knows(cli, path, run_toy):
    words = ("plan", path, "-p", TOYS, "--device", "cpu")
    assert cli(*words).out.splitlines()[-1] == "3 of 3 stages would run: times are known after a first run"
    assert cli(*words, "--set", "inv.budget=90s").out.splitlines()[-1] == "3 of 3 stages would run: about 1:30, 2 without an estimate"
    run_toy(path)
    assert cli(*words).out.splitlines()[-1] == "everything is cached"
    assert cli(*words, "--force").out.splitlines()[-1].startswith("3 of 3 stages would run: about ")


def test_odd_memories_do_not_matter(path, run_toy, store):
    """What the store remembers beside its entries may be lost or damaged at any time."""
    run_toy(path)
    for file in [*store.glob("hashes/*"), *store.glob("history/*"), *store.glob("ancestry/*/*")]:
        file.write_text("[1, 2]")
    assert run_toy(path).code == 0
    shutil.rmtree(store / "ancestry")
    assert run_toy(path).made() == [], "found by their inputs"


# files that cannot be read


def test_a_file_that_cannot_be_read_is_bad_input(recipe, cli, monkeypatch):
    """A permission cannot be taken from everyone who may run this."""

    def denied(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    Path("f").mkdir()
    Path("f/a").write_text("1")
    monkeypatch.setattr(plan, "sha256_of", denied)
    for path in ("f", "f/a"):
        result = cli("plan", recipe(f'[[stage]]\nuses = "toy.read"\npath = "{path}"\n'), "-p", TOYS, "--device", "cpu")
        assert result.code == 3
        assert result.err.splitlines() == [
            f"genart: {Path('f/a').resolve()}: cannot be read: Permission denied",
            "  make it readable, or move it away",
        ]


def test_a_file_that_vanishes_while_its_folder_is_read_is_left_out(home, monkeypatch):
    def one_vanishes(path: Path) -> str:
        if path.name == "b":
            path.unlink()
        return sha256_of(path)

    Path("f").mkdir()
    for name in ("a", "b", "c"):
        Path("f", name).write_text(name)
    monkeypatch.setattr(plan, "sha256_of", one_vanishes)
    found = plan.examined(Path("f"), home / "one")
    assert list(found.files) == ["a", "c"]
    assert found == plan.examined(Path("f"), home / "another")
    Path("b").write_text("b")
    with pytest.raises(DataError, match="b: it is no longer there"):
        plan.examined(Path("b"), home / "one")


def test_names_that_are_not_utf8_are_planned_run_told_and_reported(cli, home):
    folder = Path(os.fsdecode(b"caf\xe9"))
    folder.mkdir()
    for name in (b"\xe9.png", b"z.png"):
        Image.new("RGB", (8, 8), len(name)).save(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"bad\xe9.png")).write_bytes(b"no picture")
    text = '[recipe]\nname = "odd"\n[[stage]]\nuses = "images.folder"\npath = "."\n[[stage]]\nuses = "toy.invert"\nsave = "pics"\n'
    (folder / "r.toml").write_text(text)
    words = (folder / "r.toml", "-p", TOYS, "--device", "cpu")
    assert cli("plan", *words).code == 0
    assert cli("run", *words, "--quiet").code == 0
    skipped = json.loads(Path("out/odd/run.json").read_text())["stages"][0]["skipped"]
    assert skipped == [{"file": "bad\\udce9.png", "reason": "not a PNG, JPEG, WebP, GIF, BMP or TIFF"}]
    assert read(Path("out/odd/pics/00000.png"))[0].picture["source"] == "z.png"
    assert read(Path("out/odd/pics/00001.png"))[0].picture["source"] == "\\udce9.png"
    assert cli("report", "odd").code == 0
    (Path("out/odd/pics") / os.fsdecode(b"\xe9")).write_text("somebody's")
    assert cli("run", *words, "--quiet").code == 0
