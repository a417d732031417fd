"""What a pipe costs: three `genart apply` in a pipe against the same recipe in one process, and the memory of a filter in a long stream.

    python bench/pipes.py [--chain paint] [--chain light] [--runs 3] [--frames 100000]

A chain is run with all its pictures and with one, in a store of its own each time and in turn. The difference is what the pictures
cost; what one picture takes is the start-up, torch above all, which a pipe pays three times but at the same moment. Both end in the
same pictures, which is checked: the pipe as PNGs in one file, the recipe in the store. The long stream is one PNG of 64 px repeated.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from genart.store import Store
from genart.streams import Bytes, read_pictures

#: Stages of each chain with their parameters, and how many pictures go through it.
CHAINS: dict[str, tuple[int, list[tuple[str, dict[str, Any]]]]] = {
    "paint": (80, [("images.samples", {"crop": 256}), ("style.instant", {"preset": 19}), ("images.resize", {"scale": 0.5})]),
    "light": (3000, [("images.samples", {"crop": 64}), ("augment", {}), ("images.resize", {"scale": 2})]),
}
#: What `genart apply` fills a folder with.
STREAM = "stream.pngs"


def environment(work: Path) -> dict[str, str]:
    """An empty store, so that nothing is found in it."""
    store = tempfile.mkdtemp(dir=work)
    return {**os.environ, "XDG_CACHE_HOME": store}


def run_pipe(stages: list[tuple[str, dict[str, Any]]], count: int, work: Path) -> tuple[float, Path]:
    """Run a chain as a pipe; return the seconds, and the file that it ends in."""
    parts = []
    for number, (stage, params) in enumerate(stages):
        given = {**params, **({"count": count} if number == 0 else {})}
        words = [f"--{name}={value}" for name, value in given.items()]
        parts.append(" ".join([sys.executable, "-m", "genart", "apply", stage, *words, "-q"]))
    began = time.perf_counter()
    line = f"set -o pipefail; {' | '.join(parts)} -o - > {STREAM}"
    subprocess.run(["bash", "-c", line], check=True, cwd=work, env=environment(work), stdin=subprocess.DEVNULL)
    return time.perf_counter() - began, work / STREAM


def run_recipe(stages: list[tuple[str, dict[str, Any]]], count: int, work: Path) -> tuple[float, Path]:
    """Run a chain as a recipe; return the seconds, and the store that it ends in."""
    text = '[recipe]\nname = "bench"\n'
    for number, (stage, params) in enumerate(stages):
        given = {"uses": f'"{stage}"', **params, **({"count": count} if number == 0 else {})}
        text += "[[stage]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items())
    (work / "r.toml").write_text(text)
    variables = environment(work)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "genart", "run", "r.toml", "-q"], check=True, cwd=work, env=variables)
    return time.perf_counter() - began, Path(variables["XDG_CACHE_HOME"], "genart")


def same_pictures(stream: Path, store: Path, last: str) -> bool:
    """True if the pipe gave the pixels that the recipe gave."""
    entry = next(entry for entry in Store(store).entries() if entry.manifest["stage"] == last)
    kept: Any = entry.artifact("output")
    with open(stream, "rb") as file:
        sent = [batch.array for batch in read_pictures(Bytes(file.read), print).batches]
    return bool((np.concatenate(sent) == kept.array()).all())


def chain(name: str, runs: int, work: Path) -> None:
    """Print the row of a chain."""
    count, stages = CHAINS[name]
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(runs):
        for pictures in (1, count):
            seconds, stream = run_pipe(stages, pictures, work)
            taken.setdefault(("pipe", pictures), []).append(seconds)
            seconds, store = run_recipe(stages, pictures, work)
            taken.setdefault(("recipe", pictures), []).append(seconds)
    median = {key: statistics.median(values) for key, values in taken.items()}
    start = {way: median[way, 1] for way in ("pipe", "recipe")}
    cost = {way: median[way, count] - start[way] for way in ("pipe", "recipe")}
    same = same_pictures(stream, store, stages[-1][0])
    print(
        f"{name:8}{count:9}{start['recipe']:12.2f}{start['pipe']:10.2f}{cost['recipe']:12.2f}{cost['pipe']:10.2f}"
        f"{cost['pipe'] / cost['recipe']:8.2f}{median['pipe', count] / median['recipe', count]:12.2f}{'yes' if same else 'NO':>7}",
        flush=True,
    )


def rss_mb(pid: int) -> float:
    """Memory of a process that is no file's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1000


def one_png(work: Path) -> bytes:
    """A PNG of 64 pixels, as a stage writes it."""
    words = ["images.samples", "--crop=64", "--count=1", "-q", "-o", "-"]
    done = subprocess.run([sys.executable, "-m", "genart", "apply", *words], check=True, capture_output=True, env=environment(work))
    # without the number of pictures, of which there will be more
    return subprocess.run([sys.executable, "-c", STRIP], input=done.stdout, check=True, capture_output=True).stdout


STRIP = "import sys, io; from PIL import Image; Image.open(io.BytesIO(sys.stdin.buffer.read())).save(sys.stdout.buffer, 'PNG')"


def long_stream(frames: int, work: Path, *words: str) -> None:
    """Print the memory of a stage while so many frames go through it."""
    png = one_png(work)
    command = [sys.executable, "-m", "genart", "apply", *words, "-q", "-i", "-", "-o", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(work))
    assert process.stdin is not None
    assert process.stdout is not None
    given, out = process.stdin, process.stdout

    def feed() -> None:
        for _ in range(frames):
            given.write(png)
        given.close()

    threading.Thread(target=feed).start()
    began, memory = time.perf_counter(), []
    for number, _ in enumerate(read_pictures(Bytes(out.read1), print).batches):
        if number % max(1, frames // 100) == 0 and number >= frames // 50:
            memory.append(rss_mb(process.pid))
    seconds = time.perf_counter() - began
    if process.wait():
        raise SystemExit(f"{words[0]} failed")
    print(
        f"{words[0]:16}{frames:9}{seconds:10.1f}{frames / seconds:10.0f}"
        f"{memory[0]:12.1f}{max(memory):10.1f}{max(memory) - memory[0]:10.1f}",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", action="append", choices=sorted(CHAINS), default=None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, default=100_000, help="0: leave the long stream out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            print(f"{'':17}{'start-up, s':>22}{'pictures, s':>22}{'':8}{'start-up':>12}{'same':>7}")
            print(
                f"{'chain':8}{'pictures':>9}{'recipe':>12}{'pipe':>10}{'recipe':>12}{'pipe':>10}{'ratio':>8}{'included':>12}{'pixels':>7}"
            )
            for name in options.chain or CHAINS:
                chain(name, options.runs, Path(folder))
        if options.frames:
            print(f"{'stage':16}{'frames':>9}{'s':>10}{'frames/s':>10}{'MB at 2 %':>12}{'MB most':>10}{'growth':>10}")
            long_stream(options.frames, Path(folder), "images.resize", "--scale=0.5")


if __name__ == "__main__":
    main()
