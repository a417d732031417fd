"""Nothing is renamed into its place before it is on the disk; and the test would see it if something were."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forge import BY_HANDLE, BY_PATH, Forge
from .order import out_of_order
from .scenarios import SCENARIOS, Scenario

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing (apt-get install strace)"),
]
#: Bugs that a kill does not show, as Python that is run before the command.
PLANTED = {
    "no fsync at all": "import os; os.fsync = lambda handle: None",
    "files without fsync": "import os, stat; sync = os.fsync; "
    "os.fsync = lambda handle: sync(handle) if stat.S_ISDIR(os.fstat(handle).st_mode) else None",
    "folders without fsync": "import os, stat; sync = os.fsync; "
    "os.fsync = lambda handle: None if stat.S_ISDIR(os.fstat(handle).st_mode) else sync(handle)",
    "fsync after the rename": "import os; replace, sync, late = os.replace, os.fsync, []; "
    "os.fsync = lambda handle: late.append(handle); os.replace = lambda a, b, **at: (replace(a, b, **at), os.sync())",
}


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()


def traced(forge: Forge, folder: Path, scenario: Scenario, plant: str = "") -> list[str]:
    scenario.prepare(forge, folder)
    done = forge.run(folder, *scenario.words, watch=(*BY_PATH, *BY_HANDLE), plant=plant)
    assert done.code == 0, done.err
    assert any(call.name.startswith("rename") for call in done.calls) or scenario.name in ("cached run",)
    return list(out_of_order(done.calls, folder))


@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if s.name != "cache clean-up"], ids=lambda scenario: scenario.name.replace(" ", "-")
)
def test_what_is_renamed_is_on_the_disk(forge: Forge, tmp_path: Path, scenario: Scenario) -> None:
    assert traced(forge, tmp_path / "run", scenario) == []


@pytest.mark.parametrize("bug", sorted(PLANTED))
def test_a_planted_bug_is_seen(forge: Forge, tmp_path: Path, bug: str) -> None:
    assert traced(forge, tmp_path / "run", SCENARIOS[0], PLANTED[bug])
