"""One process that runs commands, for all tests here that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .forge import Forge


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()
