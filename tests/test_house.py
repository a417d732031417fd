"""The house's rules, as far as a machine can see them; over tables, so that what is added is held to them by existing."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

import genart
from genart.params import rows
from genart.plugins import Plugins, _nn_modules
from genart.recipe import load
from genart.stages import Needs, Stage

from .conftest import ROOT

CORE = sorted((ROOT / "genart").rglob("*.py"))
BUNDLED = sorted((ROOT / "plugins").glob("genart_*/**/*.py"))
STAGES = Plugins().stages()
#: Those that compute on the CPU alone, wherever they are.
ON_THE_CPU = {
    *("images.archive", "images.folder", "images.grid", "images.samples", "images.sheet", "images.torchvision", "images.video"),
    "latent.model",
    *(f"procedural.{name}" for name in ("cells", "flow", "mosaic", "reaction", "strokes", "warp")),
    *("video.assemble", "video.frames"),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def test_public_names_are_sorted_and_real():
    names = genart.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name)), "constants, then types, then functions"
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(genart, name) is not None
    assert set(genart._HOME_OF) | {"__version__"} == set(names)
    with pytest.raises(AttributeError):
        genart.nothing_of_the_kind  # noqa: B018


@pytest.mark.parametrize("path", BUNDLED, ids=name_of)
def test_bundled_plugins_are_strangers(path):
    """They import public names alone, and never each other."""
    own = path.relative_to(ROOT / "plugins").parts[0]
    others = {p.parent.name for p in (ROOT / "plugins").glob("genart_*/__init__.py")} - {own}
    for node in nodes(path):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
            if node.module == "genart":
                assert {alias.name for alias in node.names} <= set(genart.__all__), name_of(path)
        else:
            continue
        for module in modules:
            assert module.split(".")[0] not in others, f"{name_of(path)} imports {module}"
            if module.split(".")[0] == "genart":
                assert module == "genart" or re.match(r"genart\.(nn|testing)\b", module), f"{name_of(path)} imports {module}"
    used = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "genart"}
    assert used <= set(genart.__all__)


@pytest.mark.parametrize("path", BUNDLED, ids=name_of)
def test_shared_code_is_imported_in_a_way_that_keys_see(path):
    """A change in genart.nn must change the keys of every plugin that uses it."""
    wanted = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genart.nn"):
            rest = node.module.removeprefix("genart.nn").lstrip(".")
            wanted |= {rest.split(".")[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "genart":
            assert "nn" not in {alias.name for alias in node.names}, "import the module that is used"
        elif isinstance(node, ast.Import):
            wanted |= {alias.name.split(".")[2] for alias in node.names if alias.name.startswith("genart.nn.")}
    assert wanted <= _nn_modules(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*CORE, *BUNDLED], ids=name_of)
def test_no_function_is_long(path):
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{name_of(path)}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", [p for p in CORE if p.name != "cli.py"], ids=name_of)
def test_only_the_command_line_prints(path):
    for node in nodes(path):
        assert not (isinstance(node, ast.Call) and ast.unparse(node.func) == "print"), f"{name_of(path)}:{node.lineno}"


def example_of(stage: Stage) -> str:
    """The recipe in a stage's docstring, indented after `Example:` or in a block of TOML."""
    block = re.search(r"```toml\n(.*?)```", stage.doc, re.DOTALL) or re.search(r"Example:\n(.*)", stage.doc, re.DOTALL)
    assert block, f"{stage.name} has no example"
    return "\n".join(line.strip() if line.startswith("    [[") else line for line in block[1].splitlines())


#: Stages that give what an example's stage takes, so that it can be checked as a recipe.
BEFORE = {
    None: "",
    "images": '[[stage]]\nuses = "images.samples"\nid = "before"\n',
    "model": '[[stage]]\nuses = "images.samples"\nid = "b"\ncrop = 16\n[[stage]]\nuses = "dcgan.train"\nid = "before"\n',
    "video": '[[stage]]\nuses = "images.samples"\nid = "b"\n[[stage]]\nuses = "video.assemble"\nid = "before"\n',
}


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_explains_itself_with_an_example_that_checks(stage, cli):
    assert stage.summary.endswith("."), stage.summary
    example = example_of(stage)
    assert f'uses = "{stage.name}"' in example
    if re.search(r"^\s*path = ", example, re.MULTILINE):
        example = re.sub(r'path = "([^"]*)"', r'path = "."', example)
    example = re.sub(r'from = "train\.(\w+)"', r'from = "train.\1"', example)
    before = BEFORE[stage.takes]
    if 'from = "train' in example:
        before = BEFORE["model"].replace('"before"', '"train"')
    text = f'[recipe]\nname = "x"\n{before}{example}\n'
    Path("r.toml").write_text(text)
    nodes_ = load(Path("r.toml"), Plugins()).nodes
    assert stage.name in {node.stage.name for node in nodes_}


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_parameter_explains_itself(stage):
    for row in rows(stage.params):
        sentence = row["description"]
        assert sentence, f"{stage.name}.{row['name']}"
        assert sentence.rstrip().endswith((".", "?", "!")), f"{stage.name}.{row['name']}: {sentence}"
        assert row["type"]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_has_its_help(stage, cli):
    result = cli("stages", stage.name)
    assert result.code == 0, result.err
    assert stage.summary in result.out
    for name in stage.params.model_fields:
        assert name in result.out


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_a_stage_asks_a_cluster_for_a_gpu_if_it_uses_one(stage):
    assert stage.needs == Needs(gpus=0 if stage.name in ON_THE_CPU else 1)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.operations], ids=lambda s: s.name)
def test_every_operation_has_its_help(stage, cli):
    known = stage.operations()
    assert len(known) > 100
    listed = cli("stages", stage.name).out
    assert [name for name in known if f"\n{name} " not in listed] == []
    assert json.loads(cli("stages", stage.name, "--json").out)["operations"] == {name: one.summary for name, one in known.items()}
    for name in ("RandomAffine", "canny", "ImageSequential"):
        told = json.loads(cli("stages", stage.name, name, "--json").out)
        assert (told["name"], told["summary"]) == (name, known[name].summary)
        assert told["params"] == rows(known[name].model)
    assert [name for name, one in known.items() if [row["name"] for row in rows(one.model)] != list(one.model.model_fields)] == []
    shown = cli("stages", stage.name, "RandomRotation").out
    assert known["RandomRotation"].summary in shown
    assert re.search(r"^degrees .*required", shown, re.MULTILINE)


def test_an_operation_that_is_not_there(cli):
    wrong = cli("stages", "augment", "RandomRotatoin")
    assert (wrong.code, wrong.err.splitlines()[0]) == (
        2,
        "genart: augment has no operation 'RandomRotatoin'; did you mean 'RandomRotation'?",
    )
    assert cli("stages", "images.grid", "columns").err == "genart: images.grid has no operation 'columns'\n  it has none\n"


def test_the_changelog_knows_the_version():
    assert f"## [{genart.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_stage_has_the_name_of_a_module_beside_it():
    """Importing the module would put it in the place of the stage."""
    for package in sorted((ROOT / "plugins").glob("genart_*")):
        declared = importlib.import_module(package.name)
        modules = {path.stem for path in package.glob("*.py")}
        assert not [name for name, value in vars(declared).items() if isinstance(value, Stage) and name in modules]
