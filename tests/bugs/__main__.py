"""Plant bug after bug into a copy of the code, and see whether the tests catch it: `python -m tests.bugs [NAME...]`.

Prints a table, and ends in 1 if one gets away. A bug is caught when a test fails for it: a test that cannot be collected, a broken
import or a fixture that fails catches nothing. First the tests run without any bug: what fails then proves nothing either.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .table import BUGS, Bug

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", ".import_linter*", "bench", "out", "dist")
#: How a failure is summed up that says nothing about the bug.
NO_CATCH = re.compile(r" - (?:ImportError|ModuleNotFoundError|SyntaxError|IndentationError|NameError)\b")


def main() -> None:
    """Plant the bugs, all or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names; all by default")
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a bug first")
    options = parser.parse_args()
    bugs = [bug for bug in BUGS if not options.names or any(name in bug.name for name in options.names)]
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        if not options.no_control:
            check(copy, bugs)
        away = [bug.name for bug in bugs if not caught(copy, bug)]
    print(f"{len(bugs) - len(away)} of {len(bugs)} bugs caught" + "".join(f"\n  got away: {name}" for name in away))
    raise SystemExit(bool(away))


def check(copy: Path, bugs: list[Bug]) -> None:
    """Run every test that is named, without a bug.

    Raises:
        SystemExit: if one fails.
    """
    tests = sorted({test for bug in bugs for test in bug.tests})
    done = run(copy, tests, "-q")
    print(f"without a bug: {done.stdout.rstrip().splitlines()[-1]}", flush=True)
    if done.returncode:
        raise SystemExit(f"the tests fail without a bug\n{done.stdout[-3000:]}")


def caught(copy: Path, bug: Bug) -> bool:
    """Plant one bug, run its tests, and take it out again."""
    path = copy / bug.file
    whole = path.read_text(encoding="utf-8")
    began = time.monotonic()
    path.write_text(bug.planted(whole), encoding="utf-8")
    try:
        done = run(copy, bug.tests, "-q", "-x")
    finally:
        path.write_text(whole, encoding="utf-8")
    failed = next((line for line in done.stdout.splitlines() if line.startswith("FAILED ")), "")
    good = done.returncode == 1 and bool(failed) and not NO_CATCH.search(failed)
    told = failed.removeprefix("FAILED ").partition(" - ")[0] if good else (done.stdout + done.stderr).strip().splitlines()[-1]
    print(f"{'caught' if good else 'AWAY':8}{bug.name:62}{time.monotonic() - began:6.0f} s  {told}", flush=True)
    return good


def run(copy: Path, tests: tuple[str, ...] | list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the copy, on the code of the copy."""
    told = {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'plugins'}", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags, *tests]
    return subprocess.run(command, cwd=copy, env={**os.environ, **told}, capture_output=True, text=True, errors="replace")


if __name__ == "__main__":
    main()
