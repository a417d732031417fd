"""What the documents show is what one gets: recipes are checked, plugins loaded and tested, commands run."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from genart import Images, Video
from genart.errors import SIGPIPE, GenartError, Interrupted
from genart.params import resolve
from genart.plugins import Plugins
from genart.recipe import load
from genart.remake import DIFFERENT
from genart.testing import run_stage, tiny_images
from genart_dcgan.networks import Generator

from .conftest import ROOT
from .test_examples import EXAMPLES
from .test_pipelines import needs
from .trainings import untrained

PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in ("stages.md", "operations.md"))
README = ROOT / "README.md"
DOCUMENTS = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")), *PAGES]
#: Pages whose commands are run.
COMMANDS = [README, *(ROOT / "docs" / name for name in ("tutorial.md", "recipes.md", "plugins.md", "clusters.md"))]
SHELL = ("bash", "sh")
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
#: What makes a command or a recipe of the documents short enough for a test; a budget of 5 s is.
SHORTER = (
    (r'budget = "\w+"', "kimg = 0.064\nbatch_size = 8\nwidth = 4"),
    (r"--budget (?!5s\b)\w+", "--iterations 2"),
    (r"count = 500", "count = 16"),
)
#: What is not run here, by its page and how the block or the line begins, and why.
NOT_RUN = {
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install ."): "test_painting.py runs the recipe, test_examples.py installs",
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install -e"): "it is how these tests are run",
    ("README.md", "genart: garden.toml:"): "test_readme.py compares it with what one gets",
    ("README.md", "from collections.abc import Iterator"): "test_readme.py runs the plugin",
    ("README.md", "[project.entry-points.genart]"): "test_plugins.py installs a distribution with it",
    ("index.md", "python3 -m venv .venv && .venv/bin/pip install ."): "as in README.md",
    ("tutorial.md", "python3 -m venv .venv && . .venv/bin/activate"): "as in README.md",
    ("how.md", "recipe.toml ─ read, checked ─▶ plan"): "it is a drawing",
    ("plugins.md", "pip install -e 'genart-night-sky[test]'"): "test_new.py does it in an environment of its own",
    ("plugins.md", "pytest genart-night-sky"): "test_new.py does it in an environment of its own",
    ("plugins.md", "[project]"): "test_examples.py installs distributions like it",
    ("clusters.md", "pip install"): "needs a network",
    ("clusters.md", "genart run recipes/painting.toml --on"): "tests/cluster/test_ray.py runs recipes on a Ray of this machine",
    ("clusters.md", "torchrun "): "tests/cluster/test_team.py starts processes that train together",
    ("clusters.md", "genart run film.toml --store s3://"): "tests/cluster/test_s3.py has an S3 of this machine",
    ("clusters.md", "genart plan film.toml --store s3://"): "tests/cluster/test_s3.py has an S3 of this machine",
    ("clusters.md", "genart cache gc --store s3://"): "tests/cluster/test_s3.py has an S3 of this machine",
    ("clusters.md", "#!/bin/bash\n#SBATCH"): "needs Slurm",
}


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
    pages = [page for page in DOCUMENTS if page.name != "gallery.md"]  # test_gallery.py
    return [block for page in pages for block in blocks(page) if block.language == language and not is_left_out(block.page, block.text)]


def is_left_out(page: Path, text: str) -> bool:
    """Whether a block or a line is one of those that are not run."""
    return any(name == page.name and text.startswith(begins) for name, begins in NOT_RUN)


def commands(block: Block) -> list[str]:
    """The lines of a block of the shell's that are run."""
    if is_left_out(block.page, block.text):
        return []
    return [line for line in block.text.strip().splitlines() if not is_left_out(block.page, line)]


def is_test(block: Block) -> bool:
    """Whether it is a file of tests."""
    return block.language == "python" and "\ndef test_" in block.text


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
    elif "sweep" in table:  # it belongs to the recipe before it
        recipe = next(other for other in reversed(blocks(block.page)[: block.number]) if "[recipe]" in other.text)
        Path("my-pictures").mkdir()
        Path("r.toml").write_text(recipe.text + block.text, encoding="utf-8")
        assert len([node for node in load(Path("r.toml"), Plugins()).nodes if node.origin]) > 1
    for stage in table.get("stage", []) if "recipe" not in table else []:
        used = Plugins().stage(stage["uses"])
        resolve(used.params, used.name, {key: value for key, value in stage.items() if key not in ("uses", "id", "from", "save")})


