"""In the child: notes all that a stage sees, tells and keeps, saves checkpoints at fixed places, and kills the process at one.

A place is a unit of the stage's work: a step, an iteration of a picture. Units are known by the progress that the stage tells after each,
so the n-th unit is the same one in an undisturbed run and in one that was taken up in the middle.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import genart.artifacts
import genart.run
import genart_style.learn
import genart_vae.train
from genart.nn import diversity, players
from genart.nn.gan import Training
from genart.run import Checkpoints, Run
from tests.plugins.projected.backbone import Small

#: What depends on the clock, wherever it stands in a checkpoint's state.
TIMES = ("elapsed_sec", "pixel_sec")
#: Moments of the writing of a checkpoint, in their order.
PHASES = ("before", "half", "fsync", "rename", "renamed", "unlink")
#: Added to the progress of what is done again.
AGAIN = 1e6


class SmallVGG(Small):
    """The same under the names of VGG19's layers."""

    layers = tuple(f"relu{block}_{i}" for block in range(1, 6) for i in range(1, 5))

    def stride(self, layer: str) -> int:
        """Pixels per position."""
        return int(2 ** (int(layer[4]) - 1))


@dataclass
class Recorder:
    """What is noted, and where the process ends.

    Attributes:
        stage: id of the stage that is looked at.
        every: a checkpoint comes after each so-manieth unit.
        units: the progress told after each unit by an undisturbed run; empty in that run itself.
        kill_unit: the unit at whose end, before a checkpoint, or in whose checkpoint the process dies; None: it lives.
        phase: where in that checkpoint's writing; "" for the end of the unit, "result" for the making of the result.
    """

    stage: str
    every: int
    units: list[float] = field(default_factory=list)
    kill_unit: int | None = None
    phase: str = ""
    unit: int = -1
    done: float = -1.0
    training: Training | None = None
    pending: dict[str, Any] = field(default_factory=dict)

    def note(self, **fields: Any) -> None:
        """Write a line that a kill leaves."""
        line = json.dumps(fields, sort_keys=True) + "\n"
        handle = os.open("notes.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode())
        os.close(handle)

    def ended(self, done: float) -> None:
        """A unit has ended."""
        self.done = done
        self.unit = self.units.index(done) if self.units else self.unit + 1
        self.note(unit=self.unit, done=done, **self.pending)
        self.pending.clear()
        if self.kill_unit == self.unit and not self.phase:
            die()

    @property
    def turn(self) -> int:
        """How often training returned to an earlier state, from which it comes by the same places again."""
        return self.training.watchdog.watch.rollbacks if self.training is not None else 0

    @property
    def due(self) -> bool:
        """A checkpoint comes after this unit."""
        return (self.unit + 1) % self.every == 0

    def dying(self, phase: str) -> bool:
        """The process is to die here."""
        return self.phase == phase and self.kill_unit == self.unit


def die() -> None:
    """End as a kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def digest(value: Any) -> Any:
    """A short name of what a tensor, or whatever is in lists and dicts, holds."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()[:16]}"
    if isinstance(value, torch.Generator):
        return digest(value.get_state())
    if isinstance(value, dict):
        return {name: digest(item) for name, item in value.items() if name not in TIMES}
    return [digest(item) for item in value] if isinstance(value, list | tuple) else value


def install(*, small: bool = False, collapse: tuple[int, int] | None = None, **options: Any) -> None:
    """Put it all in place.

    Args:
        small: a network that costs nothing stands for the pretrained ones.
        collapse: images between which snapshots are to look collapsed.
        options: of the recorder.
    """
    recorder = Recorder(**options)
    watch_progress(recorder)
    watch_checkpoints(recorder)
    watch_steps(recorder)
    if small:
        Run.backbone = lambda self, name: (Small if name == "efficientnet-lite0" else SmallVGG)(self.device)  # type: ignore[method-assign]
    if collapse is not None:
        plant_collapse(*collapse)


def watch_progress(recorder: Recorder) -> None:
    """Count units, and die at the end of one or while the result is made."""
    progress, model, resume = Run.progress, Run.model, Training._resume

    def told(self: Run, done: float, *args: Any, **more: Any) -> None:
        progress(self, done, *args, **more)
        place = round(done, 9) + AGAIN * recorder.turn
        if self.stage_id == recorder.stage and place != recorder.done:
            recorder.ended(place)

    def made(self: Run, *args: Any, **more: Any) -> Any:
        if self.stage_id == recorder.stage and recorder.phase == "result":
            die()
        return model(self, *args, **more)

    def resumed(self: Training) -> None:
        recorder.training = self
        resume(self)
        place = round(self.log.nimg, 9) + AGAIN * recorder.turn
        if place in recorder.units:  # a return in its first step saves before anything is told
            recorder.unit, recorder.done = recorder.units.index(place), place

    Run.progress, Run.model, Training._resume = told, made, resumed  # type: ignore[method-assign]


def watch_checkpoints(recorder: Recorder) -> None:
    """Save at fixed places, note what is saved, and die in the middle of it."""
    save, opened, fsync, replace, unlink = Checkpoints.save, open, os.fsync, os.replace, Path.unlink

    def saved(self: Checkpoints, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        recorder.note(checkpoint=recorder.unit, tensors=digest(tensors), state=digest(state))
        if recorder.dying("before"):
            die()
        save(self, tensors, state)

    class Half:
        """A file of which the second half never comes."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: Any) -> None:
            part = memoryview(data)
            self.file.write(part[: len(part) // 2])
            if len(part) > genart.run.DIGEST_BYTES:
                self.file.flush()
                die()

    def opened_here(name: Any, *args: Any, **more: Any) -> Any:
        file = opened(name, *args, **more)
        return Half(file) if "checkpoint-" in str(name) and recorder.dying("half") else file

    def synced(handle: int) -> None:
        if recorder.dying("fsync") and "checkpoint-" in os.readlink(f"/proc/self/fd/{handle}"):
            die()
        fsync(handle)

    def replaced(source: Any, target: Any, **folders: Any) -> None:
        at = "checkpoint-" in str(target)
        if at and recorder.dying("rename"):
            die()
        replace(source, target, **folders)
        if at and recorder.dying("renamed"):
            die()

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        if self.name.startswith("checkpoint-") and recorder.dying("unlink"):
            die()
        unlink(self, missing_ok)

    Checkpoints.save, Checkpoints.due = saved, lambda self: recorder.due  # type: ignore[method-assign]
    genart.artifacts.open = opened_here  # type: ignore[attr-defined]
    os.fsync, os.replace, Path.unlink = synced, replaced, unlinked  # type: ignore[assignment,method-assign]


def watch_steps(recorder: Recorder) -> None:
    """Note what each step of a training is given, and at what rates, levels and strengths."""

    def wrapped(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def noted(self: Any, number: int, real: Any, z: Tensor, generator: torch.Generator, augment_p: float = 0.0) -> Tensor:
            before = {"real": digest([real.images, real.versions]), "z": digest(z), "stream": digest(generator)}
            told = step(self, number, real, z, generator, augment_p)
            rates = [group["lr"] for name in ("opt_G", "opt_D") if hasattr(self, name) for group in getattr(self, name).param_groups]
            level = float(self.G.state_dict().get("place", torch.zeros(())))
            recorder.pending |= {"step": number, **before, "told": told.tolist(), "p": augment_p, "rates": rates, "place": level}
            return told

        return noted

    players.Players.step = wrapped(players.Players.step)  # type: ignore[method-assign]
    genart_vae.train.Autoencoding.step = wrapped(genart_vae.train.Autoencoding.step)  # type: ignore[method-assign]
    batch = genart_style.learn.Pieces.batch

    def given(self: Any, *args: Any) -> Tensor:
        images = batch(self, *args)
        recorder.pending["real"] = digest(images)
        return images

    genart_style.learn.Pieces.batch = given  # type: ignore[method-assign]


def plant_collapse(begin: int, end: int) -> None:
    """Let snapshots between two places look as if all pictures were the same, until training has returned to a state before."""
    snapshot, measured, where = Training._snapshot, diversity.diversity, [0]

    def drawn(self: Training, *args: Any, **more: Any) -> None:
        where[0] = 0 if self.watchdog.watch.rollbacks else self.log.nimg
        snapshot(self, *args, **more)

    def seen(*args: Any) -> float:
        return 0.0 if begin <= where[0] < end else max(0.5, measured(*args))

    Training._snapshot, diversity.diversity = drawn, seen  # type: ignore[method-assign]
