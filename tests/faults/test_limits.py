"""A disk that is full, files that may not grow, memory, descriptors and threads that run out: told in words, and the next run is whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .forge import ROOT, Forge, Outcome
from .mounts import Small, namespace
from .scenarios import TRAIN, Scenario, ran, run_words
from .trouble import Part, Trial, Trouble, some

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts are Linux's")
OVER_OLDER = Scenario("run over older outputs", run_words("--quiet"), before=ran(seed=4))
TRAINING = Scenario("training", run_words("--quiet"), TRAIN)


# space

#: Steps of a sweep.
SIZES = 25


class Full:
    """A folder of a command whose file system has a given room left; it is a `before` and a `cure`.

    Args:
        name: of the folder, below the command's.
        leave: told how much, in what `Small` counts in.
    """

    def __init__(self, name: str, leave: Callable[[Small], None]) -> None:
        self.name, self._leave = name, leave
        self._small: Small | None = None

    def before(self, folder: Path) -> None:
        """Fill it."""
        self._small = Small(folder / self.name)
        self._leave(self._small)

    def cure(self, folder: Path) -> None:
        """Free space."""
        assert self._small is not None
        self._small.grow()

    def close(self) -> None:
        """Take it away."""
        assert self._small is not None
        self._small.close()


class Filled(Trial):
    """A trial whose folders lie on small file systems."""

    def wrong(self, trouble: Trouble, report: object) -> Iterator[str]:
        """What does not hold."""
        full = trouble.before.__self__ if trouble.before is not None else None  # type: ignore[attr-defined]
        try:
            yield from super().wrong(trouble, report)  # type: ignore[arg-type]
        finally:
            if full is not None:
                full.close()


def least(enough: Callable[[int], bool]) -> int:
    """The least number that is enough."""
    above = 1
    while not enough(above):
        above *= 2
    below = above // 2
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above


def sweep(trial: Trial, name: str, leave: Callable[[Small, int], None], unit: str) -> Iterator[Trouble]:
    """A folder with room for nothing, for ever more, for all that a run needs, and for one more."""

    def full(room: int) -> Full:
        return Full(name, lambda small: leave(small, room))

    def enough(room: int) -> bool:
        folder, place = trial.fresh("need"), full(room)
        place.before(folder)
        try:
            return trial.forge.run(folder, *trial.scenario.words).code == 0
        finally:
            place.close()

    need = least(enough)
    rooms = sorted({round(need * step / (SIZES - 2)) for step in range(SIZES - 1)} | {need - 1, need + 1})
    for room in rooms:
        place, codes = full(room), (0,) if room >= need else (5, 0)
        yield Trouble(
            f"{room} of {need} {unit} for {name}",
            before=place.before,
            cure=place.cure,
            codes=codes,
            says="the disk is full",
            check=no_litter,
        )


def no_litter(outcome: Outcome, folder: Path) -> Iterator[str]:
    """What fails for want of room leaves nothing that takes room: neither in the store nor beside outputs."""
    store = folder / "store" / "genart"
    yield from (f"{path.relative_to(folder)} was left" for path in (*store.glob("tmp/*/*"), *store.glob("scratch/*/*")))


class SpacePart(Part):
    """Sweeps, in a process that may mount."""

    def trial(self, forge: Forge, work: Path) -> Trial:
        """What is put to the troubles."""
        return Filled(self.scenario, forge, work)


def blocks(name: str) -> Callable[[Trial], Sequence[Trouble]]:
    """Sweep the space of a folder."""
    return lambda trial: list(sweep(trial, name, Small.leave, "blocks"))


def names(name: str) -> Callable[[Trial], Sequence[Trouble]]:
    """Sweep the number of files that a folder may hold."""
    return lambda trial: list(sweep(trial, name, Small.leave_names, "files"))


SPACE = (
    SpacePart("space in the store", OVER_OLDER, blocks("store"), step=9),
    SpacePart("space for outputs", OVER_OLDER, blocks("out"), step=9),
    SpacePart("space for training", TRAINING, blocks("store"), step=9),
    SpacePart("names in the store", OVER_OLDER, names("store"), step=9),
    SpacePart("names for outputs", OVER_OLDER, names("out"), step=9),
)


def test_a_full_disk() -> None:
    words = namespace()
    if words is None:
        pytest.skip("mounting is not allowed here, neither as root nor in a user namespace")
    done = subprocess.run(
        [*words, sys.executable, "-m", "tests.faults.limits", "--part", "space", "--part", "names", "--sample", "--here"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 10


# other limits

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{name}, ({soft}, {hard}))"
#: Address space above what the command has when it begins.
MEMORY = """
import resource
begun = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (begun + {above}, resource.RLIM_INFINITY))
"""
#: The so-manieth of our own buffers cannot be had.
BUFFER = """
import itertools, {module}
owner, name = {module}.{owner}, {name!r}
given, numbers = vars(owner)[name], itertools.count(1)
def fail(function):
    def call(*arguments, **more):
        if next(numbers) == {at}:
            raise MemoryError
        return function(*arguments, **more)
    return call
