"""A process that runs commands, for all tests of resuming."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.forge import Forge


@pytest.fixture(scope="package")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()
