"""Give every file of the corpus to its command and print a table: `python -m tests.corpus [--group NAME] [--only TEXT]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.faults.forge import Forge

from .law import Court, Tried
from .make import COUNTS, corpus

HEADS = ("files", "used", "left out", "exit 2", "exit 3", "exit 7", "exit 9", "most s", "most MB", "failed")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", action="append", choices=COUNTS, help="this row of the table alone")
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    options = parser.parse_args()
    cases = [case for case in corpus() if case.group in (options.group or COUNTS) and options.only in case.name]
    forge, rows, began = Forge(), defaultdict[str, list[Tried]](list), time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        court = Court(forge, Path(work))
        for case in cases:
            tried = court.tried(case)
            rows[case.group].append(tried)
            for text in tried.wrong:
                print(f"{case}: {text}", file=sys.stderr, flush=True)
    forge.close()
    print(f"{'group':24}" + "".join(f"{head:>9}" for head in HEADS))
    for group, found in rows.items():
        print(f"{group:24}" + _row(found))
    failures = sum(bool(tried.wrong) for found in rows.values() for tried in found)
    print(f"{len(cases)} files, {failures} failures, {time.monotonic() - began:.0f} s")
    raise SystemExit(bool(failures))


def _row(found: list[Tried]) -> str:
    codes = [tried.outcome.code for tried in found]
    left_out = sum(tried.outcome.code == 0 and "skipped" in tried.outcome.err for tried in found)
    most = f"{max(tried.outcome.cpu_sec for tried in found):.1f}", max(tried.peak_kb for tried in found) >> 10
    others = (codes.count(code) for code in (2, 3, 7, 9))
    numbers = (len(found), codes.count(0) - left_out, left_out, *others, *most, sum(bool(tried.wrong) for tried in found))
    return "".join(f"{number:>9}" for number in numbers)


if __name__ == "__main__":
    main()
