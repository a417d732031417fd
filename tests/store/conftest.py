"""One forge for all tests of this folder: it takes seconds to load."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.faults.forge import Forge


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    if sys.platform == "win32":
        pytest.skip("Windows cannot fork")
    process = Forge()
    yield process
    process.close()
