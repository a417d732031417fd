"""Clocks that are wrong or jump, and files with dates that lie: neither outputs nor what is made again depend on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .forge import Forge, Outcome
from .scenarios import TRAIN, Scenario, ran, run_words, saved_pictures
from .trouble import Part, Trial, Trouble, some

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
READING = """
[[stage]]
uses = "images.folder"
path = "in"

[[stage]]
uses = "toy.invert"
save = "pictures"
"""
#: Python that makes the clock of a process another one; `shift(n)` is what the n-th question is told above the truth.
CLOCK = """
import itertools, os, time
numbers, told, told_ns = itertools.count(), time.time, time.time_ns
def shift(n):
    return {shift}
time.time = lambda: told() + shift(next(numbers))
time.time_ns = lambda: told_ns() + int(shift(next(numbers)) * 1e9)
os.environ["TOY_LOG"] = "made"
"""
YEAR = 365.25 * 86400
SHIFTS = {
    "ten years behind": f"-10 * {YEAR}",
    "ten years ahead": f"10 * {YEAR}",
    "1970": "-told()",
    "2106": "4294967296 - told()",
    "an hour back in the middle": "-3600 if n > 1 else 0",
    "an hour ahead in the middle": "3600 if n > 1 else 0",
    "back and forth": "3600 * (-1) ** n",
    "backwards": "-7200 * n",
    "leaps": f"{YEAR} * n",
    "a nanosecond behind": "-1e-9",
}
NANO = 10**9


def dated(*times: float) -> Callable[[Path], None]:
    """Give what there is these dates by turns."""

    def before(folder: Path) -> None:
        for number, path in enumerate(sorted(folder.rglob("*"))):
            when = int(times[number % len(times)] * NANO)
            os.utime(path, ns=(when, when))

    return before


DATES = {
    "all of 1970": (0,),
    "all in the future": (4e9,),
    "past and future": (0, 4e9),
    "a nanosecond apart": (1e9, 1e9 + 1e-9),
    "before 1970": (-1e6,),
}


def nothing_made(outcome: Outcome, folder: Path) -> Iterator[str]:
    """Whether all came from the store."""
    made = folder / "made"
    if made.exists() and made.read_text():
        yield f"made again: {made.read_text().splitlines()[:3]}"
    made.unlink(missing_ok=True)


def unlogged(folder: Path) -> None:
    """Forget what the toys noted."""
    (folder / "made").unlink(missing_ok=True)


def clocks(trial: Trial) -> list[Trouble]:
    """Clocks, while all is made."""
    return [
        Trouble(name, CLOCK.format(shift=shift), codes=(0,), cure=unlogged, gone=("made",), check=whole) for name, shift in SHIFTS.items()
    ]


def whole(outcome: Outcome, folder: Path) -> Iterator[str]:
    """Whether something was made."""
    if not (folder / "made").read_text():
        yield "nothing was made: the clock was not tried"


def cached(trial: Trial) -> list[Trouble]:
    """Clocks and dates, while nothing needs to be made."""
    dates = [Trouble(name, CLOCK.format(shift="0"), before=dated(*times), codes=(0,), check=nothing_made) for name, times in DATES.items()]
    return [Trouble(name, CLOCK.format(shift=shift), codes=(0,), check=nothing_made) for name, shift in SHIFTS.items()] + dates


PARTS = (
    Part("clocks", Scenario("run over older outputs", run_words("--quiet"), before=ran(seed=4)), clocks, step=4),
    Part("clocks while training", Scenario("training", run_words("--quiet"), TRAIN), clocks, step=5),
    Part(
        "clocks and the store",
        Scenario("cached run", run_words("--quiet"), READING, before=lambda forge, folder: read_once(forge, folder)),
        cached,
        step=4,
    ),
)


def read_once(forge: Forge, folder: Path) -> None:
    """Pictures that were read, with all that is made of them in the store."""
    saved_pictures(forge, folder)
    done = forge.run(folder, *run_words())
    assert done.code == 0, done.err


@pytest.mark.parametrize("part", some(PARTS, 3), ids=str)
def test_clocks(forge: Forge, tmp_path: Path, part: Part) -> None:
    report = part.tried(forge, tmp_path, every=False)
    assert report.failures == []
    assert report.cases >= 2


@pytest.mark.parametrize("shift", ["0", SHIFTS["ten years ahead"], SHIFTS["ten years behind"], SHIFTS["leaps"]])
def test_a_picture_that_changed_is_seen_whatever_its_date(forge: Forge, tmp_path: Path, shift: str) -> None:
    """Even if it has the size and date of the one before."""
    folder, changed = tmp_path / "here", tmp_path / "there"
    for place, seed in ((folder, 0), (changed, 5)):
        place.mkdir()
        words = ("apply", "toy.noise", "--seed", seed, "--count", "1", "-o", "in", "-p", "toys.py", "--device", "cpu")
        (place / "toys.py").symlink_to(Path(__file__).parents[1] / "toys.py")
        assert forge.run(place, *words).code == 0
    (folder / "r.toml").write_text(f'[recipe]\nname = "x"\n{READING}')
    plant = CLOCK.format(shift=shift)
    path = folder / "in" / "00000.png"
    before = path.stat()
    assert forge.run(folder, *run_words(), plant=plant).code == 0
    old = (folder / "out" / "pictures" / "00000.png").read_bytes()
    new = (changed / "in" / "00000.png").read_bytes()
    path.write_bytes(new[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert forge.run(folder, *run_words(), plant=plant).code == 0
    assert (folder / "out" / "pictures" / "00000.png").read_bytes() != old
