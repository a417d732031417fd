"""Whoever swaps folders for links while genart saves gains nothing; and the races would show it if somebody did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.forge import Forge

from .conftest import recipe, run_words
from .races import NAMES, Arena, hostile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged by a call of Linux")

STAGES = """
[[stage]]
uses = "toy.noise"
count = 2
save = "a/b/pictures"

[[stage]]
uses = "toy.train"
steps = 1
save = "model.safetensors"

[[stage]]
uses = "toy.noise"
id = "other"
count = 2

[[stage]]
uses = "toy.film"
save = "a/film.gif"
"""


def races(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "plugins")))}
    command = [sys.executable, "-m", "tests.security.races", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_two_thousand_races_end_inside() -> None:
    done = races("--count", "2000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1000 races, 0 failures") == 2, done.stdout


def test_without_handles_races_are_lost() -> None:
    done = races("--count", "3000", "--by-path")
    assert done.returncode == 1, done.stdout + done.stderr
    assert ": outside, " in done.stdout


@pytest.mark.parametrize("seed", range(6))
def test_whole_commands_are_raced(forge: Forge, tmp_path: Path, seed: int) -> None:
    """Runs, repairs and reports, while another process swaps; afterwards the same command ends as ever."""
    arena = Arena(tmp_path / "race")
    recipe(tmp_path, STAGES)
    words = tuple("race/out" if word == "out" else word for word in run_words())
    with hostile(arena, 0, seed):
        for command in (words, ("report", "race/out"), words):
            done = forge.run(tmp_path, *command)
            assert done.code in (0, 3, 5, 7), done.err
            assert "Traceback" not in done.err
            assert arena.state() == arena.whole, f"seed {seed}"
    arena.afresh()
    assert list(arena.out.iterdir()) == []
    done = forge.run(tmp_path, *words)
    assert done.code == 0, done.err
    assert {path.name for path in arena.out.iterdir()} == {Path(name).parts[0] for name in NAMES} - {"report.html"}
