"""A kill, or an error of the system, at system calls all over each command that puts something on disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .campaign import ERRORS, Attack, Report
from .forge import Forge
from .scenarios import SCENARIOS, Scenario

#: Faults in each scenario; `python -m tests.faults` injects all.
SAMPLE = 20

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing (apt-get install strace)"),
]
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()


@every_scenario
def test_after_any_fault_the_same_command_ends_in_the_same_bytes(forge: Forge, tmp_path: Path, scenario: Scenario) -> None:
    attack, report = Attack(scenario, forge, tmp_path), Report()
    attack.suffer(attack.sample(SAMPLE, seed=1), report)
    assert report.failures == []
    assert report.cases >= 0.8 * SAMPLE


@every_scenario
def test_a_fault_while_recovering_from_a_kill_changes_nothing(forge: Forge, tmp_path: Path, scenario: Scenario) -> None:
    attack, report = Attack(scenario, forge, tmp_path), Report()
    attack.suffer_again([fault.call for fault in attack.sample(4, seed=2)], ("KILL", *ERRORS), 3, report)
    assert report.failures == []
    assert report.cases >= 9


@pytest.mark.slow
@every_scenario
def test_every_fault_at_every_call(forge: Forge, tmp_path: Path, scenario: Scenario) -> None:
    attack, report = Attack(scenario, forge, tmp_path), Report()
    for lasting in (False, True):
        attack.suffer(list(attack.points([*ERRORS, *([] if lasting else ["KILL"])], lasting=lasting)), report)
    assert report.failures == []
    assert report.cases >= 0.8 * len(attack.calls) * len(ERRORS)
