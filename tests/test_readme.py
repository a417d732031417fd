"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPE_HEAD = '[recipe]\nname = "tried"\n'


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_recipe_of_the_readme_is_valid(cli):
    recipe = next(block for block in blocks("toml") if "[recipe]" in block)
    Path("my-pictures").mkdir()
    Image.new("RGB", (80, 80), "red").save("my-pictures/a.png")
    Path("garden.toml").write_text(recipe)
    done = cli("check", "garden.toml")
    assert (done.code, done.err) == (0, "")


def test_the_error_of_the_readme_is_what_one_gets(cli):
    recipe = next(block for block in blocks("toml") if "[recipe]" in block)
    Path("my-pictures").mkdir()
    Path("garden.toml").write_text(recipe.replace("budget =", "budgte ="))
    done = cli("check", "garden.toml")
    promised = next(block for block in blocks("text") if "budgte" in block).strip()
    assert done.code == 2
    assert re.sub(r":\d+:", ":", done.err.split("\n")[0]) == re.sub(r":\d+:", ":", promised)


def test_the_plugin_of_the_readme_runs(cli):
    source = next(block for block in blocks("python") if "@stage" in block)
    assert len(source.strip().split("\n")) <= 25
    Path("sepia.py").write_text(source)
    stages = (
        '[[stage]]\nuses = "images.samples"\nphotos = ["cat"]\ncount = 1\ncrop = 32\n[[stage]]\nuses = "sepia.tone"\nsave = "cat.png"\n'
    )
    Path("r.toml").write_text(RECIPE_HEAD + stages)
    done = cli("run", "r.toml", "-p", "sepia.py", "--quiet")
    assert (done.code, done.err) == (0, "")
    red, _, blue = Image.open(Path("out") / "tried" / "cat.png").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert red > blue * 1.15


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
