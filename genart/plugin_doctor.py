"""What is wrong with the plugins: each is loaded in a process of its own, then all in one, and whoever breaks the others is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from .plugins import Plugin

#: Seconds after which a plugin that is still loading counts as one that hangs.
PATIENCE = 60.0
#: Seconds of import from which on a plugin is called slow: `genart --help` takes about a quarter of that.
SLOW = 0.5


@dataclass
class Finding:
    """What was seen of one plugin.

    Attributes:
        name: of the plugin.
        origin: distribution or file that brings it.
        version: of the distribution.
        file: where its code is.
        seconds: its import took, beyond that of genart itself.
        stages: names of what it brings.
        problem: why it cannot be used.
        notes: what does not stop it.
    """

    name: str
    origin: str
    version: str
    file: str = ""
    seconds: float = 0.0
    stages: list[str] = field(default_factory=list)
    problem: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What was seen of all plugins, and of all together."""

    plugins: list[Finding]
    culprits: list[str] = field(default_factory=list)
    together: str | None = None

    @property
    def broken(self) -> bool:
        """True if something cannot be used."""
        return self.together is not None or any(item.problem for item in self.plugins)

    @property
    def advice(self) -> list[str]:
        """What to do, in lines."""
        lines = [f"{item.name}: {item.problem}\n  genart plugins {item.name} shows where" for item in self.plugins if item.problem]
        lines += [f"{item.name}: {note}" for item in self.plugins for note in item.notes]
        if self.together:
            lines.append(f"each works alone, not all together: {self.together}; the cause is {' with '.join(self.culprits)}")
        return lines or [f"all {len(self.plugins)} plugins work"]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"plugins": [vars(item) for item in self.plugins], "together": self.together, "culprits": self.culprits}

    def table(self) -> Table:
        """For people."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, justify in (("plugin", "left"), ("from", "left"), ("import", "right"), ("stages", "right"), ("", "left")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for item in self.plugins:
            state = f"[red]{escape(item.problem)}[/]" if item.problem else "[yellow]see below[/]" if item.notes else "[green]works[/]"
            origin = escape(f"{item.origin} {item.version}".strip())
            table.add_row(f"[cyan]{escape(item.name)}[/]", origin, f"{item.seconds * 1000:.0f} ms", str(len(item.stages)), state)
        return table


def examine(files: Sequence[Path] = ()) -> Findings:
    """Load every plugin, alone and together, in processes of their own: one that crashes or hangs hurts nobody.

    Args:
        files: single-file plugins.
    """
    from .plugins import Plugins

    resolved = [str(file.absolute()) for file in files]
    found = []
    for plugin in sorted(Plugins().plugins.values(), key=lambda item: item.name):
        found.append(_alone(plugin))
    for file in files:
        told = _loaded([], [str(file.absolute())])
        found.append(_finding(Finding(file.stem, str(file), ""), told, file.stem))
    sound = [item.name for item in found if not item.problem and item.name not in {file.stem for file in files}]
    together = _trouble(_loaded(sound, resolved))
    culprits = [] if together is None else _culprits(sound, resolved)
    return Findings(found, culprits, together)


def _alone(plugin: Plugin) -> Finding:
    finding = Finding(plugin.name, plugin.origin, plugin.version, problem=plugin.problem)
    return finding if plugin.problem else _finding(finding, _loaded([plugin.name]), plugin.name)


def _finding(finding: Finding, told: dict[str, Any] | str, name: str) -> Finding:
    if isinstance(told, str):
        finding.problem = told
        return finding
    row = told["plugins"].get(name, {"problem": "it was not found again"})
    finding.problem, finding.notes = row["problem"], row.get("notes", [])
    finding.file, finding.stages, finding.seconds = row.get("file", ""), row.get("stages", []), row.get("seconds", 0.0)
    if finding.seconds > SLOW:
        finding.notes.append(
            f"its import takes {finding.seconds:.1f} s: declare in the module, and import what is heavy where the work is done"
        )
    if row.get("heavy"):
        finding.notes.append(f"its import loads {', '.join(row['heavy'])}, which every command that names it then waits for")
    return finding


def _trouble(told: dict[str, Any] | str) -> str | None:
    """Why a set of plugins does not load, or None."""
    if isinstance(told, str):
        return told
    return next((f"{name}: {row['problem']}" for name, row in told["plugins"].items() if row["problem"]), None)


def _culprits(names: list[str], files: list[str]) -> list[str]:
    """The fewest plugins, in the order of loading, that fail together: halves are left out as long as the rest still fails."""
    step = max(1, len(names) // 2)
    while True:
        for at in range(0, len(names), step):
            fewer = names[:at] + names[at + step :]
            if _trouble(_loaded(fewer, files)) is not None:
                names, step = fewer, max(1, min(step, len(fewer) // 2))
                break
        else:
            if step == 1:
                return names + [Path(file).stem for file in files]
            step //= 2


def _loaded(names: Sequence[str], files: Sequence[str] = ()) -> dict[str, Any] | str:
    """Load plugins in a process of its own: what it told of them, or why it did not come to that."""
    command = [sys.executable, "-m", "genart.plugin_doctor", json.dumps({"names": list(names), "files": list(files)})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 - this very program
    except subprocess.TimeoutExpired:
        return f"its import does not end within {PATIENCE:.0f} s"
    if done.returncode < 0:
        import signal

        return f"its import ends Python: {signal.Signals(-done.returncode).name}"
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"its import ends Python with {done.returncode}: {last[:200]}"
    return told


HEAVY = ("torch", "torchvision", "kornia", "scipy", "skimage", "matplotlib", "pandas", "tensorflow")


def main(argument: str) -> None:
    """Load the plugins that are named and tell of them in one line of JSON."""
    from .plugins import Plugins

    wanted = json.loads(argument)
    told = {}
    real = os.dup(1)
    os.dup2(2, 1)  # a plugin may print
    plugins = Plugins([Path(file) for file in wanted["files"]], only=wanted["names"])
    for plugin in plugins.plugins.values():
        there, began = set(sys.modules), time.perf_counter()
        plugins.load(plugin)
        seconds = time.perf_counter() - began
        heavy = [name for name in HEAVY if name in sys.modules and name not in there]
        told[plugin.name] = {
            "problem": plugin.problem,
            "notes": plugin.notes,
            "file": getattr(plugin.module, "__file__", "") or "",
            "stages": sorted(plugin.stages),
            "seconds": seconds,
            "heavy": heavy,
        }
    os.write(real, json.dumps({"plugins": told}).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
