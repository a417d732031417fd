"""Every recipe of the project passes `check`, and runs in small."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart.plugins import Plugins
from genart.recipe import load

from .conftest import ROOT

#: Folders of pictures that a recipe's user brings, with a folder for each class.
FOLDERS = {"faces-of-fashion.toml": ("fashion",)}
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
#: The others are slow ones; painting.toml has a test of its own.
QUICK = ("procedural.toml", "sweep.toml")
RUN = [path for path in RECIPES if path.name != "painting.toml"]
#: Parameters of each training.
TRAINING = {"kimg": 0.032, "batch_size": 8, "width": 8, "evaluations": 0}
#: Parameters that are at most so large where a recipe gives them.
MOST = {"count": 12, "frames": 4, "keys": 2, "iterations": 2, "points": 200, "resolution": 64}
#: What a recipe needs beside these.
ALSO = {
    "directions.toml": ("chosen.cells=[3, 7, 9, 11]", "chosen.frames=40"),
    "strokes.toml": ("photo.crop=64", "photo.count=1"),
    "style.toml": ("paint.iterations=2",),
}


def test_there_are_recipes():
    assert "painting.toml" in {path.name for path in RECIPES}
    assert {*QUICK, *ALSO, *FOLDERS} <= {path.name for path in RUN}


def copied(path: Path) -> Path:
    """A copy of a recipe in the current folder, with the pictures that it reads."""
    copy = Path(path.name)
    copy.write_bytes(path.read_bytes())
    for folder in FOLDERS.get(path.name, ()):
        for kind in range(3):
            Path(folder, f"kind {kind}").mkdir(parents=True)
            for i, pixels in enumerate(np.random.default_rng(kind).integers(0, 256, (6, 32, 32, 3), np.uint8)):
                Image.fromarray(pixels).save(Path(folder, f"kind {kind}", f"{i}.png"))
    return copy


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_pass_check(cli, path):
    result = cli("check", copied(path))
    assert result.code == 0, result.err
    assert "fine" in result.out
    assert path.read_text(encoding="utf-8").startswith("#:schema ")


def test_the_sheets_of_the_zoo_say_which_family_is_which():
    document = tomllib.loads((ROOT / "recipes" / "zoo.toml").read_text(encoding="utf-8"))
    trained = [table["id"] for table in document["stage"] if table["uses"].endswith(".train")]
    sheets = [table for table in document["stage"] if table["uses"] == "images.sheet"]
    assert len(trained) == 6
    for sheet, kind in zip(sheets, ("quality", "pictures"), strict=True):
        assert sheet["labels"] == trained
        assert sheet["pictures"] == [f"{name}-{kind}" for name in trained]


def smaller(path: Path) -> Iterator[str]:
    """`ID.PARAM=VALUE` for whatever makes a recipe long."""
    for node in load(path, Plugins()).nodes:
        for name, value in (TRAINING if node.stage.name.endswith(".train") else {}).items():
            yield f"{node.written}.{name}={value}"
        for name in MOST.keys() & node.params.model_fields_set:
            given = getattr(node.params, name)
            if isinstance(given, tuple) or given > MOST[name]:
                yield f"{node.written}.{name}={MOST[name]}"
    yield from ALSO.get(path.name, ())


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name, marks=() if p.name in QUICK else pytest.mark.slow) for p in RUN])
def test_recipes_run_in_small_and_save_what_they_say(cli, path):
    copy = copied(path)
    sets = [word for text in dict.fromkeys(smaller(copy)) for word in ("--set", text)]
    result = cli("run", copy, *sets, "--json", "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    recipe = load(copy, Plugins())
    out = Path("out") / recipe.name
    saves = {(out / node.save).as_posix() for node in recipe.nodes if node.save}
    assert {event["path"] for event in result.events if event["event"] == "saved"} == saves
    for save in map(Path, saves):
        assert any(save.iterdir()) if save.is_dir() else save.stat().st_size > 100, save
    assert (out / "report.html").exists() == recipe.report
