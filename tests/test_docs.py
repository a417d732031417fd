"""What the documents show is what one gets: recipes are checked, plugins loaded, commands run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from genart.params import resolve
from genart.plugins import Plugins
from genart.recipe import load

from .conftest import ROOT
from .test_examples import EXAMPLES

PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in ("stages.md", "operations.md"))
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
#: What makes a command or a recipe of the documents short enough for a test.
SHORTER = (
    (r'budget = "\w+"', "kimg = 0.064\nbatch_size = 8\nwidth = 4"),
    (r"--budget \w+", "--iterations 2"),
    (r"count = 500", "count = 16"),
)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: Path
    number: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.number}"


def blocks(page: Path) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(page, number, language, title, text) for number, (language, title, text) in enumerate(found)]


def everywhere(language: str) -> list[Block]:
    return [block for page in PAGES if page.name != "gallery.md" for block in blocks(page) if block.language == language]  # test_gallery.py


def shorter(text: str) -> str:
    for pattern, words in SHORTER:
        text = re.sub(pattern, words, text)
    return text


def write_files(page: Path) -> None:
    """Write the files that the page's titled blocks are."""
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(shorter(block.text), encoding="utf-8")


@pytest.mark.parametrize("block", everywhere("toml"), ids=str)
def test_recipes_are_valid_and_parts_of_recipes_too(block: Block, home: Path) -> None:
    table = tomllib.loads(block.text)
    if "recipe" in table:
        Path("my-pictures").mkdir()
        (Path("out") / "first").mkdir(parents=True)
        (Path("out") / "first" / "model.safetensors").write_bytes(b"")
        Path("r.toml").write_text(block.text, encoding="utf-8")
        write_files(block.page)
        plugins = [Path(other.title) for other in blocks(block.page) if other.language == "python" and other.title]
        assert load(Path("r.toml"), Plugins(plugins)).nodes
    for stage in table.get("stage", []) if "recipe" not in table else []:
        used = Plugins().stage(stage["uses"])
        resolve(used.params, used.name, {key: value for key, value in stage.items() if key not in ("uses", "id", "from", "save")})


@pytest.mark.parametrize("block", [block for block in everywhere("python") if block.title], ids=str)
def test_plugins_load_and_stay_short(block: Block, home: Path) -> None:
    Path(block.title).write_text(block.text, encoding="utf-8")
    plugins = Plugins([Path(block.title)])
    assert [plugin.problem for plugin in plugins.plugins.values() if plugin.file] == [None]
    assert len(block.text.strip().splitlines()) <= 25


COMMANDS = [ROOT / "docs" / name for name in ("tutorial.md", "recipes.md", "plugins.md")]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is missing (apt-get install jq)")
@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_another(page: Path, home: Path) -> None:
    write_files(page)
    (home / "bin").mkdir()
    for name, module in (("genart", "genart"), ("pytest", "pytest")):
        script = home / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        script.chmod(0o755)
    lines = [line for block in blocks(page) if block.language == "bash" for line in block.text.strip().splitlines()]
    runnable = [shorter(line) for line in lines if not line.startswith(("pip ", "pytest "))]  # those two are tests/test_new.py
    assert runnable
    script_text = f'set -euo pipefail\nexport PATH="{home / "bin"}:$PATH"\n' + "\n".join(runnable)
    done = subprocess.run(["bash", "-c", script_text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_hook_is_on_the_page_for_authors() -> None:
    from genart import hookspecs

    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name in vars(hookspecs):
        if name.startswith("genart_"):
            assert f"`{name}`" in text
    for folder in EXAMPLES:
        assert folder.name in text


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert (tmp_path / "site" / "tutorial" / "index.html") in pages
    for page in pages:  # it is read without a network: nothing but links leads elsewhere
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|source|video|iframe)\b[^>]*\bsrc=\"([^\"]*)", text) + re.findall(
            r"<link\b[^>]*\bhref=\"([^\"]*)", text
        )
        assert [address for address in loaded if re.match(r"(?:https?:)?//", address)] == [], page.name
