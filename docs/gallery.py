"""Make the pictures of docs/gallery.md from the recipes on that page, into docs/images/.

    python docs/gallery.py            # all of them: about a quarter of an hour on two cores, seconds if genart's store still has them
    python docs/gallery.py flow coral # these recipes alone
    python docs/gallery.py --check    # only whether every picture is there, and is what its recipe says

A recipe is a block of TOML with a title; the pictures above it are the files that it saves, as they are: `genart remake
docs/images/FILE` makes one again. The one picture that genart does not save, that of a run's page, is taken with Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from genart.errors import GenartError
from genart.provenance import read

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
IMAGES = DOCS / "images"
#: The picture of a run's page.
SCREENSHOT = "report.webp"
#: Bytes that a still picture, and a film, may have on the page.
MOST_STILL, MOST_FILM = 66_000, 260_000
_BLOCK = re.compile(r'^```toml title="([\w-]+)\.toml"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"!\[([^\]]+)\]\(images/([\w.-]+)\)")


@dataclass(frozen=True)
class Recipe:
    """A recipe on the page.

    Attributes:
        name: of the recipe and of its file.
        text: as it stands there.
        heading: of the section that it is in.
        pictures: what is shown above it: words for who cannot see it, by file name.
    """

    name: str
    text: str
    heading: str
    pictures: dict[str, str]


def recipes(page: str) -> list[Recipe]:
    """The recipes of a page, in their order, with the pictures above each."""
    found, done = [], 0
    for block in _BLOCK.finditer(page):
        above = page[done : block.start()]
        heading = re.findall(r"^## (.+)$", page[: block.start()], re.MULTILINE)[-1]
        found.append(Recipe(block[1], block[2], heading, {name: words for words, name in _PICTURE.findall(above)}))
        done = block.end()
    return found


def make(recipe: Recipe, work: Path) -> None:
    """Run a recipe in a folder, and put what the page shows of it among the pictures; it can read those made before."""
    file = work / f"{recipe.name}.toml"
    file.write_text(recipe.text, encoding="utf-8")
    for picture in IMAGES.glob("*.*"):
        if not (work / picture.name).exists():
            (work / picture.name).symlink_to(picture)
    subprocess.run([sys.executable, "-m", "genart", "run", str(file), "--out", str(work / "out" / recipe.name)], check=True)  # noqa: S603 (genart itself, on recipes of this page)
    if SCREENSHOT in recipe.pictures:
        photograph(work / "out" / recipe.name / "report.html", work / "out" / recipe.name / SCREENSHOT)
    IMAGES.mkdir(exist_ok=True)
    for name in recipe.pictures:
        shutil.copyfile(work / "out" / recipe.name / name, IMAGES / name)
        print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


def photograph(page: Path, target: Path) -> None:
    """Take a picture of a page with Chromium."""
    shot = target.with_suffix(".png")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000", "--window-size=1100,1300")
    with tempfile.TemporaryDirectory() as home:
        command = ["chromium", *flags, f"--user-data-dir={home}", f"--screenshot={shot}", page.absolute().as_uri()]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    with Image.open(shot) as picture:
        picture.convert("RGB").resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS).save(target, quality=60)


def problems(recipe: Recipe) -> list[str]:
    """What is wrong with a recipe's pictures."""
    told = []
    if tomllib.loads(recipe.text)["recipe"]["name"] != recipe.name:
        told.append(f"{recipe.name}.toml: its name is another")
    for name in recipe.pictures:
        path = IMAGES / name
        if not path.is_file():
            told.append(f"{name}: not there; run python docs/gallery.py {recipe.name}")
            continue
        try:
            with Image.open(path) as picture:
                most = MOST_FILM if getattr(picture, "n_frames", 1) > 1 else MOST_STILL
            plain = None if name == SCREENSHOT else read(path)[1]
        except (OSError, GenartError) as error:
            told.append(f"{name}: {error}")
            continue
        if path.stat().st_size > most:
            told.append(f"{name}: {path.stat().st_size} bytes, more than {most}")
        if plain is None:
            continue
        told += [f"{name}: {what}" for what in differences(tomllib.loads(recipe.text), plain)]
    return told


def differences(table: dict, plain: dict) -> list[str]:
    """Where a picture's provenance and a recipe disagree."""
    if plain["recipe"] != table["recipe"]["name"]:
        return [f"made by the recipe '{plain['recipe']}', not '{table['recipe']['name']}'"]
    told = [] if plain["seed"] == table["recipe"].get("seed", 0) else [f"made with the seed {plain['seed']}"]
    written = {stage.get("id", stage["uses"]): stage for stage in table["stage"]}
    for stage in plain["stages"]:
        asked = written.get(stage["id"])
        if asked is None:
            if "sweep" not in table:
                told.append(f"made by a stage '{stage['id']}' that the recipe does not have")
            continue
        if asked["uses"] != stage["uses"]:
            told.append(f"the stage '{stage['id']}' was {stage['uses']}")
        for key, value in asked.items():
            if key in stage["params"] and not _same(stage["params"][key], value):
                told.append(f"made with {stage['id']}.{key} = {stage['params'][key]}, not {value}")
    return told


def _same(resolved: object, written: object) -> bool:
    """Whether a resolved parameter may have been written so: a list of one without brackets, an operation by its name, a time as text."""
    if isinstance(written, str) and isinstance(resolved, int | float):
        return True
    if isinstance(written, str) and isinstance(resolved, dict):
        return resolved == {"op": written}
    if isinstance(resolved, list) and isinstance(written, list):
        return len(resolved) == len(written) and all(map(_same, resolved, written))
    if isinstance(resolved, list) and len(resolved) == 1:
        return _same(resolved[0], written)
    return resolved == written


def main() -> int:
    """Make pictures, or check them."""
    known = {recipe.name: recipe for recipe in recipes(PAGE.read_text(encoding="utf-8"))}
    wanted = [name for name in sys.argv[1:] if name != "--check"] or list(known)
    if unknown := set(wanted) - set(known):
        print(f"no such recipe on the page: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if "--check" not in sys.argv:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as work:
            for name in wanted:
                make(known[name], Path(work))
    told = [problem for name in wanted for problem in problems(known[name])]
    print("\n".join(told) or f"{sum(len(known[name].pictures) for name in wanted)} pictures are what their recipes say")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
