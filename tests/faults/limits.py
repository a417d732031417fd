"""Every trouble that the world can bring: `python -m tests.faults.limits [--part NAME] [--sample]`; prints a table, and what failed."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from . import test_pipes, test_signals
from .forge import Forge

MODULES = (test_pipes, test_signals)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", help="only parts whose names begin so")
    parser.add_argument("--sample", action="store_true", help="what the ordinary run of the tests meets")
    options = parser.parse_args()
    forge, cases, failures = Forge(), 0, 0
    print(f"{'part':32}{'cases':>8}{'missed':>8}{'failed':>8}{'s':>8}")
    for part in (part for module in MODULES for part in module.PARTS):
        if options.part and not part.name.startswith(tuple(options.part)):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            report = part.tried(forge, Path(work), every=not options.sample)
        numbers = (report.cases, report.missed, len(report.failures), round(time.monotonic() - began))
        print(f"{part.name:32}" + "".join(f"{number:8}" for number in numbers), flush=True)
        print("\n".join(report.failures), end="\n" if report.failures else "", flush=True)
        cases, failures = cases + report.cases, failures + len(report.failures)
    print(f"{cases} cases, {failures} failures")
    forge.close()
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
