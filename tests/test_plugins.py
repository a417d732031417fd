"""Plugins: strangers come in by the same door, and a broken one breaks only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genart.errors import DataError
from genart.plugins import NN, Plugins, _nn_modules

from .conftest import TOYS

GOOD = '''
from collections.abc import Iterator

from pydantic import Field

import genart


class DotParams(genart.Params):
    size: int = Field(8, ge=1, description="Pixels along a side.")


@genart.stage("{name}.dots", random=True, pointwise=True)
def dots(_: None, params: DotParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Random dots."""
    import torch

    for span in run.spans(4, 2):
        pictures = [torch.rand(3, params.size, params.size, generator=run.generator("dots", i)).round() for i in span]
        yield genart.Batch(torch.stack(pictures), start=span.start)
'''.lstrip()

STAGE = "import genart\nfrom typing import Iterator\n@genart.stage('{name}.make')\ndef make({arguments}) -> {gives}:\n    '''Make.'''\n"

BROKEN = {
    "does not import": ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
    "a syntax error": ("def (:\n", "SyntaxError"),
    "leaves": ("import sys; sys.exit('bye')\n", "SystemExit: bye"),
    "raises without words": ("raise ValueError\n", "ValueError"),
    "a misspelt hook": ("import genart\n@genart.hookimpl\ndef genart_evnt(record): pass\n", "PluginValidationError"),
    "a hook with wrong arguments": ("import genart\n@genart.hookimpl\ndef genart_event(record, more): pass\n", "PluginValidationError"),
    "a foreign family": (STAGE.format(name="images", arguments="a: None, p: None, r", gives="genart.Images"), "must be named 'bad.…'"),
    "the same stage twice": (
        STAGE.format(name="bad", arguments="a: None, p: None, r", gives="genart.Images")
        + "    return 1\n"
        + STAGE.format(name="bad", arguments="a: None, p: None, r", gives="genart.Images").replace("def make", "def again"),
        "declares the stage 'bad.make' twice",
    ),
    "two arguments": (STAGE.format(name="bad", arguments="a, p", gives="genart.Images"), "must take (input, params, run)"),
    "takes what is no kind": (STAGE.format(name="bad", arguments="a: int, p: None, r", gives="genart.Images"), "annotate `a`"),
    "gives nothing": (STAGE.format(name="bad", arguments="a: None, p: None, r", gives="int"), "annotate the result"),
    "params of another kind": (
        STAGE.format(name="bad", arguments="a: None, p: dict, r", gives="genart.Images"),
        "subclass of genart.Params",
    ),
    "an annotation that is not there": (
        STAGE.format(name="bad", arguments="a: None, p: None, r", gives="'Picture'"),
        "annotation name 'Picture'",
    ),
    "a second output that is no picture": (
        STAGE.format(name="bad", arguments="a: None, p: None, r", gives="genart.Model").replace(
            "make')", "make', outputs={'x': genart.Model})"
        ),
        "expected Images",
    ),
    "a name with capitals": (STAGE.format(name="Bad", arguments="a: None, p: None, r", gives="genart.Images"), "small letters"),
    "stages that are none": ("import genart\n@genart.hookimpl\ndef genart_stages(): return [1]\n", "AttributeError"),
    "a hook that raises": ("import genart\n@genart.hookimpl\ndef genart_stages(): raise RuntimeError('no')\n", "RuntimeError: no"),
}


@pytest.fixture
def site(home, monkeypatch):
    """Install a distribution by hand: site(name, source, entry=None); it is importable here and in subprocesses."""
    folder = home / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    modules = set(sys.modules)

    def install(name: str, source: str, entry: str | None = None, dist: str | None = None) -> None:
        dist = dist or f"genart-{name}"
        (folder / f"{dist.replace('-', '_')}_module.py").write_text(source)
        info = folder / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[genart]\n{name} = {entry or dist.replace('-', '_') + '_module'}\n")

    yield install
    for module in set(sys.modules) - modules:
        if module.endswith("_module"):
            del sys.modules[module]


def recipe_of(stage: str) -> Path:
    path = Path("r.toml")
    path.write_text(f'[recipe]\nname = "x"\n[[stage]]\nuses = "{stage}"\nsave = "pics"\n')
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_reported_and_breaks_only_itself(cli, site, case):
    source, words = BROKEN[case]
    site("bad", source)
    site("good", GOOD.format(name="good"))
    listed = cli("plugins")
    assert listed.code == 0, listed.err
    line = next(line for line in listed.out.splitlines() if line.startswith("bad "))
    assert "broken:" in line
    assert words in line
    assert "Traceback" not in listed.out
    assert next(row["problem"] for row in json.loads(cli("plugins", "--json").out) if row["name"] == "bad")
    assert "Traceback" in cli("plugins", "bad").out
    assert cli("run", recipe_of("good.dots"), "--device", "cpu", "--quiet").code == 0
    result = cli("check", recipe_of("bad.make"))
    assert result.code == 4, result.err
    assert "r.toml:4" in result.err
    assert "plugin 'bad' (genart-bad 1.2)" in result.err
    assert len(result.err.splitlines()) <= 3
    assert {"good.dots", "images.samples"} <= {row["name"] for row in json.loads(cli("stages", "--json").out)}


def test_a_duplicate_is_reported(cli, site):
    site("twin", GOOD.format(name="twin"), dist="one")
    site("twin", GOOD.format(name="twin"), dist="two")
    assert "both one and two bring a plugin 'twin'" in cli("plugins").out
    assert cli("check", recipe_of("twin.dots")).code == 4
    assert cli("check", recipe_of("images.samples")).code == 0


def test_nobody_can_replace_a_bundled_plugin_in_silence(cli, site):
    site("images", GOOD.format(name="images"), dist="evil")
    assert "duplicate" in cli("plugins", "images").out
    assert cli("check", recipe_of("images.samples")).code == 4
    assert cli("stages").code == 0


def test_an_entry_point_that_is_no_module(cli, site):
    site("bad", "class X: pass\n", entry="genart_bad_module:X")
    assert "must name a module" in cli("plugins").out


def test_a_hook_of_a_broken_plugin_is_not_heard(cli, site):
    site(
        "bad",
        "import genart\n@genart.hookimpl\ndef genart_event(record): raise SystemExit('heard')\n@genart.hookimpl\ndef genart_stages(wrong): return []\n",  # noqa: E501
    )
    plugins = Plugins()
    plugins.load_all()
    assert plugins.plugins["bad"].problem
    assert [h.plugin_name for h in plugins.manager.hook.genart_event.get_hookimpls()] == []


def test_stages_made_at_run_time(cli, site):
    source = "import genart\n" + GOOD.format(name="late").replace("@genart.stage", "declare = genart.stage").replace(
        "def dots", "def _dots"
    )
    source += "\n@genart.hookimpl\ndef genart_stages():\n    return [declare(_dots)]\n"
    site("late", source)
    assert cli("run", recipe_of("late.dots"), "--device", "cpu", "--quiet").code == 0


def test_an_observer_that_raises_is_told_once(cli, site):
    site("good", GOOD.format(name="good") + "\n\n@genart.hookimpl\ndef genart_event(record):\n    raise RuntimeError('no ears')\n")
    result = cli("run", recipe_of("good.dots"), "--device", "cpu", "--json")
    assert result.code == 0
    assert result.err.count("no ears") == 1
    assert result.events[-1]["event"] == "run_finished"


def test_generators_of_a_broken_plugin_stop_no_one(site):
    site("bad", "import genart\n@genart.hookimpl\ndef genart_generators(): raise RuntimeError\n")
    plugins = Plugins([TOYS])
    plugins.load_all()
    assert plugins.generator("toy")[0].endswith("toys:generator")
    with pytest.raises(DataError, match="no plugin can rebuild"):
        plugins.generator("nothing")


# single files


def test_a_single_file(cli):
    Path("my_stage.py").write_text(GOOD.format(name="mine"))
    assert cli("run", recipe_of("mine.dots"), "-p", "my_stage.py", "--device", "cpu", "--quiet").code == 0
    assert len(list(Path("out/x/pics").iterdir())) == 4
    assert cli("check", recipe_of("mine.dots")).code == 2, "a recipe cannot load it by itself"
    assert "mine.dots" in cli("plugins", "-p", "my_stage.py").out
    assert "mine.dots" in cli("stages", "-p", "my_stage.py").out


@pytest.mark.parametrize("case", [name for name in BROKEN if name not in ("a foreign family",)])
def test_a_broken_single_file(cli, case):
    Path("bad.py").write_text(BROKEN[case][0])
    listed = cli("plugins", "-p", "bad.py")
    assert listed.code == 0, listed.err
    assert BROKEN[case][1] in listed.out
    assert cli("check", recipe_of("images.samples"), "-p", "bad.py").code == 0
    result = cli("check", recipe_of("bad.make"), "-p", "bad.py")
    assert result.code == 4, result.err
    assert len(result.err.splitlines()) <= 3


def test_files_that_cannot_come_in(cli):
    Path("images.py").write_text(GOOD.format(name="images"))
    Path("other.py").write_text(GOOD.format(name="images"))
    Path("text.txt").write_text("hello")
    for file, words in (
        ("images.py", "installed already"),
        ("other.py", "belongs to the installed plugin 'images'"),
        ("no.py", "no such plugin file"),
    ):
        result = cli("stages", "-p", file)
        assert result.code == 2, result.err
        assert words in result.err
    assert "not a Python file" in cli("plugins", "-p", "text.txt").out


def test_a_plugin_that_is_not_there(cli):
    result = cli("plugins", "imges")
    assert result.code == 2
    assert "did you mean 'images'" in result.err


# a distribution of its own

PYPROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "genart-stranger"
version = "1.0"

[project.entry-points.genart]
stranger = "genart_stranger"
"""


def test_a_strangers_plugin_is_built_installed_and_run(home, genart_process):
    """Under 25 lines of Python, in a distribution of its own, through pip."""
    source = GOOD.format(name="stranger")
    assert len(source.splitlines()) < 25
    project = home / "genart-stranger"
    (project / "genart_stranger").mkdir(parents=True)
    (project / "genart_stranger" / "__init__.py").write_text(source)
    (project / "pyproject.toml").write_text(PYPROJECT)
    target = home / "installed"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        str(target),
        str(project),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    process = genart_process("run", recipe_of("stranger.dots"), "--device", "cpu", "--quiet", PYTHONPATH=str(target))
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert len(os.listdir("out/x/pics")) == 4
    listed, _ = genart_process("plugins", "stranger", PYTHONPATH=str(target)).communicate()
    assert "genart-stranger 1.0" in listed


# identity


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from genart.nn import images, ema\n", {"images", "ema"}),
        ("from genart.nn import (\n    images,\n    losses as l,\n)\n", {"images", "losses"}),
        ("from genart.nn.gan import train\n", {"gan"}),
        ("import genart.nn.images as im\n", {"images"}),
        ("    from genart.nn.vgg import features  # late\n", {"vgg"}),
        ("from genart import Batch\n# from x\n", set()),
        ("import genart.nn.images, genart.nn.ema as e\n", {"images", "ema"}),
        ("from genart.nn import (\n    images,  # (once)\n    losses,\n)\n", {"images", "losses"}),
        ("from genart.nn import images, \\\n    losses\n", {"images", "losses"}),
        ("if TYPE_CHECKING: from genart.nn.gan import train\n", {"gan"}),
        ("import math; from genart.nn import ema\n", {"ema"}),
        ("import genart.nn is a sentence\nfrom .images import x\nimport (\n# not closed\n", set()),
    ],
)
def test_shared_code_that_a_plugin_uses_is_seen(source, modules):
    assert _nn_modules(source) == modules


@pytest.mark.parametrize(
    "source", ["from genart import nn\n", "import genart.nn\n", "import genart.nn as n\n", "from genart.nn import *\n"]
)
def test_who_imports_the_package_uses_all_of_it(source):
    assert _nn_modules(source) == {path.stem for path in NN.glob("*.py")} >= {"images", "gan"}


def test_siblings_of_shared_code_are_seen():
    source = "from . import a, b\nfrom .c import d\nfrom . import (\n e,  # )\n f)\nfrom .. import g\nimport h\n"
    assert _nn_modules(source, "genart.nn") == {"a", "b", "c", "e", "f"}
