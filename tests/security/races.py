"""Races: a hostile process swaps what is below an output folder, as fast as it can, while genart saves there.

    python -m tests.security.races [--count 2000] [--seed 1] [--by-path]

Two kinds. By chance: another process exchanges folders for links (in one step, where the system can) all the time. In order: just before
the k-th thing that a save does to the disk one name is swapped, for every k, every name and every kind of swap. After each save all that is
outside has to be as before. With `--by-path` genart does without handles, as where there are none: the races in order show what that costs.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genart import folders
from genart.artifacts import Batch, Images, Model, Video
from genart.errors import GenartError
from genart.folders import Folder
from genart.provenance import save_in, sweep
from genart.report import Gallery, OutputTold
from genart.runner import Runner, _bytes_of, _sha256_of_any
from genart.store import resource_error

CANARY = b"canary-4f1d2c77"
SECRET = hashlib.sha256(CANARY).hexdigest()
PROVENANCE = {"format": 1, "recipe": "race"}
#: What is saved, by name.
NAMES = ("a/b/pictures", "a/b/one.png", "a/film.gif", "a/b/film.mp4", "model.safetensors", "run.json", "report.html")
#: What is outside, and what is not there yet: links lead there.
LINKS = ("empty", "full", "secret.txt", "new")
EXCHANGE = 2
AT_FDCWD = -100


# what is at stake


class Arena:
    """An output folder, and beside it what must not be touched.

    Args:
        base: an empty folder.
    """

    def __init__(self, base: Path) -> None:
        self.out, self.outside, self.links = base / "out", base / "outside", base / "links"
        self.base = base
        for folder in (self.out, self.outside / "empty", self.outside / "full", self.links):
            folder.mkdir(parents=True)
        for name in ("secret.txt", "full/keep.txt", "full/00000.png"):
            (self.outside / name).write_bytes(CANARY)
        (self.outside / "linked.txt").write_bytes(b"whoever may link it may read it")
        self.whole = self.state()

    def state(self) -> dict[str, Any]:
        """Everything that is outside."""
        found = {str(path.relative_to(self.base)): path.read_bytes() if path.is_file() else None for path in self.outside.rglob("*")}
        return found | dict.fromkeys(os.listdir(self.base))

    def afresh(self) -> None:
        """Empty the output folder."""
        for path in self.out.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def artifacts(folder: Path) -> dict[str, Images | Model | Video]:
    """Something small of every kind, by suffix."""
    import av

    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    frames = [Image.fromarray(picture) for picture in array]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    with av.open(str(folder / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        for picture in array:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        film.mux(stream.encode())
    header = json.dumps({"__metadata__": {"genart": json.dumps({"model": {"family": "toy", "parameters": {}}})}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    one = Images.from_batches([Batch.from_array(array[:1])])
    films = {suffix: Video(folder / f"film{suffix}", 10.0, 2) for suffix in (".gif", ".mp4")}
    model = Model(folder / "model.safetensors", {"family": "toy"})
    return {"": Images.from_batches([Batch.from_array(array)]), ".png": one, ".safetensors": model, **films}


class Victim:
    """Saves as the runner does.

    Args:
        arena: where.
        made: what.
    """

    def __init__(self, arena: Arena, made: dict[str, Images | Model | Video]) -> None:
        self.arena, self.made = arena, made
        self.runner = Runner.__new__(Runner)
        self.runner.out = arena.out

    def save(self, name: str) -> str:
        """Save under a name, read it back as the runner and a report do, and say what became of it."""
        try:
            if name in ("run.json", "report.html"):
                with Folder.open(self.arena.out, make=True) as out:
                    sweep(out, name)
                    out.write(name, b"{}")
                return "saved"
            with self.runner._place(name, make=True) as (folder, last):
                save_in(folder, last, self.made[Path(name).suffix], PROVENANCE)
                with folder.alone():
                    found = _sha256_of_any(folder, last)
                    _bytes_of(folder, last)
            return "saved" if found != SECRET else "untold: it read what is outside"
        except GenartError as error:
            return type(error).__name__
        except OSError as error:
            return "OSError" if resource_error(error) is not None else f"untold {error!r}"

    def look(self, name: str) -> str:
        """What a report would show."""
        with Folder.open(self.arena.out) as out:
            shown = Gallery(out).shown(OutputTold(path=name))
        return shown.src + "".join(thumbnail.src for thumbnail in shown.thumbnails)


@dataclass
class Result:
    """What came of the races."""

    races: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def judge(arena: Arena, victim: Victim, name: str, case: str, result: Result) -> None:
    """Save once, and see."""
    outcome = victim.save(name)
    result.races += 1
    result.outcomes[outcome.partition(" ")[0]] += 1
    if outcome.startswith("untold"):
        result.failures.append(f"{case}: {outcome}")
    if arena.state() != arena.whole:
        changed = {key for key in {*arena.state(), *arena.whole} if arena.state().get(key) != arena.whole.get(key)}
        result.failures.append(f"{case}: outside, {', '.join(sorted(changed))}")
        restore(arena)


def restore(arena: Arena) -> None:
    """Put right what is outside."""
    shutil.rmtree(arena.outside, ignore_errors=True)
    for name in set(os.listdir(arena.base)) - {"out", "links", "outside"}:
        path = arena.base / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(arena.out, ignore_errors=True)
    shutil.rmtree(arena.links, ignore_errors=True)
    arena.__init__(arena.base)  # type: ignore[misc]


# swaps


def swaps(arena: Arena) -> dict[str, Callable[[str, int], Any]]:
    """What a name, in an open folder, can be swapped for."""
    outside = arena.outside
    return {
        "a link to a folder": lambda name, at: os.symlink(outside / "empty", name, dir_fd=at),
        "a link to a full folder": lambda name, at: os.symlink(outside / "full", name, dir_fd=at),
        "a link to a file": lambda name, at: os.symlink(outside / "secret.txt", name, dir_fd=at),
        "a link to nothing yet": lambda name, at: os.symlink(outside / "new", name, dir_fd=at),
        "a link to itself": lambda name, at: os.symlink(name, name, dir_fd=at),
        "a relative link": lambda name, at: os.symlink("../outside/empty", name, dir_fd=at),
        "a relative link from below": lambda name, at: os.symlink("../../../outside/empty", name, dir_fd=at),
        "a hard link": lambda name, at: os.link(outside / "linked.txt", name, dst_dir_fd=at),
        "a folder": lambda name, at: os.mkdir(name, dir_fd=at),
        "a file": lambda name, at: os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, dir_fd=at)),
        "a pipe": lambda name, at: os.mkfifo(name, dir_fd=at),
        "nothing": lambda name, at: None,
    }


@contextlib.contextmanager
def within(arena: Arena, path: Path) -> Iterator[int]:
    """The folder of a name, open; who swaps does not walk through links, lest it be them that write outside.

    Raises:
        OSError: if there is no such folder at the moment.
    """
    handle = os.open(arena.out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path.relative_to(arena.out).parts[:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def swap(arena: Arena, path: Path, kind: str) -> None:
    """Put something else under a name; what was there is kept under another."""
    with contextlib.suppress(OSError), within(arena, path) as at:
        with contextlib.suppress(OSError):
            os.rename(path.name, f"was-{os.urandom(6).hex()}", src_dir_fd=at, dst_dir_fd=at)
        swaps(arena)[kind](path.name, at)


def places(arena: Arena, name: str, pid: int) -> list[Path]:
    """Names that a save of this name walks over or makes."""
    target = arena.out / name
    above = [arena.out / part for part in itertools.accumulate(Path(name).parts[:-1], lambda a, b: f"{a}/{b}")]
    temporary = target.with_name(f".{target.name}.{pid}.tmp{target.suffix}")
    return [*above, target, temporary, target.with_name(f".{target.name}.{pid}.old"), temporary / "00000.png"]


# nothing left to chance


class Before:
    """Does something just before the k-th act of this process that concerns the disk."""

    def __init__(self) -> None:
        self.left = 0
        self.seen = 0
        self.act: Callable[[], None] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.act is None or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "shutil.rmtree"):
            return
        self.seen += 1
        self.left -= 1
        if self.left == 0:
            act, self.act = self.act, None
            act()
            self.act = lambda: None

    @contextlib.contextmanager
    def at(self, k: int, act: Callable[[], None]) -> Iterator[None]:
        """Do it before the k-th."""
        self.left, self.seen, self.act = k, 0, act
        try:
            yield
        finally:
            self.act = None


def ordered(arena: Arena, victim: Victim, count: int, seed: int, result: Result) -> None:
    """Swap at every point of a save; a sample of so many of all the combinations.

    Args:
        arena, victim: where and who.
        count: races; those in which the output itself becomes a link are among them in any case.
        seed: of the sample.
        result: takes what came of it.
    """
    before = Before()
    every = []
    for name in NAMES:
        arena.afresh()
        points = 0
        for _ in range(2):  # the first time nothing is there, the second time an older output
            with before.at(10**9, lambda: None):
                victim.save(name)
            points = max(points, before.seen)
        kinds = swaps(arena)
        every += [
            (name, k, place, kind) for k in range(1, points + 1) for place in range(len(places(arena, name, os.getpid()))) for kind in kinds
        ]
    random.Random(seed).shuffle(every)
    every.sort(key=lambda case: not (case[2] == len(Path(case[0]).parts) - 1 and "link to a" in case[3]))  # the output itself first
    for name, k, place, kind in every[:count]:
        path = places(arena, name, os.getpid())[place]
        arena.afresh()
        if k % 2:
            victim.save(name)  # an older output is there
        with before.at(k, lambda path=path, kind=kind: swap(arena, path, kind)):  # type: ignore[misc]
            judge(arena, victim, name, f"{name}: {path.relative_to(arena.out)} becomes {kind} before act {k}", result)


# left to chance


LIBC = ctypes.CDLL(None)


def there_and_back(arena: Arena, path: Path, link: Path) -> None:
    """Exchange a name for a link, and the other way round, each in one step."""
    with contextlib.suppress(OSError), within(arena, path) as at:
        for _ in range(2):
            LIBC.renameat2(at, os.fsencode(path.name), AT_FDCWD, os.fsencode(link), EXCHANGE)


@contextlib.contextmanager
def hostile(arena: Arena, pid: int, seed: int) -> Iterator[None]:
    """A process that swaps and exchanges until the end; what it does is decided by the seed, when is not."""
    child = os.fork()
    if child == 0:
        try:
            rng = random.Random(seed)
            for target in LINKS:
                (arena.links / target).symlink_to(arena.outside / target)
            every = [path for name in NAMES for path in places(arena, name, pid)]
            kinds = list(swaps(arena))
            while True:
                path = rng.choice(every)
                if rng.random() < 0.2:
                    swap(arena, path, rng.choice(kinds))
                else:
                    there_and_back(arena, path, arena.links / rng.choice(LINKS))
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def random_races(arena: Arena, victim: Victim, count: int, seed: int, result: Result) -> None:
    """Save so many times, beside the hostile process."""
    secret = base64.b64encode(CANARY).decode()[:16]
    for start in range(0, count, 100):
        arena.afresh()
        with hostile(arena, os.getpid(), seed + start):
            for number in range(start, min(count, start + 100)):
                name = NAMES[number % len(NAMES)]
                judge(arena, victim, name, f"race {number} of seed {seed + start} ({name})", result)
                with contextlib.suppress(FileNotFoundError):
                    if secret in victim.look(name):
                        result.failures.append(f"race {number} of seed {seed + start} ({name}): a report shows what is outside")
        for link in arena.links.iterdir():
            shutil.rmtree(link) if link.is_dir() and not link.is_symlink() else link.unlink()  # a pipe may lie there now


def main() -> int:
    """Run the races and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--by-path", action="store_true")
    told = parser.parse_args()
    os.fsync = lambda handle: None  # no power cut here
    folders.BY_HANDLE = folders.BY_HANDLE and not told.by_path
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made")
        made.mkdir()
        found = artifacts(made)
        for name, races in [("in order", ordered), ("by chance", random_races)][: 1 if told.by_path else 2]:
            arena = Arena(Path(folder, name))
            result = Result()
            races(arena, Victim(arena, found), told.count // 2, told.seed, result)
            told_of = ", ".join(f"{outcome} {number}" for outcome, number in result.outcomes.most_common())
            print(f"{name}: {result.races} races, {len(result.failures)} failures ({told_of})")
            print("".join(f"  {text}\n" for text in result.failures[:100]), end="")
            failed += len(result.failures)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
