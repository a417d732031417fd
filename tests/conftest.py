"""What all tests of the core share: each has a home, a store and a current directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings

from genart.formats import FORMATS, Formats

# No wall-clock limits: a busy machine is not a failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Side by side, each process of the tests and what it begins has one core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of xdist heeds none, and what it begins would not either

TOYS = Path(__file__).parent / "toys.py"
ROOT = TOYS.parent.parent


@dataclass
class Result:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    def made(self) -> list[str]:
        """Ids of the stages that ran."""
        return [e["stage"] for e in self.events if e["event"] == "stage_finished"]

    def started(self) -> dict[str, dict[str, Any]]:
        """The stage_started events by stage."""
        return {e["stage"]: e for e in self.events if e["event"] == "stage_started"}


@pytest.fixture(autouse=True)
def home(genart_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, store and current directory."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("TOY_LOG", "TOY_CRASH", "TOY_CHOICE", "FORCE_COLOR", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return genart_home


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """A command that was told to end heeds no further signals; the process of the tests has to."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def formats() -> Iterator[Formats]:
    """What plugins brought to one command is not known to the next test."""
    yield FORMATS
    FORMATS.brought = ()


@pytest.fixture
def store(home: Path) -> Path:
    """Root of this test's store."""
    return home / "cache" / "genart"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Call the command line in this process: cli("check", "r.toml") -> Result."""

    def call(*arguments: object) -> Result:
        from genart.cli import main

        capsys.readouterr()
        # a command may set variables for libraries that it loads
        with pytest.raises(SystemExit) as exit_, patch.dict(os.environ):
            main([str(item) for item in arguments])
        out, err = capsys.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    return call


@pytest.fixture
def run_toy(cli: Callable[..., Result]) -> Callable[..., Result]:
    """`genart run RECIPE -p toys.py --json --device cpu ...` in this process."""

    def call(recipe: Path, *arguments: object, plugin: Path = TOYS) -> Result:
        return cli("run", recipe, "-p", plugin, "--json", "--device", "cpu", "--out", "out", *arguments)

    return call


@pytest.fixture
def toy_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that returns, and forgets, what the toy stages have made."""
    path = home / "toy.log"
    monkeypatch.setenv("TOY_LOG", str(path))

    def take() -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    return take


@pytest.fixture
def recipe(home: Path) -> Callable[..., Path]:
    """Write a recipe: recipe(stages, name="toy", seed=3) -> path; `stages` is TOML."""

    def write(stages: str, *, name: str = "toy", seed: int = 3, file: str = "r.toml") -> Path:
        path = Path(file)
        path.write_text(f'[recipe]\nname = "{name}"\nseed = {seed}\n{stages}', encoding="utf-8")
        return path

    return write


#: Marks streamed pictures after each one, so that a kill at any moment leaves something to go on with.
EAGER = "import genart.runner; genart.runner.SYNC_EVERY = 0.0; "


def heeds_ctrl_c() -> None:
    """What a shell starts in the background ignores SIGINT, under nohup SIGHUP too, and so would what it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def genart_process() -> Any:
    """Start the command line in a process of its own: genart_process(*arguments, prelude="", **environment) -> Popen."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object, prelude: str = "", flags: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
        code = f"import sys; {prelude}from genart.cli import main; main(sys.argv[1:])"
        process = subprocess.Popen(
            [sys.executable, "-W", "error", *flags, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            preexec_fn=heeds_ctrl_c,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative name, without run.json (it has timings)."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "run.json"}
