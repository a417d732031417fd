"""Histories of a store, and proof that a wrong store does not get through them."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

import pytest

from genart import artifacts
from genart.store import Store

from .machine import run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


def test_the_store_keeps_what_was_put() -> None:
    run(examples=25, steps=25)


@pytest.mark.slow
def test_the_store_keeps_what_was_put_through_long_histories() -> None:
    run(examples=500, steps=50)


#: Bugs: (class or module, name, what is there instead).
PLANTED: dict[str, tuple[Any, str, Any]] = {
    "nothing is verified": (Store, "verified", lambda self, entry: True),
    "what is read is not held": (Store, "hold", lambda self, entry: entry),
    "seals are not looked at": (artifacts, "unsealed", lambda found, label: found if isinstance(found, dict) else None),
    "a clean-up forgets the cap": (Store, "collect", lambda self, max_bytes: (0, 0)),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_seen(bug: str) -> None:
    with patch.object(*PLANTED[bug]), pytest.raises(AssertionError):
        run(examples=60, steps=30, shrink=False)
