"""Every trouble that the world can bring: `python -m tests.faults.limits [--part NAME] [--sample]`; prints a table, and what failed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from . import test_clock, test_limits, test_pipes, test_places, test_signals
from .forge import Forge
from .mounts import namespace

PARTS = (*test_clock.PARTS, *test_limits.PARTS, *test_places.PARTS, *test_pipes.PARTS, *test_signals.PARTS)


def main() -> None:
    """Run all parts, where it may be in a mount namespace of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", help="only parts whose names begin so")
    parser.add_argument("--sample", action="store_true", help="what the ordinary run of the tests meets")
    parser.add_argument("--here", action="store_true", help="this process may mount")
    options = parser.parse_args()
    words = None if options.here else namespace()
    if words is not None:
        os.execvp(words[0], [*words, sys.executable, "-m", "tests.faults.limits", *sys.argv[1:], "--here"])
    parts = [*PARTS, *((*test_limits.SPACE, *test_places.SPACE) if options.here else ())]
    forge, cases, failures = Forge(), 0, 0
    print(f"{'part':32}{'cases':>8}{'missed':>8}{'failed':>8}{'s':>8}")
    for part in parts:
        if options.part and not part.name.startswith(tuple(options.part)):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            report = part.tried(forge, Path(work), every=not options.sample)
        numbers = (report.cases, report.missed, len(report.failures), round(time.monotonic() - began))
        print(f"{part.name:32}" + "".join(f"{number:8}" for number in numbers), flush=True)
        print("\n".join(report.failures), end="\n" if report.failures else "", flush=True)
        cases, failures = cases + report.cases, failures + len(report.failures)
    if not options.here:
        print("nothing may be mounted here: full and read-only file systems were left out")
    print(f"{cases} cases, {failures} failures")
    forge.close()
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
