"""The example plugins: each is built, installed and tested in an environment of its own, as a stranger would."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT
from .test_new import lent_packages

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("genart-*"))


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_is_installed_found_and_passes_its_tests(folder: Path, home: Path) -> None:
    python = lent_packages(home / "venv")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", folder], check=True, capture_output=True)
    name = folder.name.removeprefix("genart-")
    told = subprocess.run([python, "-m", "genart", "plugins", name], capture_output=True, text=True, check=True)
    assert "broken" not in told.stdout
    assert f"{folder.name} 0.1.0" in told.stdout
    tested = subprocess.run([python, "-m", "pytest", "-q", folder / "tests"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout


def test_there_is_one_of_each_kind() -> None:
    kinds = ["dense", "farbfeld", "halftone", "logbook", "pearson", "ripples"]
    assert [folder.name for folder in EXAMPLES] == [f"genart-{kind}" for kind in kinds]
