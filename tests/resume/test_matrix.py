"""Wherever a stage is killed, what it saw, told, kept and made is that of one that never was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.forge import Forge

from .matrix import WORKS, Matrix, Work

#: Variants that the full campaign alone looks at.
RARE = ("dcgan measured", "style.transfer, adam")
every_work = pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name.replace(" ", "-"))


@pytest.mark.parametrize("work", [work for work in WORKS if work.name not in RARE], ids=lambda work: work.name.replace(" ", "-"))
def test_a_killed_stage_goes_on_exactly(forge: Forge, tmp_path: Path, work: Work) -> None:
    matrix = Matrix(work, forge, tmp_path)
    assert matrix.wrong(work.sample()) == []


@pytest.mark.slow
@every_work
def test_wherever_it_is_killed(forge: Forge, tmp_path: Path, work: Work) -> None:
    matrix = Matrix(work, forge, tmp_path)
    assert matrix.alone() == matrix.undisturbed.files, "noting and keeping change nothing"
    assert [wrong for case in work.every_case(len(matrix.units)) for wrong in matrix.wrong(case)] == []


def noted(matrix: Matrix, name: str) -> list[float]:
    """What was seen in each unit."""
    return [json.loads(next(iter(matrix.undisturbed.seen[f"unit {unit}: {name}"]))) for unit in range(len(matrix.units))]


def test_the_places_are_what_they_are_said_to_be(forge: Forge, tmp_path: Path) -> None:
    """A kill proves nothing where nothing is under way."""
    works = {work.name: work for work in WORKS}
    dcgan, progan = Matrix(works["dcgan"], forge, tmp_path / "dcgan"), Matrix(works["progan"], forge, tmp_path / "progan")
    strengths, rates, steps = noted(dcgan, "p"), noted(dcgan, "rates"), noted(dcgan, "step")
    for unit in dcgan.work.special:
        assert 0 < strengths[unit] < 1
        assert len(set(strengths[unit - 4 : unit + 5])) > 1, "augmentation adapts"
        assert rates[unit] != rates[unit + 1], "learning rates fall"
        assert steps[unit] % 4, "within a lazy interval"
    assert all(noted(progan, "place")[unit] % 1 for unit in progan.work.special), "within a fade-in"
    assert len({noted(progan, "place")[unit] // 1 for unit in progan.work.special}) == 2, "of two levels"
