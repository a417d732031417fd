"""Names under which a recipe wants its results saved: inside the output folder, or refused before anything is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import recipe, run_words

NOISE = '[[stage]]\nuses = "toy.noise"\ncount = 2\n'
#: What makes each kind of result, and the suffix of its name.
KINDS = {
    "pictures": (NOISE, ""),
    "picture": (NOISE.replace("count = 2", "count = 1"), ".png"),
    "model": (NOISE + '[[stage]]\nuses = "toy.train"\nsteps = 1\n', ".safetensors"),
    "film": (NOISE + '[[stage]]\nuses = "toy.film"\n', ".gif"),
}
#: Names that leave the folder, or would in another system, or take what is genart's own: with `@` for the suffix.
REFUSED = [
    "../x@",
    "../outside/x@",
    "a/../../x@",
    "a/b/../../../x@",
    "./../x@",
    "..//x@",
    "/x@",
    "//server/share/x@",
    "{outside}/x@",
    "{outside}/secret.txt@",
    "..\\x@",
    "a\\..\\..\\x@",
    "C:\\x@",
    "C:x@",
    "x:stream@",
    "\\\\server\\share\\x@",
    "x\u0000@",
    "x\n@",
    "x\u001b[2J@",
    "x\u007f@",
    "run.json",
    "RUN.JSON",
    ".hidden@",
    "a/.hidden@",
    ".",
    "..",
    "",
    "/",
    "/dev/null",
    "/dev/stdout",
    "/proc/self/fd/1",
    "x" * 300 + "@",
    "a/" * 200 + "x@",
]
#: Names that look odd and mean nothing special: they stay inside.
INSIDE = [
    "~/x@",
    "~root/x@",
    "$HOME/x@",
    "${GENART_CANARY}@",
    "$(id)@",
    "`id`@",
    "%2e%2e/x@",
    "%s%n@",
    "{0.__class__}@",
    "-x@",
    "--out=x@",
    "x;id@",
    "x|id@",
    "[link=file:///etc/passwd]x@",
    "\u2024\u2024/x@",
    "\uff0e\uff0e/x@",
    "a//b@",
    "a/./b@",
    "\u202egnp@",
    "CON@",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_leads_out_is_refused_before_anything_is_made(watched: Callable, kind: str, name: str) -> None:
    stages, suffix = KINDS[kind]
    name = name.replace("@", suffix).replace("{outside}", str(watched.outside))
    recipe(watched.inside, f"{stages}save = {json.dumps(name)}\n")
    outcome = watched(*run_words(), codes=(2, 7))
    assert outcome.err.startswith("genart: ")
    assert not (watched.inside / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INSIDE)
def test_an_odd_name_stays_inside_or_is_refused(watched: Callable, kind: str, name: str) -> None:
    stages, suffix = KINDS[kind]
    recipe(watched.inside, f"{stages}save = {json.dumps(name.replace('@', suffix))}\n")
    outcome = watched(*run_words(), codes=(0, 2, 7))
    assert any(Path(watched.inside, "out").rglob(f"*{suffix}")) == (outcome.code == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("link", ["folder", "file", "dangling", "loop"])
def test_a_link_in_the_output_folder_is_not_followed(watched: Callable, kind: str, link: str) -> None:
    stages, suffix = KINDS[kind]
    out = watched.inside / "out"
    out.mkdir()
    targets = {
        "folder": watched.outside / "empty",
        "file": watched.outside / "secret.txt",
        "dangling": watched.outside / "new",
        "loop": out / "a",
    }
    (out / "a").symlink_to(targets[link])
    recipe(watched.inside, f'{stages}save = "a/x{suffix}"\n')
    watched(*run_words(), codes=(5, 7))
    recipe(watched.inside, f'{stages}save = "a{suffix}"\n')
    (out / f"a{suffix}").unlink(missing_ok=True)
    (out / f"a{suffix}").symlink_to(targets[link])
    watched(*run_words(), codes=(0, 5, 7))
