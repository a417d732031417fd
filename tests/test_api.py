"""What authors of plugins may use: `genart`, `genart.testing` and the hooks, name by name, as written down in api.txt."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genart
from genart import hookspecs, testing
from genart.events import Events
from genart.testing import fixtures

from .conftest import ROOT

WRITTEN = Path(__file__).with_name("api.txt")
#: Where an author is told what there is.
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "plugins.md", ROOT / "docs" / "tutorial.md"]


def told(name: str, thing: Any) -> str:
    """A name, with its arguments where it is called: those with a default end in `=`."""
    thing = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
    if not inspect.isfunction(thing):
        return name
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    arguments, keywords = [], False
    for one in inspect.signature(thing).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keywords:
            arguments.append("*")
        keywords |= one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        arguments.append(stars.get(one.kind, "") + one.name + ("" if one.default is one.empty else "="))
    return f"{name}({', '.join(one for one in arguments if one not in ('self', 'cls'))})"


def members(name: str, kind: type) -> Iterator[str]:
    """What a class of ours has, by inheritance from others of ours too."""
    homes = [vars(home) for home in kind.__mro__ if home.__module__.startswith("genart.")]
    found = {attribute: value for home in reversed(homes) for attribute, value in {**home.get("__annotations__", {}), **home}.items()}
    yield from (told(f"{name}.{attribute}", value) for attribute, value in sorted(found.items()) if not attribute.startswith("_"))


def surface() -> Iterator[str]:
    """The public interface, a line for each name."""
    for module, names in ((genart, genart.__all__), (testing, testing.__all__)):
        for name in names:
            thing = getattr(module, name)
            yield told(f"{module.__name__}.{name}", thing)
            if isinstance(thing, type) and not issubclass(thing, Exception | genart.Params):
                yield from members(f"{module.__name__}.{name}", thing)
    yield from (told(name, hook) for name, hook in vars(hookspecs).items() if hasattr(hook, "genart_spec"))


def test_the_interface_is_the_one_that_is_written_down():
    """A name that goes, or an argument that is another, breaks somebody's plugin: see `PLUGIN_API`."""
    now = "\n".join(surface()) + "\n"
    assert now == WRITTEN.read_text(encoding="utf-8"), f"if this is meant, tell it in CHANGELOG.md, and api.txt becomes:\n{now}"


def test_type_checkers_find_each_name_where_it_is_imported_from():
    tree = ast.parse(Path(genart.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = {node.module: tuple(alias.name for alias in node.names) for node in block.body if isinstance(node, ast.ImportFrom)}
    assert imports == genart._HOMES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_what_there_is(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    run = genart.Run(stage_id="s", seed=1, device="cpu", work=tmp_path, events=Events())
    assert [name for name in set(re.findall(r"`run\.([a-z_]+)", text)) if not hasattr(run, name)] == []
    for module, names in re.findall(r"^from (genart[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        home = importlib.import_module(module)
        assert [name for name in names.split(", ") if not hasattr(home, name)] == []
    hooks_and_fixtures = {*vars(hookspecs), *vars(fixtures)}
    assert [name for name in set(re.findall(r"`(genart_[a-z]+)`", text)) if name not in hooks_and_fixtures] == []
