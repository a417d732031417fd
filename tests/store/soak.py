"""Tiny runs on one store with a size cap, each with one random fault, for a long time: `python -m tests.store.soak --minutes M`.

After each fault the same command is run again and has to give the bytes of an undisturbed run; now and then it is run in this process,
which has to stay as large as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from genart.store import Store
from tests.conftest import tree
from tests.faults.campaign import DOCUMENTED, ERRORS
from tests.faults.forge import BY_HANDLE, BY_PATH, Call, Fault, Forge, Outcome
from tests.faults.scenarios import FILM, RUN, TRAIN, run_words, write_recipe

from .damage import wrong_in

RECIPES = {"pictures": RUN, "training": TRAIN, "film": FILM}
SEEDS = 12
#: Bytes that may stay in the store after a clean-up: about a third of what all recipes give.
CAP = 60_000
#: Rounds until everything has been loaded and every cache is full.
WARM_UP = 100
#: What a process may grow by, of its size after the warm-up, and bytes more.
GROWTH, SLACK = 0.03, 8 << 20
PROCESSES = ("this process", "the forge")


class Soak:
    """One store, many runs.

    Args:
        work: a folder for everything.
        seed: of the random choices.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.draw, self.forge = work, random.Random(seed), Forge()
        self.folder = work / "run"
        self.folder.mkdir()
        self.store = self.folder / "store" / "genart"
        self.wanted: dict[tuple[str, int], dict[str, bytes]] = {}
        self.calls: dict[str, tuple[Call, ...]] = {}
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.largest = 0
        self.first: list[tuple[int, int]] = []
        self.libraries: set[Path] = set()  # what they keep in the system's temporary folder once they are loaded

    def expected(self, name: str, seed: int) -> dict[str, bytes]:
        """What an undisturbed run leaves, from a store of its own."""
        if (name, seed) not in self.wanted:
            folder = self.work / "undisturbed"
            folder.mkdir()
            write_recipe(folder, RECIPES[name], seed)
            done = self.forge.run(folder, *run_words("--out", f"out-{name}"), watch=(*BY_PATH, *BY_HANDLE))
            assert done.code == 0, done.err
            self.calls[name] = done.calls
            self.wanted[name, seed] = tree(folder / f"out-{name}")
            shutil.rmtree(folder)
        return self.wanted[name, seed]

    def fault(self, name: str) -> Fault:
        """One kill or error, at one of the calls of a first run; rather an early one, since a later run makes fewer."""
        calls = self.calls[name]
        return Fault(calls[int(self.draw.triangular(0, len(calls), 0))], self.draw.choice(("KILL", "KILL", *ERRORS)))

    def round(self) -> None:
        """A run with a fault, the same again, a clean-up, and a look at what is there."""
        name, seed = self.draw.choice(sorted(RECIPES)), self.draw.randrange(SEEDS)
        wanted, fault = self.expected(name, seed), self.fault(name)
        where = f"round {self.counts['rounds']}, {name} {seed}, {fault}"
        write_recipe(self.folder, RECIPES[name], seed)
        if self.draw.random() < 0.7:
            shutil.rmtree(self.folder / f"out-{name}", ignore_errors=True)
        self.counts["rounds"] += 1
        self.counts["runs"] += 3
        self.judge(self.forge.run(self.folder, *run_words("--out", f"out-{name}"), fault=fault), fault, where)
        if self.draw.random() < 0.3:
            code, err = self.run_here(*run_words("--out", f"out-{name}"))
        else:
            done = self.forge.run(self.folder, *run_words("--out", f"out-{name}"))
            code, err = done.code, done.err
        if code:
            self.failures.append(f"{where}: the same command again ended with {code}: {err[-500:]}")
        elif tree(self.folder / f"out-{name}") != wanted:
            self.failures.append(f"{where}: other bytes")
        self.failures += [f"{where}: {text}" for text in wrong_in(self.store)]
        code, err = self.run_here("cache", "gc", "--max-size", f"{CAP}B")
        size = sum(entry.bytes for entry in Store(self.store).entries())
        self.largest = max(self.largest, size)
        if code or size > CAP:
            self.failures.append(f"{where}: after a clean-up ({code}) the store has {size} bytes")

    def judge(self, done: Outcome, fault: Fault, where: str) -> None:
        """Count a fault that hit, and say what was not in order right after it."""
        if done.hit is None or not done.aimed:
            self.counts["missed"] += 1
            if done.code and done.hit is None:
                self.failures.append(f"{where}: missed, and ended with {done.code}: {done.err[-500:]}")
            return
        self.counts["faults"] += 1
        self.counts[fault.kind] += 1
        unread = done.code == 2 and "r.toml" in done.hit
        if (done.code != -9 if fault.kind == "KILL" else done.code not in DOCUMENTED and not unread) or "Traceback" in done.err:
            self.failures.append(f"{where} ({done.hit}): ended with {done.code}: {done.err[-500:]}")

    def run_here(self, *words: object) -> tuple[int, str]:
        """Run a command in this process, as a program that calls genart again and again would."""
        from genart.cli import main

        told = io.StringIO()
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
                main([str(word) for word in words])
        except SystemExit as end:
            return int(end.code or 0), told.getvalue()
        finally:
            os.chdir(before)

    def sizes(self) -> list[tuple[int, int]]:
        """(bytes in memory, open files) of this process and of the forge."""
        return [measured(pid) for pid in (os.getpid(), self.forge._process.pid)]

    def temporary(self) -> list[Path]:
        """What is in temporary folders: of the store, of the output folder, of the system."""
        hidden = [path for path in self.folder.rglob("*") if ".tmp" in path.name or ".old" in path.name]
        held = [path for kind in ("tmp", "scratch", "work") for path in (self.store / kind).rglob("*")]
        return [path for path in (*hidden, *held, *Path(tempfile.gettempdir()).rglob("*")) if path not in self.libraries]

    def table(self, seconds: float) -> str:
        """All figures."""
        kinds = ", ".join(f"{kind} {self.counts[kind]}" for kind in ("KILL", *ERRORS))
        left = sum(path.lstat().st_size for path in self.temporary())
        lines = [
            f"{seconds / 60:.1f} min: {self.counts['runs']} runs, {self.counts['faults']} faults ({kinds}), {self.counts['missed']} missed",
            f"store after clean-ups: at most {self.largest} of {CAP} bytes; in temporary folders: {left} bytes",
        ]
        for name, before, now in zip(PROCESSES, self.first, self.sizes(), strict=bool(self.first)):
            lines.append(f"{name}: {before[0] >> 20} -> {now[0] >> 20} MiB, {before[1]} -> {now[1]} open files")
        return "\n".join([*lines, f"{len(self.failures)} failures"])

    def grown(self) -> list[str]:
        """What has not stayed as it was."""
        wrong = [f"left in a temporary folder: {path}" for path in self.temporary()]
        for name, before, now in zip(PROCESSES, self.first, self.sizes(), strict=True):
            if now[0] > before[0] * (1 + GROWTH) + SLACK:
                wrong.append(f"{name} grew from {before[0]} to {now[0]} bytes")
            if now[1] > before[1]:
                wrong.append(f"{name} had {before[1]} open files, and has {now[1]}")
        return wrong

    def run(self, minutes: float) -> list[str]:
        """Go on for so long, at least until everything is warm and half as much again.

        Returns:
            What was wrong.
        """
        began = told = time.monotonic()
        while time.monotonic() - began < 60 * minutes or self.counts["rounds"] < 1.5 * WARM_UP:
            self.round()
            if self.counts["rounds"] == WARM_UP:
                self.first, self.libraries = self.sizes(), set(Path(tempfile.gettempdir()).rglob("*"))
            if self.failures:
                break
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(self.table(told - began), flush=True)
        if self.first:
            self.failures += self.grown()
        print(self.table(time.monotonic() - began))
        self.forge.close()
        return self.failures


def measured(pid: int) -> tuple[int, int]:
    """(bytes in memory that are its own, open files) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kilobytes << 10, len(os.listdir(f"/proc/{pid}/fd"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "tmp").mkdir()
        os.environ.update({"TMPDIR": f"{work}/tmp", "XDG_CACHE_HOME": f"{work}/run/store", "OMP_NUM_THREADS": "1"})
        tempfile.tempdir = None  # so that it is looked up again
        failures = Soak(Path(work), options.seed).run(options.minutes)
    print("\n".join(failures))
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
