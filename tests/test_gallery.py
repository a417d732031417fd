"""The gallery shows what its recipes make: every picture on the page was made by the recipe beside it, and every recipe is valid."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from genart.plugins import Plugins

from .conftest import ROOT

PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
#: Stages without a picture: what they read is not at hand here, or is no picture.
UNSEEN = {"images.archive", "images.torchvision", "latent.audio", "latent.model"}
#: Bytes of all pictures together.
MOST = 3_400_000


def load_gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery_of_the_documents", ROOT / "docs" / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


gallery = load_gallery()
RECIPES = gallery.recipes(PAGE)


def test_every_block_and_every_picture_is_one_of_the_gallerys() -> None:
    assert [recipe.name for recipe in RECIPES] == re.findall(r'title="([\w-]+)\.toml"', PAGE)
    shown = [name for recipe in RECIPES for name in recipe.pictures]
    assert shown == re.findall(r"\(images/([\w.-]+)\)", PAGE)
    assert len(set(shown)) == len(shown) >= 16
    assert all(f'<a id="{recipe.name}"></a>' in PAGE for recipe in RECIPES), "the documents link to each"


def test_every_stage_has_a_picture_but_for_a_few() -> None:
    shown = {name for recipe in RECIPES for name in recipe.pictures}
    assert {stage.name for stage in Plugins().stages() if f"{stage.name.replace('.', '-')}.webp" not in shown} == UNSEEN


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_pictures_say_that_the_recipe_beside_them_made_them(recipe) -> None:
    assert gallery.problems(recipe) == []


def test_recipes_pass_check(cli) -> None:
    for picture in gallery.IMAGES.iterdir():
        Path(picture.name).symlink_to(picture.absolute())
    for recipe in RECIPES:
        Path(f"{recipe.name}.toml").write_text(recipe.text, encoding="utf-8")
    result = cli("check", *(f"{recipe.name}.toml" for recipe in RECIPES))
    assert result.code == 0, result.err
    assert result.out.count("fine") == len(RECIPES)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "flow"', 'name = "wind"', "its name is another"),
        ("seed = 3", "seed = 4", "made with the seed 3"),
        ('palette = "kelp"', 'palette = "ink"', "procedural.flow.palette = kelp, not ink"),
        (
            'uses = "procedural.flow"',
            'uses = "procedural.flow"\nid = "other"',
            "made by a stage 'procedural.flow' that the recipe does not have",
        ),
        (
            'uses = "procedural.flow"',
            'uses = "procedural.cells"\nid = "procedural.flow"',
            "the stage 'procedural.flow' was procedural.flow",
        ),
    ],
)
def test_a_recipe_that_was_changed_since_is_told(old: str, new: str, says: str) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == "flow")
    changed = gallery.Recipe(recipe.name, recipe.text.replace(old, new), recipe.heading, recipe.pictures)
    assert says in "\n".join(gallery.problems(changed))


def test_a_picture_that_is_missing_edited_or_large_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == "flow")
    whole = gallery.IMAGES / "procedural-flow.webp"
    monkeypatch.setattr(gallery, "IMAGES", tmp_path)
    assert "not there" in gallery.problems(recipe)[0]
    shutil.copyfile(whole, tmp_path / whole.name)
    assert gallery.problems(recipe) == []
    monkeypatch.setattr(gallery, "MOST_STILL", 1000)
    assert "more than 1000" in gallery.problems(recipe)[0]
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-500])
    assert len(gallery.problems(recipe)) == 1
    other = whole.with_name("procedural-cells.webp")
    shutil.copyfile(other, tmp_path / whole.name)
    assert "made by the recipe 'cells', not 'flow'" in "".join(gallery.problems(recipe))


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in gallery.IMAGES.iterdir()) <= MOST