@pytest.mark.parametrize("block", [block for block in everywhere("python") if not is_test(block)], ids=str)
def test_plugins_load_and_stay_short(block: Block, home: Path) -> None:
    Path(block.title).write_text(block.text, encoding="utf-8")
    plugins = Plugins([Path(block.title)])
    assert [plugin.problem for plugin in plugins.plugins.values() if plugin.file] == [None]
    assert len(block.text.strip().splitlines()) <= 25


def stand_ins(work: Path) -> None:
    """Write what README.md and docs/clusters.md take for granted: pictures, a model, a film and recipes."""
    photos = run_stage(Plugins().stage("images.samples"), work=work / "photos", crop=64, count=40)["output"]
    assert isinstance(photos, Images)
    Path("my-pictures").mkdir()
    for i, photo in enumerate(photos.array()):
        Image.fromarray(photo).save(f"my-pictures/{i}.png")
    for i, name in enumerate(("photo.jpg", "starry_night.jpg", "a.jpg", "a.png", "b.png")):
        Image.fromarray(photos.array()[i]).save(name)
    given = {"resolution": 64, "width": 4, "z_dim": 8}
    shutil.copy(untrained(Generator(**given), work, "dcgan", **given).path, "model.safetensors")
    film = run_stage(Plugins().stage("video.assemble"), tiny_images(4, 64), work=work / "film", format="mp4")["output"]
    assert isinstance(film, Video)
    shutil.copy(film.path, "film.mp4")
    for name in ("r", "film"):
        Path(f"{name}.toml").write_text(f'[recipe]\nname = "{name}"\n[[stage]]\nuses = "images.samples"\ncrop = 16\nsave = "pieces"\n')


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=needs("jq", *(("ffmpeg", "convert") if page == README else ()))) for page in COMMANDS]
)
def test_the_commands_of_a_page_run_one_after_another(page: Path, home: Path, tmp_path: Path) -> None:
    write_files(page)
    if page.name in ("README.md", "clusters.md"):
        stand_ins(tmp_path)
    (home / "bin").mkdir()
    for name, module in (("genart", "genart"), ("pytest", "pytest")):
        script = home / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        script.chmod(0o755)
    runnable = [shorter(line) for block in blocks(page) if block.language in SHELL for line in commands(block)]
    assert runnable
    script_text = f'set -euo pipefail\nexport PATH="{home / "bin"}:$PATH"\n' + "\n".join(runnable)
    done = subprocess.run(["bash", "-c", script_text], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_tests_that_authors_are_shown_pass(home: Path) -> None:
    page = ROOT / "docs" / "plugins.md"
    write_files(page)
    shown = [block for block in blocks(page) if is_test(block)]
    for block in shown:
        Path(f"test_{block.number}.py").write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{sum(block.text.count('def test_') for block in shown)} passed" in done.stdout


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_block_is_run_or_has_a_reason_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE)) == 2 * len(blocks(page)), "a fence begins its line, with ```"
    for block in blocks(page):
        if is_left_out(page, block.text):
            continue
        if block.language in SHELL:
            assert page in COMMANDS or not commands(block), block
        elif block.language == "toml":
            assert {"recipe", "stage", "sweep"} & tomllib.loads(block.text).keys(), block
        else:
            assert block.language == "python", block
            assert block.title or (is_test(block) and page.name == "plugins.md"), block


def test_nothing_is_left_out_that_is_not_there() -> None:
    for name, begins in NOT_RUN:
        page = next(page for page in DOCUMENTS if page.name == name)
        found = [block.text for block in blocks(page)]
        assert any(text.startswith(begins) for block in found for text in (block, *block.splitlines())), (name, begins)


def test_every_exit_code_is_in_the_table(cli) -> None:
    section = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    told = [int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in row.split(",")]
    kinds: list[type[GenartError]] = [GenartError]
    for kind in kinds:
        kinds += [other for other in kind.__subclasses__() if other.__module__.startswith("genart")]
    signals = [Interrupted(number).exit_code for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, SIGPIPE)]
    assert sorted(told) == sorted({0, DIFFERENT, *(kind.exit_code for kind in kinds), *signals})
    assert "docs/recipes.md" in cli("--help").out


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
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
