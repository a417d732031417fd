"""What fifty installed plugins cost a command that uses none of them: `genart --help`, and `check` of a recipe.

    python bench/plugins.py [--plugins 50] [--runs 30] [--recipe recipes/painting.toml] [--most 1.2]

The plugins are those that `genart new plugin` writes, with the metadata that pip leaves, in a folder that is put on Python's path. Runs
with and without them take turns, and processor time (user and system) is compared, since another program's work is no part of it. The
table gives medians and the median of the ratios of neighbouring runs. With --most the exit code is 1 if a ratio is above it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from genart.new import new_plugin

ROOT = Path(__file__).parent.parent


def install(count: int, site: Path, work: Path) -> None:
    """Write so many plugins into `site`, as pip would leave them there."""
    for number in range(count):
        name = f"bench_{number:02d}"
        project = new_plugin(name, set(), work)
        package = f"genart_{name}"
        (project / package).rename(site / package)
        info = site / f"{package}-0.1.0.dist-info"
        info.mkdir()
        readme = (project / "README.md").read_text(encoding="utf-8")
        head = f"Metadata-Version: 2.4\nName: {package.replace('_', '-')}\nVersion: 0.1.0\nSummary: A plugin.\n"
        more = "Requires-Python: >=3.11\nRequires-Dist: genart\nProvides-Extra: test\nDescription-Content-Type: text/markdown\n\n"
        (info / "METADATA").write_text(head + more + readme, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[genart]\n{name} = {package}\n", encoding="utf-8")
        (info / "INSTALLER").write_text("pip\n", encoding="utf-8")
        files = [*(site / package).rglob("*.py"), *info.iterdir()]
        (info / "RECORD").write_text("".join(f"{file.relative_to(site)},,\n" for file in files), encoding="utf-8")


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Processor time of one process, user and system."""
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, env=environment, stdout=nowhere, stderr=nowhere)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def listed(environment: Mapping[str, str]) -> int:
    """How many of the plugins genart finds."""
    command = [sys.executable, "-m", "genart", "plugins", "--json"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.count("genart-bench-")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "painting.toml")
    parser.add_argument("--most", type=float, help="the largest ratio that is good enough, such as 1.2")
    options = parser.parse_args()
    genart = [sys.executable, "-m", "genart"]
    commands = {"genart --help": [*genart, "--help"], f"genart check {options.recipe.name}": [*genart, "check", str(options.recipe)]}
    with tempfile.TemporaryDirectory() as folder:
        sites = {count: Path(folder) / str(count) for count in (0, options.plugins)}
        for count, site in sites.items():
            site.mkdir()
            install(count, site, Path(folder))
        path = os.environ.get("PYTHONPATH")
        environments = {
            count: {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([path] if path else [])])} for count, site in sites.items()
        }
        found = listed(environments[options.plugins])
        if found != options.plugins:
            raise SystemExit(f"genart finds {found} of {options.plugins} plugins")
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.runs + 1):
            for name, command in commands.items():
                bare, full = (cpu_seconds(command, environment) for environment in environments.values())
                taken[name].append((bare, full))
    print(f"{'processor time, median':30}{'no plugins':>12}{f'{options.plugins} plugins':>14}{'ratio':>8}")
    worst = 0.0
    for name, pairs in taken.items():
        bare, full = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
        ratio = statistics.median(full / bare for bare, full in pairs[1:])
        worst = max(worst, ratio)
        print(f"{name:30}{bare:10.3f} s{full:12.3f} s{ratio:8.2f}")
    return 1 if options.most is not None and worst > options.most else 0


if __name__ == "__main__":
    sys.exit(main())
