"""Real runs killed at random moments end, by the same command, in the bytes of an undisturbed one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .campaign import Attack
from .forge import Fault, Forge
from .kills import DEPTH, RUNS, Killer, Tally
from .scenarios import SCENARIOS, Scenario

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing (apt-get install strace)"),
]
#: Those of the normal run.
SOME = ("progan in a fade-in", "film of 300 frames")
CHAINED = SOME[0]
every_run = pytest.mark.parametrize("scenario", RUNS, ids=lambda scenario: scenario.name.replace(" ", "-"))


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()


@pytest.mark.parametrize("name", SOME)
def test_a_killed_run_ends_in_the_same_bytes(forge: Forge, tmp_path: Path, name: str) -> None:
    killer = Killer(next(scenario for scenario in RUNS if scenario.name == name), forge, tmp_path)
    tally = killer.often(1) if name == CHAINED else killer.once(1)
    assert tally.failures == []
    assert tally.kills >= (DEPTH if name == CHAINED else 1)


#: Folders are emptied in the order in which they are read, which is another one on each file system.
BACKWARDS = """
import os
class Backwards:
    def __init__(self, *folder): self.entries = read(*folder)
    def __enter__(self): return iter([*self.entries][::-1])
    def __exit__(self, *error): self.entries.close()
    __iter__ = __enter__
read, os.scandir = os.scandir, Backwards
"""


@pytest.mark.parametrize("order", [pytest.param("", marks=pytest.mark.slow), BACKWARDS], ids=["as-it-comes", "backwards"])
def test_what_is_left_of_work_that_was_being_removed_is_not_gone_on_with(forge: Forge, tmp_path: Path, order: str) -> None:
    """A kill in the clean-up after a stage; then the store is emptied, so that the stage is made again."""
    attack = Attack(next(scenario for scenario in SCENARIOS if scenario.name == "training"), forge, tmp_path)
    removals = [call for call in attack.calls if call.name == "unlinkat" and "/out/" not in call.told]
    hit = 0
    for call in removals[len(removals) // 3 :: 4]:
        folder = attack.fresh("case")
        hit += forge.run(folder, *attack.scenario.words, fault=Fault(call, "KILL"), plant=order).hit is not None
        assert forge.run(folder, "cache", "gc", "--max-size", "0").code == 0
        assert list(attack.wrong_in_the_end(folder)) == []
    assert hit


@pytest.mark.slow
@every_run
def test_many_killed_runs_and_chains_of_kills(forge: Forge, tmp_path: Path, scenario: Scenario) -> None:
    killer, tally = Killer(scenario, forge, tmp_path), Tally()
    for seed in range(40):
        tally += killer.once(seed)
    for seed in range(10):
        tally += killer.often(seed)
    assert tally.failures == []
    assert tally.kills > 100


@pytest.mark.slow
def test_a_forgotten_optimiser_is_found(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(next(scenario for scenario in RUNS if scenario.name == "dcgan"), forge, tmp_path)
    run, bug = forge.run, "from tests.resume import mutants; mutants.plant('optimiser of D')"
    monkeypatch.setattr(forge, "run", lambda *args, plant="", **more: run(*args, plant=f"{bug}\n{plant}", **more))
    assert [failure for seed in range(6) for failure in killer.once(seed).failures]
