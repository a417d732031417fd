"""How long torch's threads wait for one another: `python bench/spin.py [--rounds 3]`.

A generator's forward and backward pass has a hundred places at which all threads wait for the last. While they wait, they look again and
again whether it has come (GNU OpenMP: GOMP_SPINCOUNT times), and sleep then. Where genart has the machine for itself, looking is
fastest; where another program wants the cores, it keeps the last thread from coming. The table has the time of a pass at several
counts, alone and beside as many busy programs as there are cores, in turn, and each beside OpenMP's default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

from genart.cli import SPINS

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    **{count: {"GOMP_SPINCOUNT": count} for count in ("1000", "3000", SPINS, "30000")},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
BUSY = "while True: pass"
PASS = """
import time, torch
from genart_stylegan.networks import Generator
G = Generator(32, 8, 64).to(memory_format=torch.channels_last)
def once():
    G(torch.randn(16, 64)).sum().backward()
for _ in range(4):
    once()
began, count = time.perf_counter(), 0
while time.perf_counter() - began < 2:
    once()
    count += 1
print((time.perf_counter() - began) / count * 1000)
"""


def milliseconds(setting: dict[str, str]) -> float:
    """Time of a pass, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | setting
    return float(subprocess.run([sys.executable, "-c", PASS], check=True, capture_output=True, text=True, env=environment).stdout)


def medians(rounds: int) -> dict[str, float]:
    """Time of a pass for each setting."""
    taken: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(rounds):
        for name, setting in SETTINGS.items():
            taken[name].append(milliseconds(setting))
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    alone = medians(rounds)
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        busy = medians(rounds)
    finally:
        for other in others:
            other.kill()
    print(f"{'looks':10}{'alone, ms':>12}{'of default':>12}{'beside others, ms':>20}{'of default':>12}")
    for name in SETTINGS:
        print(f"{name:10}{alone[name]:12.1f}{alone[name] / alone['default']:12.2f}{busy[name]:20.1f}{busy[name] / busy['default']:12.2f}")


if __name__ == "__main__":
    main()
