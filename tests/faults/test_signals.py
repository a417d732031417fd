"""A signal at system calls all over a command: it ends with its code, keeps what is done, and goes on to the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .forge import Call, Fault, Forge, Outcome
from .scenarios import Scenario, ran, run_words, saved_pictures
from .trouble import Part, Trial, Trouble, some

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing (apt-get install strace)"),
]
STAGES = """
[[stage]]
uses = "images.folder"
id = "photos"
path = "in"

[[stage]]
uses = "toy.invert"
save = "pictures"

[[stage]]
uses = "toy.train"
id = "train"
from = "photos"
steps = 4
save = "model.safetensors"

[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.mp4"
"""
#: What a run does, by a path that it does it with.
PHASES = {
    "plan": r"r\.toml|/history/",
    "hashing": r"/in/|/hashes/",
    "decoding": r"^\d+ +openat.*/in/.*png",
    "streaming": r"/work/.*/outputs/output/pixels\.bin",
    "training": r"/outputs/progress/",
    "checkpoint": r"/checkpoints/",
    "encoding": r"/film\.mp4",
    "storing": r"/entries/|/store/genart/tmp/",
    "saving": r"/out/\.|\bout/\.",
    "publishing": r"rename.*\bout[/>]",
}
#: Signals, how often they come, and the exit codes that are right.
SIGNALS = {
    "INT": ("INT", 1, (130,)),
    "INT twice": ("INT", 2, (130,)),
    "TERM": ("TERM", 1, (143,)),
    "TERM twice": ("TERM", 2, (143,)),
    "HUP": ("HUP", 1, (129,)),
    "QUIT": ("QUIT", 1, (-signal.SIGQUIT,)),
    "PIPE": ("PIPE", 1, (0,)),
    "TSTP and CONT": ("TSTP", 1, (0,)),
}


def calls_of(trial: Trial, phase: str) -> list[Call]:
    """What an undisturbed run does in a phase."""
    return [call for call in calls_to_hit(trial) if re.search(PHASES[phase], call.told)]


def calls_to_hit(trial: Trial) -> list[Call]:
    """Calls of the main thread: those of an encoder's are counted for themselves, and few."""
    thread = trial.calls[0].told.split()[0]
    return [call for call in trial.calls if call.told.startswith(f"{thread} ")]


def codes_at(trial: Trial, call: Call, name: str) -> tuple[int, ...]:
    """Exit codes that are right after a signal at a call.

    Before the run begins there is nothing to keep, and a signal does what it does to any program; once the last film is put
    together there is nothing to stop.
    """
    kind, times, codes = SIGNALS[name]
    first = next(number for number, other in enumerate(trial.calls) if "/work" in other.told)
    last = next(number for number, other in enumerate(trial.calls) if re.search(PHASES["encoding"], other.told))
    at = trial.calls.index(call)
    raw = -getattr(signal, f"SIG{kind}")
    return (*codes, *((raw,) if at < first else ()), *((0,) if at >= last and times == 1 else ()), *((0, raw) if at >= last else ()))


def keeps_checkpoint(trial: Trial, call: Call) -> Callable[[Outcome, Path], Iterator[str]]:
    """A check that a training that was stopped after its first checkpoint has one."""
    renames = [number for number, other in enumerate(trial.calls) if other.name == "rename" and "checkpoint-" in other.told]
    ends = [number for number, other in enumerate(trial.calls) if other.name == "unlinkat" and "checkpoint-" in other.told]
    at = trial.calls.index(call)

    def check(outcome: Outcome, folder: Path) -> Iterator[str]:
        store = folder / "store" / "genart"
        kept = (
            *store.glob("work/*/checkpoints/checkpoint-*"),
            *store.glob("entries/*/*/output/model.safetensors"),
        )
        if renames[0] < at < ends[0] and not kept:
            yield "neither a checkpoint nor the model was kept"

    return check


def signals(trial: Trial, calls: Sequence[Call], names: Sequence[str] = tuple(SIGNALS)) -> Iterator[Trouble]:
    """Each signal at each call."""
    for call in calls:
        for name in names:
            kind, times, _ = SIGNALS[name]
            codes = codes_at(trial, call, name)
            says = "interrupted" if kind in ("INT", "TERM", "HUP") else ""
            title = f"{name} at {call.name} {call.number}"
            yield Trouble(title, fault=Fault(call, kind, times=times), codes=codes, says=says, check=keeps_checkpoint(trial, call))


def in_each_phase(trial: Trial) -> list[Trouble]:
    """Each signal in the middle of each phase."""
    phases = {phase: calls_of(trial, phase) for phase in PHASES}
    assert all(phases.values()), f"nothing is done in {[phase for phase, calls in phases.items() if not calls]}"
    return [trouble for calls in phases.values() for trouble in signals(trial, [calls[len(calls) // 2]])]


def everywhere(trial: Trial) -> list[Trouble]:
    """Signals at all calls of a run."""
    return list(signals(trial, calls_to_hit(trial), ("INT", "INT twice", "TERM", "HUP", "TSTP and CONT")))


def anywhere(trial: Trial) -> list[Trouble]:
    """Signals at all calls of a command that is not a run: it does what any program does."""
    raw = {"INT": (0, 130), "TERM": (0, -15), "HUP": (0, -1), "QUIT": (-3,), "PIPE": (0,), "TSTP": (0,)}
    return [Trouble(f"{kind} at {call}", fault=Fault(call, kind), codes=codes) for call in trial.calls for kind, codes in raw.items()]


PREPARED: Callable[[Forge, Path], None] = saved_pictures
RUN = Scenario("run", run_words("--quiet"), STAGES, before=PREPARED)
CLEANING = Scenario("cache gc", ("cache", "gc", "--max-size", "0"), before=ran(seed=3), after=(run_words(),))
PARTS = (
    Part("signals in each phase", RUN, in_each_phase, step=5),
    Part("signals everywhere", RUN, everywhere, step=211),
    Part("signals while cleaning", CLEANING, anywhere, step=61),
)


@pytest.mark.parametrize("part", some(PARTS, 3), ids=str)
def test_signals(forge: Forge, tmp_path: Path, part: Part) -> None:
    report = part.tried(forge, tmp_path, every=False)
    assert report.failures == []
    assert report.cases >= 9


STUBBORN = """
import os, signal, time
import genart

@genart.stage("stubborn.stage")
def stage(_: None, params: genart.NoParams, run: genart.Run) -> genart.Images:
    \"\"\"Never look whether it is to stop.\"\"\"
    os.kill(os.getpid(), signal.SIG{first})
    assert run.stopping
    os.kill(os.getpid(), signal.SIG{second})
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("first", "second", "code"), [("INT", "INT", 130), ("TERM", "TERM", 143), ("HUP", "INT", 129), ("INT", "TERM", 130)]
)
def test_the_second_signal_ends_a_stage_that_does_not_heed_the_first(
    forge: Forge, tmp_path: Path, first: str, second: str, code: int
) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN.format(first=first, second=second).replace("genart.NoParams", "genart.Params"))
    folder = tmp_path / "here"
    Scenario("stubborn", (), '[[stage]]\nuses = "stubborn.stage"\nsave = "a"\n').prepare(forge, folder)
    outcome = forge.run(folder, "run", "r.toml", "-p", tmp_path / "stubborn.py", "--device", "cpu", "--quiet")
    assert outcome.code == code
    assert outcome.err.startswith("genart: interrupted")
    assert len(outcome.err.splitlines()) == 2


LAST_WORD = """
import os, signal
import genart

@genart.stage("last.word")
def stage(_: None, params: genart.Params, run: genart.Run) -> genart.Model:
    \"\"\"Be told to stop when all is done.\"\"\"
    import torch
    os.kill(os.getpid(), signal.SIGTERM)
    return run.model({"w": torch.zeros(1)}, family="toy", parameters={})
"""


def test_nothing_is_begun_after_a_signal_but_what_is_done_is_kept(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(LAST_WORD)
    folder = tmp_path / "here"
    stages = '[[stage]]\nuses = "last.word"\nsave = "a.safetensors"\n[[stage]]\nuses = "toy.noise"\nsave = "b"\n'
    Scenario("last", (), stages).prepare(forge, folder)
    outcome = forge.run(folder, *run_words("--quiet"), "-p", tmp_path / "last.py", TOY_LOG=str(tmp_path / "made"))
    assert outcome.code == 143
    assert not (tmp_path / "made").exists()
    assert len(list(folder.glob("store/genart/entries/*/*"))) == 1


def opened_by_python(command: list[str]) -> list[str]:
    """The files that a command opens, in order."""
    done = subprocess.run(["strace", "-e", "trace=openat", "-e", "signal=none", *command], capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if line.startswith("openat(")]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_an_interruption_while_code_is_loaded_is_quiet(share: float) -> None:
    """From the command's first line on; what Python does before that is its own."""
    command = [sys.executable, "-m", "genart", "stages"]
    opened = opened_by_python(command)
    first = next(number for number, line in enumerate(opened) if "genart/errors" in line or "genart/__pycache__/errors" in line)
    last = max(number for number, line in enumerate(opened) if "/genart" in line)
    at = first + round(share * (last - first))
    inject = ["-e", "trace=openat", "-e", f"inject=openat:signal=INT:when={at + 1}"]
    done = subprocess.run(["strace", "-o", os.devnull, *inject, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
