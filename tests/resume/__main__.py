"""Every stage that is resumed, killed everywhere: `python -m tests.resume [--only NAME] [--sample]`; prints a table, and what failed."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.faults.forge import Forge

from .matrix import WORKS, Matrix


def main() -> None:
    """Run the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[work.name for work in WORKS])
    parser.add_argument("--sample", action="store_true", help="the cases of the normal test run alone")
    options = parser.parse_args()
    forge, cases, failures = Forge(), 0, 0
    print(f"{'stage':24}{'units':>8}{'cases':>8}{'kills':>8}{'failed':>8}{'s':>8}", flush=True)
    for work in WORKS:
        if options.only and work.name not in options.only:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            matrix = Matrix(work, forge, Path(folder))
            chosen = [work.sample()] if options.sample else list(work.every_case(len(matrix.units)))
            failed = {str(case): wrong for case in chosen if (wrong := matrix.wrong(case))}
            if matrix.alone() != matrix.undisturbed.files:
                failed["undisturbed"] = [f"{work.name}: other bytes with checkpoints than without"]
        numbers = (len(matrix.units), len(chosen), sum(len(case.kills) for case in chosen), len(failed), round(time.monotonic() - began))
        print(f"{work.name:24}" + "".join(f"{number:8}" for number in numbers), flush=True)
        print("".join(f"{line}\n" for wrong in failed.values() for line in wrong), end="", flush=True)
        cases, failures = cases + len(chosen), failures + len(failed)
    print(f"{cases} cases, {failures} failures")
    forge.close()
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
