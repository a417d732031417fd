"""Every fault at every system call: `python -m tests.faults [--step N] [--recovery N]`; prints a table, and what failed."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from .campaign import ERRORS, Attack, Report
from .forge import Forge
from .scenarios import SCENARIOS


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1, help="hit each N-th place only")
    parser.add_argument("--scenario", action="append", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument(
        "--recovery", type=int, default=0, metavar="N", help="hit N places of the run that follows a kill at each place instead"
    )
    parser.add_argument("--kinds", nargs="*", default=["KILL", *ERRORS])
    parser.add_argument("--reading", action="store_true", help="also hit calls that only read")
    options = parser.parse_args()
    forge, total = Forge(), Report()
    print(f"{'scenario':26}{'places':>8}{'faults':>8}{'missed':>8}{'failed':>8}{'s':>8}")
    for scenario in SCENARIOS:
        if options.scenario and scenario.name not in options.scenario:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            attack, report = Attack(scenario, forge, Path(work), reading=options.reading), Report()
            if options.recovery:
                attack.suffer_again(attack.calls[:: options.step], options.kinds, options.recovery, report)
            for lasting in () if options.recovery else (False, True):
                kinds = [kind for kind in options.kinds if not (lasting and kind == "KILL")]
                attack.suffer(list(attack.points(kinds, step=options.step, lasting=lasting)), report)
        numbers = (len(attack.calls), report.cases, report.missed, len(report.failures), round(time.monotonic() - began))
        print(f"{scenario.name:26}" + "".join(f"{number:8}" for number in numbers), flush=True)
        print("\n".join(report.failures), end="\n" if report.failures else "", flush=True)
        total.cases += report.cases
        total.failures += report.failures
    print(f"{total.cases} faults, {len(total.failures)} failures")
    forge.close()
    raise SystemExit(bool(total.failures))


if __name__ == "__main__":
    main()