if isinstance(given, property):
    setattr(owner, name, property(fail(given.fget)))
elif isinstance(given, classmethod):
    setattr(owner, name, classmethod(fail(given.__func__)))
else:
    setattr(owner, name, fail(given))
"""
#: Where buffers are made, and how often in a run, at most.
BUFFERS = (
    ("genart.artifacts", "Batch", "array", 9),
    ("genart.artifacts", "Batch", "pixels", 6),
    ("genart.artifacts", "Batch", "from_array", 12),
    ("genart.artifacts", "ImagesWriter", "append", 6),
    ("genart.run", "Checkpoints", "save", 3),
    ("genart.store", "Store", "write", 8),
    ("genart.provenance", "json", "dumps", 4),
)
#: A run of large pictures through torch, Kornia and encoders.
LARGE = """
[[stage]]
uses = "toy.noise"
count = 4
size = 700

[[stage]]
uses = "images.resize"
resolution = 900
save = "pictures"

[[stage]]
uses = "video.assemble"
save = "film.mp4"
"""


def file_sizes(trial: Trial) -> list[Trouble]:
    """No file may grow beyond so many bytes."""
    longest = max(len(content) for content in trial.after.values())
    longest = max(longest, *(path.stat().st_size for path in (trial.work / "again" / "store").rglob("*") if path.is_file()))
    sizes = sorted({longest * step // 18 for step in range(19)} | {1, 100, longest + 1})
    plants = {size: LIMIT.format(name="FSIZE", soft=size, hard="resource.RLIM_INFINITY") for size in sizes}
    return [
        Trouble(f"files of {size} of {longest} bytes", plant, codes=(0, 5), says="a file grew past", silent=size < 300)
        for size, plant in plants.items()
    ]


def memory(trial: Trial) -> list[Trouble]:
    """So much more address space than the command has at its beginning; an encoder that fails for want of it does not say why."""
    megabytes = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
    return [
        Trouble(f"{mb} MB more", MEMORY.format(above=mb << 20), codes=(0, 4, 5), says="memory|external library", check=told_by_stage)
        for mb in megabytes
    ]


def told_by_stage(outcome: Outcome, folder: Path) -> Iterator[str]:
    """What runs out in a stage is told with the stage's name."""
    begun = any((folder / "store").rglob("work/*/*"))
    if outcome.code == 5 and begun and "stage '" not in outcome.err:
        yield f"no stage is named: {outcome.err!r}"


def descriptors(trial: Trial) -> list[Trouble]:
    """So many open files."""
    counts = (8, 10, 12, 14, *range(16, 26), 28, 32, 40, 48, 64)
    plants = {count: LIMIT.format(name="NOFILE", soft=count, hard=count) for count in counts}
    return [Trouble(f"{count} open files", plant, codes=(0, 2, 5), says="too many open files") for count, plant in plants.items()]


def buffers(trial: Trial) -> list[Trouble]:
    """Each of our own buffers fails once."""
    plants = {
        f"no room for {owner}.{name} {at}": BUFFER.format(module=module, owner=owner, name=name, at=at)
        for module, owner, name, most in BUFFERS
        for at in range(1, most + 1)
    }
    return [Trouble(name, plant, codes=(0, 5), says="out of memory") for name, plant in plants.items()]


PARTS: tuple[Part, ...] = (
    Part("files that may not grow", OVER_OLDER, file_sizes, step=6),
    Part("memory", Scenario("large pictures", run_words("--quiet"), LARGE), memory, step=5),
    Part("open files", OVER_OLDER, descriptors, step=5),
    Part("open files while training", TRAINING, descriptors, step=8),
    Part("buffers of a run", OVER_OLDER, buffers, step=9),
    Part("buffers of a training", TRAINING, buffers, step=11),
)


@pytest.mark.parametrize("part", some(PARTS, 6), ids=str)
def test_limits(forge: Forge, tmp_path: Path, part: Part) -> None:
    report = part.tried(forge, tmp_path, every=False)
    assert report.failures == []
    assert report.cases >= 3
