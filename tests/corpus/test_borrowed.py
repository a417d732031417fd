"""Test files of others, under the same law: Pillow's own pictures, PngSuite and toml-test."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.forge import Forge

from .borrowed import cases
from .law import Court

#: Fewer files than this were not what was looked at.
LEAST = {"Pillow's pictures": 1000, "PngSuite": 25, "toml-test": 700}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
def test_files_of_others_end_as_they_should(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.corpus.borrowed", str(tmp_path)]
    fetched = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"the package index does not give them: {fetched.stderr.splitlines()[-1]}")
    forge = Forge()
    court, wrong, counts = Court(forge, tmp_path / "work"), [], Counter[str]()
    for case in cases(tmp_path):
        counts[case.group] += 1
        wrong += [f"{case}: {text}" for text in court.tried(case).wrong]
    forge.close()
    assert wrong == []
    assert not [group for group, least in LEAST.items() if counts[group] < least], counts
