"""The table of planted bugs does not rot; planting them all is `python -m tests.bugs`, or `-m slow`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

import pytest

from .__main__ import NO_CATCH, ROOT
from .table import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_bug_can_still_be_planted(bug: Bug) -> None:
    text = (ROOT / bug.file).read_text(encoding="utf-8")
    assert text.count(bug.old) == 1, "what the bug replaces must stand there once"
    planted = bug.planted(text)
    assert planted != text
    ast.parse(planted)
    assert bug.tests
    for test in bug.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_there_are_enough_bugs_of_many_kinds() -> None:
    assert len(BUGS) >= 30
    assert max(Counter(bug.name for bug in BUGS).values()) == 1
    assert len({bug.file for bug in BUGS}) >= 12


def test_what_fails_to_import_is_no_catch() -> None:
    assert NO_CATCH.search("FAILED tests/a.py::test_b - ImportError: x")
    assert not NO_CATCH.search("FAILED tests/a.py::test_b - AssertionError: x")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_bug_is_caught() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.bugs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
