"""How fast the command line starts: `genart --help`, `check`, and a fully cached run, against bare imports.

    python bench/startup.py [--recipe recipes/painting.toml] [--runs 15]

The commands are run in turn, so that a slow moment of the machine hits all of them; medians are compared. The cached run
needs a run of the recipe before it, with the store and the output folder left in place.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/painting.toml"))
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    genart = str(Path(sys.executable).with_name("genart"))
    commands = {
        "bare imports": [sys.executable, "-c", "import typer, rich, pydantic, pluggy"],
        "genart --help": [genart, "--help"],
        "genart check": [genart, "check", str(options.recipe)],
        "genart run, all cached": [genart, "run", str(options.recipe)],
    }
    subprocess.run(commands["genart run, all cached"], check=True)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.runs + 1):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    print(f"{'command':26}{'median s':>10}{'x imports':>11}{'x --help':>10}")
    for name, median in medians.items():
        print(f"{name:26}{median:10.3f}{median / medians['bare imports']:11.2f}{median / medians['genart --help']:10.2f}")


if __name__ == "__main__":
    main()
