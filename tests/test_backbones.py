"""Backbones come from plugins by name, and whose code brings one is part of the result's identity."""

import pytest

import genart
from genart.errors import StageError, UsageError
from genart.events import Events
from genart.params import Params, registered_names, resolve
from genart.plugins import Plugins
from genart.run import Run

PLUGIN = '''
from collections.abc import Iterator

import genart
from pydantic import Field


class SeeParams(genart.Params):
    backbone: genart.BackboneName = Field("eye", description="Network to look with.")
    path: str = Field("", description="A name.")


@genart.stage("{name}.see")
def see(_: None, params: SeeParams, run: genart.Run) -> Iterator[genart.Batch]:
    """A picture as bright as the backbone says."""
    import torch

    yield genart.Batch(torch.full((1, 3, 2, 2), run.backbone(params.backbone)))


def eye(device):
    return {value} if device == "cpu" else 0.0


@genart.hookimpl
def genart_backbones():
    return {{"eye": "genart_local.{name}:eye"}}
'''


@pytest.fixture
def looker(tmp_path):
    """Write a single-file plugin; returns its path."""

    def write(value=0.2, name="looker"):
        path = tmp_path / f"{name}.py"
        path.write_text(PLUGIN.replace("{name}", name).replace("{value}", str(value)).replace("{{", "{").replace("}}", "}"))
        return path

    return write


class LookParams(Params):
    backbone: genart.BackboneName = "eye"
    name: str = "other"


def test_parameters_say_which_backbones_they_name():
    assert list(registered_names(resolve(LookParams, "x", {"backbone": "ear"}))) == [("backbone", "genart_backbones", "ear", ())]
    assert resolve(LookParams, "x", {}).backbone == "eye"


def test_a_plugin_brings_a_backbone_and_a_stage_reaches_it(cli, recipe, looker):
    path = recipe('[[stage]]\nuses = "looker.see"\nsave = "seen.png"\n')
    result = cli("run", path, "-p", looker(), "--device", "cpu", "--json")
    assert result.code == 0, result.err


def test_an_unknown_backbone_is_refused_with_the_nearest_name(cli, recipe, looker):
    path = recipe('[[stage]]\nuses = "looker.see"\nbackbone = "eyes"\nsave = "seen.png"\n')
    result = cli("run", path, "-p", looker(), "--device", "cpu")
    assert result.code == 2
    assert "there is no backbone 'eyes'; did you mean 'eye'?" in result.err


def test_another_version_of_the_plugin_that_brings_it_makes_the_stage_again(cli, recipe, looker, tmp_path):
    """The stage is one plugin's, the backbone another's."""
    path = recipe('[[stage]]\nuses = "looker.see"\nbackbone = "lens"\nsave = "seen.png"\n')
    other = tmp_path / "glass.py"
    text = "import genart\n\n\ndef lens(device):\n    return {value}\n\n\n@genart.hookimpl\ndef genart_backbones():\n"
    text += "    return {{'lens': 'genart_local.glass:lens'}}\n"
    runs = []
    for value in (0.2, 0.2, 0.9):
        other.write_text(text.format(value=value))
        result = cli("run", path, "-p", looker(), "-p", other, "--device", "cpu", "--json")
        assert result.code == 0, result.err
        runs.append(result.made())
    assert [len(made) for made in runs] == [1, 0, 1]


def test_a_hook_that_fails_stops_no_one(looker, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import genart\n@genart.hookimpl\ndef genart_backbones(): raise RuntimeError\n")
    plugins = Plugins([bad, looker()])
    assert plugins.load_backbone("eye", "cpu") == 0.2
    with pytest.raises(UsageError, match="there is no backbone 'nothing'"):
        plugins.extension("genart_backbones", "nothing")


def test_a_run_without_backbones_says_so(tmp_path):
    run = Run(stage_id="x", seed=0, device="cpu", work=tmp_path, events=Events())
    with pytest.raises(StageError, match="cannot load backbones"):
        run.backbone("eye")


def test_a_wrong_layer_is_told_with_its_line(cli, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("""[recipe]
name = "x"
[[stage]]
uses = "images.samples"
[[stage]]
uses = "style.transfer"
style_photos = "tissue"
content_layers = "relu4-2"
save = "a.png"
""")
    wrong = cli("check", recipe)
    assert wrong.code == 2
    assert "r.toml:8: style.transfer.content_layers: vgg19 has no layer 'relu4-2'; did you mean 'relu4_2'?" in wrong.err


STATISTIC = """
import genart
from genart_style.statistics import Statistic, relative_error

BRIGHT = Statistic("moments", lambda value, target: relative_error(value[0], target[0]))


@genart.hookimpl
def genart_statistics():
    return {"bright": "genart_local.brightness:BRIGHT"}
"""


def test_a_plugin_brings_a_statistic(cli, tmp_path):
    """By its name in a recipe; a wrong name is told with its line and the nearest one."""
    (tmp_path / "brightness.py").write_text(STATISTIC)
    recipe = tmp_path / "r.toml"
    text = """[recipe]
name = "x"
[[stage]]
uses = "images.samples"
crop = 32
count = 1
[[stage]]
uses = "style.transfer"
style_photos = "tissue"
iterations = 1
scales = 1
statistic = ["gram", "bright"]
save = "a.png"
"""
    recipe.write_text(text)
    done = cli("run", recipe, "-p", tmp_path / "brightness.py", "--json")
    assert done.code == 0, done.err
    recipe.write_text(text.replace('"bright"', '"brigt"'))
    wrong = cli("check", recipe, "-p", tmp_path / "brightness.py")
    assert wrong.code == 2
    assert "r.toml:12: statistic: there is no statistic 'brigt'; did you mean 'bright'?" in wrong.err
