"""What a second process brings to a training: images a second of one of one thread and of two, with a batch for each or one for both.

    python bench/data_parallel.py [--families dcgan ...] [--resolution 64] [--batch-size 64] [--times 3]

Whole runs of `genart run`, alone and by torchrun, in turn; the figure is the median of what the training tells, without its beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

RECIPE = """
[recipe]
name = "bench"
seed = 1
[[stage]]
uses = "images.samples"
id = "photos"
crop = {resolution}
count = 512
[[stage]]
uses = "{family}.train"
kimg = {kimg}
batch_size = {batch_size}
evaluations = 0
watch = false
save = "g.safetensors"
"""
#: Share of the training that counts as its beginning.
BEGINNING = 0.3


def rate(family: str, processes: int, batch_size: int, options: argparse.Namespace) -> float:
    """Images a second, with a batch of so many for all processes together."""
    with tempfile.TemporaryDirectory() as folder:
        text = RECIPE.format(family=family, resolution=options.resolution, batch_size=batch_size, kimg=options.kimg)
        Path(folder, "recipe.toml").write_text(text, encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "genart", "run", "recipe.toml", "--json"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": folder, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told = [event for event in events if event["event"] == "metric" and "images_per_sec" in event]
    late = [event["images_per_sec"] for event in told if event["nimg"] > BEGINNING * 1000 * options.kimg]
    return statistics.median(late)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["dcgan"])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--kimg", type=float, default=4.0)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    size = options.batch_size
    columns = ("family", f"one, {size}", f"two, {size} each", "ratio", f"two, {size} together", "ratio")
    table = Table(*columns, title=f"images/s at {options.resolution} px, one thread each; pictures in a batch")
    for family in options.families:
        runs = [tuple(rate(family, *kind, options) for kind in ((1, size), (2, 2 * size), (2, size))) for _ in range(options.times)]
        one, each, together = (statistics.median(column) for column in zip(*runs, strict=True))
        ratios = [f"{statistics.median(run[place] / run[0] for run in runs):.2f}" for place in (1, 2)]
        table.add_row(family, f"{one:.0f}", f"{each:.0f}", ratios[0], f"{together:.0f}", ratios[1])
    Console().print(table)


if __name__ == "__main__":
    main()
