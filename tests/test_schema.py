"""The schema for editors: Draft 7, in agreement with what `check` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from genart.params import plain_value
from genart.plugins import Plugins
from genart.recipe import load
from genart.schema import recipe_schema
from genart.stages import Stage

from .conftest import ROOT, TOYS
from .test_plan import CHAIN
from .test_recipe import HEAD, NOISE
from .test_runner import TRAINING

STAGES = Plugins([TOYS]).stages()
SCHEMA = recipe_schema(STAGES)
VALIDATOR = Draft7Validator(SCHEMA)
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))

RIGHT = [
    HEAD + CHAIN,
    HEAD + TRAINING,
    HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nfrom = ["toy.noise", "toy.noise"]\nbudget = "1h30m"\nops = [{a = 1}]\n',
    HEAD
    + 'seed = 1\ndescription = "x"\n'
    + NOISE
    + '[[stage]]\nuses = "augment"\nops = ["RandomHorizontalFlip", {op = "RandomAffine", degrees = 10, p = 0.5}]\n',
    HEAD
    + '[[stage]]\nuses = "images.samples"\ncrop = 64\nscale = [0.2, 0.6]\n[[stage]]\nuses = "dcgan.train"\nbudget = 90\nresolution = 64\n',
    HEAD + '[[stage]]\nuses = "images.samples"\nphotos = "cat"\n[[stage]]\nuses = "images.grid"\nresolution = [64, 32]\nsave = "a.png"\n',
]

RIGHT += [
    HEAD + NOISE + "[sweep]\n'toy.noise.count' = [1, 2]\nshow = 'toy.noise'\ncolumns = 2\nresolution = 64\nsave = 'a/b.png'\n",
    HEAD + NOISE + "id = 'n'\n[sweep]\nn.count = [1, 2]\n",
    '[recipe]\nname = "x"\nreport = true\n' + NOISE,
]

WRONG = [
    HEAD + NOISE + "[sweep]\n'toy.noise.count' = 3\n",
    HEAD + NOISE + "[sweep]\n'toy.noise.count' = []\n",
    HEAD + NOISE + "[sweep]\n'toy.noise.count' = [1]\ncolums = 2\n",
    HEAD + NOISE + "[sweep]\n'toy.noise.count' = [1]\nlabels = ['a']\n",
    '[recipe]\nname = "x"\nreport = 1\n' + NOISE,
    HEAD,
    NOISE,
    HEAD + "sed = 1\n" + NOISE,
    HEAD + NOISE + "cuont = 1\n",
    HEAD + NOISE + 'count = "1"\n',
    HEAD + NOISE + "count = -1\n",
    HEAD + NOISE + 'from = "x"\n',
    HEAD + '[[stage]]\nuses = "toy.nois"\n',
    HEAD + "[[stage]]\ncount = 1\n",
    HEAD + '[[stage]]\nuses = "toy.read"\n',
    HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nmode = "c"\n',
    HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nbudget = "soon"\n',
    HEAD + '[[stage]]\nuses = "images.samples"\n[[stage]]\nuses = "dcgan.train"\nresolution = 65\n',
    HEAD + NOISE + "[more]\n",
]


def test_it_is_draft_7():
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(SCHEMA)
    for word in ("$defs", "prefixItems", '"type": "null"'):
        assert word not in text


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        return (
            {value["$ref"]} & {value.get("$ref")} | set().union(*map(references, value.values()))
            if "$ref" in value
            else set().union(set(), *map(references, value.values()))
        )
    return set().union(set(), *map(references, value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere():
    found = references(SCHEMA)
    assert len(found) >= len(STAGES)
    assert {ref.removeprefix("#/definitions/") for ref in found} <= set(SCHEMA["definitions"])


@pytest.mark.parametrize("text", RIGHT)
def test_right_recipes(text):
    Path("a.txt").write_text("x")
    Path("r.toml").write_text(text)
    load(Path("r.toml"), Plugins([TOYS]))
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize("text", WRONG)
def test_wrong_recipes(text):
    Path("r.toml").write_text(text)
    with pytest.raises(Exception, match=r"r\.toml"):
        load(Path("r.toml"), Plugins([TOYS]))
    assert not VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_recipe_is_valid(path):
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_defaults_are_valid(stage: Stage):
    properties = SCHEMA["definitions"][stage.name]["properties"]
    for name, info in stage.params.model_fields.items():
        assert properties[name].get("description"), f"{stage.name}.{name} has no sentence"
        default = None if info.is_required() else plain_value(info.get_default(call_default_factory=True))
        if default is not None:
            Draft7Validator({**properties[name], "definitions": SCHEMA["definitions"]}).validate(default)


def test_the_command_prints_and_writes_it(cli):
    printed = json.loads(cli("schema").out)
    Draft7Validator.check_schema(printed)
    assert cli("schema", "-o", "genart.schema.json").code == 0
    assert json.loads(Path("genart.schema.json").read_text()) == printed


def taplo(*files: Path) -> subprocess.CompletedProcess[str]:
    """Check TOML files with the tool behind VS Code's extension."""
    binary = Path(sys.executable).parent / ("taplo.exe" if os.name == "nt" else "taplo")
    schema = Path("genart.schema.json").absolute()
    command = [str(binary), "check", "--no-auto-config", "--schema", schema.as_uri(), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_taplo_agrees():
    Path("genart.schema.json").write_text(json.dumps(SCHEMA))
    for i, text in enumerate(RIGHT):
        Path(f"right{i}.toml").write_text(text)
    done = taplo(*RECIPES, *Path().glob("right*.toml"))
    assert done.returncode == 0, done.stderr
    Path("wrong.toml").write_text(HEAD + NOISE + "cuont = 1\n")
    assert taplo(Path("wrong.toml")).returncode != 0
