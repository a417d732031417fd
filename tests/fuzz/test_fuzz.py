"""What once broke a reader stays mended, and a sample of bytes breaks none; the campaign is `python -m tests.fuzz --all`."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from genart.errors import GenartError

from .__main__ import fuzzed
from .crashes import crashes
from .targets import TARGETS, attempt, documented

#: Inputs for each target in the normal run.
SAMPLE = 300


def changed(rng: random.Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """An input a few changes away from another."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 9, 40))
        match rng.randrange(6):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length]
            case 3:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                out[at : at + length] = other[start : start + length]
            case 4:
                out[at : at + rng.choice((0, 4))] = rng.choice(words or (b"\xff",))
            case 5:
                del out[at:]
    return bytes(out)


def sample(name: str) -> Iterator[bytes]:
    """The same inputs each time."""
    rng, target = random.Random(name), TARGETS[name]
    seeds = target.seeds()
    for _ in range(SAMPLE):
        yield changed(rng, rng.choice(seeds), seeds, target.words)[: target.longest]


@pytest.mark.parametrize("name", TARGETS)
def test_a_sample_of_bytes_breaks_nothing(name: str) -> None:
    for data in sample(name):
        try:
            attempt(TARGETS[name], data)
        except BaseException as error:
            error.add_note(f"target {name}, input {data!r}")
            raise


@pytest.mark.parametrize("case", crashes())
def test_what_broke_a_reader_does_not_any_more(case: str) -> None:
    name, data = crashes()[case]
    attempt(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_begins_with_inputs_that_are_read_to_their_end(name: str) -> None:
    """Else only the refusal of nonsense would be fuzzed."""
    read = 0
    for data in TARGETS[name].seeds():
        assert len(data) <= TARGETS[name].longest
        try:
            TARGETS[name].run(data)
        except GenartError:
            continue
        read += 1
    assert read >= 1


def test_only_documented_errors_pass() -> None:
    with documented():
        raise type("Told", (GenartError,), {"exit_code": 3})("a.png: damaged")
    for error in (GenartError("a bug"), KeyError("a"), type("Silent", (GenartError,), {"exit_code": 3})(" ")):
        with pytest.raises(type(error)), documented():
            raise error


@pytest.fixture
def atheris() -> None:
    """What the campaign needs."""
    if sys.platform != "linux":
        pytest.skip("atheris is for Linux")
    pytest.importorskip("atheris", reason="atheris is missing (pip install 'genart[fuzz]')")


@pytest.mark.slow
@pytest.mark.usefixtures("atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_fuzzing(name: str, tmp_path: Path) -> None:
    outcome = fuzzed(name, tmp_path, 60.0, 1)
    assert outcome.failure == ""
    assert outcome.executions > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("atheris")
def test_fuzzing_finds_a_planted_bug(tmp_path: Path) -> None:
    outcome = fuzzed("planted", tmp_path, 60.0, 1)
    assert "KeyError: 'planted'" in outcome.failure
    assert "crash-" in outcome.failure
