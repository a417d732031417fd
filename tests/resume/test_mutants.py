"""Whatever a resume forgets, the matrix sees it: weights, optimisers, streams, orders, strengths, places, logs, pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.forge import Forge

from .matrix import WORKS, Case, Matrix
from .mutants import MUTANTS, Mutant

#: Most are looked for in the full campaign: what they forget is of one kind with these.
OFTEN = (
    "optimiser of D",
    "strength of the augmentation",
    "order of the pictures",
    "place of the growth, within a fade-in",
)


def is_seen(mutant: Mutant, forge: Forge, folder: Path) -> bool:
    """Whether the matrix finds a bug; the undisturbed run has it too, so that only resuming can show it."""
    work = next(work for work in WORKS if work.name == mutant.work)
    matrix = Matrix(work, forge, folder, plant=f"from tests.resume import mutants; mutants.plant({mutant.what!r})")
    unit = work.special[0] if work.special else 2 * work.every + 1
    wrong = matrix.wrong(Case((mutant.kill or (unit, ""),)))
    print("\n".join(wrong))
    crash = any("it ended with" in text for text in wrong)
    return bool(wrong) and (not crash or mutant.crashes)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.what in OFTEN], ids=lambda mutant: mutant.what)
def test_what_is_forgotten_is_seen(forge: Forge, tmp_path: Path, mutant: Mutant) -> None:
    assert is_seen(mutant, forge, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.what not in OFTEN], ids=lambda mutant: mutant.what)
def test_the_rest_of_what_may_be_forgotten_is_seen(forge: Forge, tmp_path: Path, mutant: Mutant) -> None:
    assert is_seen(mutant, forge, tmp_path)
