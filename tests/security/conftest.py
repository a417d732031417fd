"""A stage for strangers' files: a folder, a canary beside it, and a child that is watched."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOYS
from tests.faults.forge import Forge, Outcome

from .audit import violations

CANARY = "canary-4f1d2c77"
#: Bytes that no terminal may get: C0 but for line feed and tab, C1, and what turns the direction of writing.
CONTROLS = [
    chr(code) for code in [*range(9), *range(11, 32), *range(127, 160), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
]

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # the forge forks


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """A process that runs commands."""
    process = Forge()
    yield process
    process.close()


@pytest.fixture
def watched(forge: Forge, tmp_path: Path) -> Callable[..., Outcome]:
    """Run `genart WORDS` in `tmp_path/inside` and check that nothing forbidden was done, written, told or touched.

    watched(*words, codes=(0,)) -> Outcome. With a `plant` of its own, a test has to install the audit itself.
    """
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text(CANARY)
    (outside / "empty").mkdir()
    log = tmp_path / "acts"

    def run(*words: object, codes: tuple[int, ...] = (0,), plant: str | None = None, audited: bool = True, **environment: str) -> Outcome:
        before = _tree(outside)
        log.unlink(missing_ok=True)
        audit = f"from tests.security.audit import install; install({str(log)!r})"
        outcome = forge.run(inside, *words, plant=audit if plant is None else plant, GENART_CANARY=CANARY, HOME=str(outside), **environment)
        assert outcome.code in codes, (outcome.code, outcome.err[-1500:])
        assert "Traceback" not in outcome.err
        assert not audited or list(violations(log, inside, [inside])) == []
        assert _tree(outside) == before
        assert not [name for name in _tree(tmp_path) if name not in ("acts",) and not name.startswith(("inside", "outside"))]
        assert not [control for control in CONTROLS if control in outcome.out + outcome.err]
        assert CANARY not in outcome.out + outcome.err
        return outcome

    run.inside, run.outside = inside, outside  # type: ignore[attr-defined]
    return run


def _tree(folder: Path) -> dict[str, Any]:
    def content(path: Path) -> Any:
        if path.is_symlink():
            return str(path.readlink())
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*"))}


def sampled(cases: Sequence[Any], every: int, name: str = "{0}") -> list[Any]:
    """Cases for `parametrize`, of which the normal run takes each so-manieth and the slow one the others.

    Args:
        cases: all of them.
        every: 1 to have them all in the normal run.
        name: how a case is called, with `{0}` for the case.
    """
    return [
        pytest.param(case, id=name.format(case), marks=[pytest.mark.slow] if number % every else []) for number, case in enumerate(cases)
    ]


def recipe(folder: Path, stages: str) -> Path:
    """Write a recipe of toy stages and return its path."""
    path = folder / "r.toml"
    path.write_text(f'[recipe]\nname = "stranger"\nseed = 1\n{stages}', encoding="utf-8")
    return path


def run_words(*more: object) -> tuple[object, ...]:
    """Words that run it."""
    return ("run", "r.toml", "-p", TOYS, "--device", "cpu", "--out", "out", *more)
