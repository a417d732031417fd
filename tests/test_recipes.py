"""Every recipe of the project is runnable as far as `check` can see."""

from __future__ import annotations

import pytest

from .conftest import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


def test_there_are_recipes():
    assert "painting.toml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_pass_check(cli, path):
    result = cli("check", path)
    assert result.code == 0, result.err
    assert "fine" in result.out
    assert path.read_text(encoding="utf-8").startswith("#:schema ")
