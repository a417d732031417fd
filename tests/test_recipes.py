"""Every recipe of the project is runnable as far as `check` can see."""

from __future__ import annotations

import tomllib

import pytest

from .conftest import ROOT

#: Folders of pictures that a recipe's user brings.
FOLDERS = {"faces-of-fashion.toml": ("fashion",)}
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


def test_there_are_recipes():
    assert "painting.toml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_pass_check(cli, path, tmp_path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    for folder in FOLDERS.get(path.name, ()):
        (tmp_path / folder).mkdir()
    result = cli("check", copy)
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
