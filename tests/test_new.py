"""Beginnings work as they are."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from genart.new import new_plugin
from genart.plugins import Plugins
from genart.recipe import load

from .conftest import ROOT, Result

RECIPE = """
[recipe]
name = "night"

[[stage]]
uses = "images.samples"
crop = 16
count = 2

[[stage]]
uses = "night_sky.tint"
save = "tinted"
"""


def lent_packages(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one; returns its Python."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    lent = sorted({os.path.abspath(path) for path in sys.path[1:] if path.endswith("site-packages")})
    (site / "lent.pth").write_text("\n".join(f"import site; site.addsitedir({path!r})" for path in lent))
    return python


def test_a_new_plugin_is_installed_found_and_tested(home: Path, cli) -> None:
    assert cli("new", "plugin", "night-sky").code == 0
    folder = Path("genart-night-sky").absolute()
    python = lent_packages(home / "venv")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", folder], check=True, capture_output=True)
    told = subprocess.run([python, "-m", "genart", "stages", "night_sky.tint"], capture_output=True, text=True, check=True)
    assert "Tint pictures with one hue." in told.stdout
    tested = subprocess.run([python, "-m", "pytest", "-q", folder], capture_output=True, text=True, check=False)
    assert "4 passed" in tested.stdout, tested.stdout + tested.stderr
    recipe = home / "r.toml"
    recipe.write_text(RECIPE)
    subprocess.run([python, "-m", "genart", "run", recipe, "--out", home / "out", "--quiet"], check=True)
    assert len(list((home / "out" / "tinted").glob("*.png"))) == 2


@pytest.mark.parametrize("name", ["first", "my art", "a.b-c_2"])
def test_a_new_recipe_is_valid(cli, home: Path, name: str) -> None:
    result = cli("new", "recipe", name)
    assert (result.code, shlex.split(result.out.splitlines()[1])) == (0, ["genart", "run", f"{name}.toml"])
    assert [node.stage.name for node in load(Path(f"{name}.toml"), Plugins()).nodes][-1] == "video.assemble"
    assert cli("check", f"{name}.toml").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plugin", "dcgan"), "a plugin 'dcgan' is installed already"),
        (("plugin", "Sepia"), "'Sepia' cannot be a plugin's name"),
        (("plugin", "../x"), "cannot be a plugin's name"),
        *((("recipe", name), f"'{name}' cannot be a recipe's name") for name in ("../x", "Gemälde", "_x", "a.", "a ", "a" * 101)),
        (("recipe", "there"), "there.toml is there already"),
        (("plugin", "there"), "genart-there is there already"),
    ],
)
def test_what_cannot_begin_is_told(cli, home: Path, words: tuple[str, ...], says: str) -> None:
    Path("there.toml").write_text("mine")
    Path("genart-there").mkdir()
    result: Result = cli("new", *words)
    assert result.code == 2
    assert says in result.err
    assert Path("there.toml").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["genart-there", "there.toml"]


def test_a_failure_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        new_plugin("sepia", set(), Path())
    assert list(Path().iterdir()) == []


def test_templates_reach_the_wheel() -> None:
    assert (ROOT / "genart" / "templates" / "recipe.toml.txt").is_file()
