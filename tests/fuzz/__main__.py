"""Fuzz with atheris: `python -m tests.fuzz TARGET... [--seconds N] [--seed S]`, or `--all --minutes M`.

Prints a table, and ends in 1 on failure. Each target runs in a process of its own, which goes on until its time is up or an input breaks
it. Corpora begin with files that are made on the spot, and go with the run unless `--keep` names a folder. An input that breaks a target
is printed for `tests/fuzz/crashes.py`.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Bytes of memory that a target may have in all: what Python, numpy and the decoders take is a fifth of it.
MEMORY_MB = 1024
#: Seconds after which an input counts as endless. The limit proper is of processor time, in `targets.attempt`.
ENDLESS_SEC = 120


@dataclass(frozen=True)
class Outcome:
    """What became of fuzzing one target."""

    executions: int
    seconds: float
    corpus: int
    added: int
    memory_mb: int
    failure: str

    def row(self, name: str) -> str:
        """A line of the table."""
        rate = round(self.executions / max(self.seconds, 1e-9))
        verdict = "failed" if self.failure else "passed"
        return f"{name:12}{self.executions:12,}{rate:10,}{self.seconds:8.0f}{self.corpus:8}{self.added:8}{self.memory_mb:8}  {verdict}"


HEAD = f"{'target':12}{'executions':>12}{'per s':>10}{'s':>8}{'corpus':>8}{'new':>8}{'MB':>8}"


def main() -> None:
    """Run the campaign, or one target in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--all", action="store_true", help="every target")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--minutes", type=float, help="for all of them together, by their shares")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder of the corpora")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        fuzz(options.targets[0], options.here, options.seconds, options.seed)
    raise SystemExit(campaign(options))


def campaign(options: argparse.Namespace) -> int:
    """Fuzz target after target; 1 if one failed, 2 if there is nothing to do."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is missing: pip install 'genart[fuzz]' (Linux)", file=sys.stderr)
        return 2
    from .targets import TARGETS

    names = list(TARGETS) if options.all else options.targets
    if not names or not set(names) <= set(TARGETS):
        print(f"targets: {', '.join(TARGETS)}; or --all", file=sys.stderr)
        return 2
    shares = sum(TARGETS[name].share for name in names)
    total, failed, began = 0, 0, time.monotonic()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            seconds = options.minutes * 60 * TARGETS[name].share / shares if options.minutes else options.seconds
            outcome = fuzzed(name, (options.keep or Path(place)) / name, seconds, options.seed)
            print(outcome.row(name), outcome.failure, sep="\n" if outcome.failure else "", flush=True)
            total, failed = total + outcome.executions, failed + bool(outcome.failure)
    print(f"{total:,} executions in {time.monotonic() - began:.0f} s, seed {options.seed}, {failed} targets failed")
    return int(failed > 0)


def fuzzed(name: str, folder: Path, seconds: float, seed: int) -> Outcome:
    """Fuzz one target in a process of its own, and read what it says at its end."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--here", str(folder), f"--seconds={seconds}", f"--seed={seed}"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    told = {key: int(value) for key, value in re.findall(r"^stat::(\w+): +(\d+)$", done.stdout, re.MULTILINE)}
    failure = "" if done.returncode == 0 and "number_of_executed_units" in told else told_of(done, folder)
    return Outcome(
        executions=told.get("number_of_executed_units", 0),
        seconds=time.monotonic() - began,
        corpus=len(list((folder / "corpus").iterdir())),
        added=told.get("new_units_added", 0),
        memory_mb=told.get("peak_rss_mb", 0),
        failure=failure,
    )


def told_of(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """How a target ended that should not have, and which inputs did it."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("#", "stat::", "INFO", "MS:", "0x"))]
    inputs = [f"    {path.name}: {base64.b85encode(path.read_bytes()).decode()}" for path in sorted(folder.glob("*-*"))]
    return "\n".join([f"  ended with {done.returncode}", *(f"    {line}" for line in lines[-25:]), *inputs])


def fuzz(name: str, folder: Path, seconds: float, seed: int) -> None:
    """In the child: fuzz until the time is up. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["genart", "genart_images", "tests.fuzz"]):
        from .targets import PLANTED, TARGETS, attempt

    target = {**TARGETS, "planted": PLANTED}[name]
    for number, data in enumerate(target.seeds()):
        (folder / "corpus" / f"seed-{number:03}").write_bytes(data)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}", f"-max_len={target.longest}", f"-rss_limit_mb={MEMORY_MB}"]
    options += [f"-timeout={ENDLESS_SEC}", "-print_final_stats=1", f"-artifact_prefix={folder}/", "-verbosity=0"]
    if target.words:
        dictionary = folder / "words.txt"
        dictionary.write_text(
            "".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in target.words if len(word) <= 64)
        )
        options.append(f"-dict={dictionary}")
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], lambda data: attempt(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
