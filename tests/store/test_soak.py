"""The soak, for half a minute: nothing is wrong, unless something leaks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

#: Warm after few rounds: what grows a little for some more is far from the leak below.
SHORT = "from tests.store import soak; soak.WARM_UP = 20; "
#: Each clean-up keeps memory, an open file and one in the temporary folder.
LEAKS = """
import tempfile
from genart.store import Store
kept, collect = [], Store.collect
def leaky(self, *arguments, **more):
    kept.append((bytes(bytearray(8 << 20)), tempfile.NamedTemporaryFile()))
    return collect(self, *arguments, **more)
Store.collect = leaky
"""


def soaked(plant: str = "") -> subprocess.CompletedProcess[str]:
    """A short soak in a process of its own."""
    code = f"{plant}\n{SHORT}soak.main(['--minutes', '0.3'])"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_store_stays_sound_and_small_through_faults() -> None:
    done = soaked()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failures" in done.stdout


def test_what_leaks_is_seen() -> None:
    done = soaked(LEAKS)
    assert done.returncode == 1, done.stdout + done.stderr
    for words in ("this process grew from", "this process had", "left in a temporary folder"):
        assert words in done.stdout
