"""What a stage is handed beside its input: its random streams, device, progress, checkpoints, memory of choices, sinks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import (
    Artifact,
    Batch,
    ImagesWriter,
    Model,
    open_regular,
    read_sealed,
    remove,
    write_atomically,
    write_sealed,
)
from .errors import Interrupted, StageError
from .events import Events
from .seeds import derive, derive_each

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .nn.team import Team

#: A checkpoint may take this share of the time between two of them.
CHECKPOINT_SHARE = 0.02
#: A checkpoint file begins with its SHA-256.
DIGEST_BYTES = 32
NUMBERED = re.compile(r"checkpoint-\d+\.safetensors")
#: File of a work folder that holds what its stage has chosen.
CHOICES = "choices.json"
#: Seconds between two progress events.
PROGRESS_EVERY = 0.1


class Stop:
    """Set by a signal; cooperative loops look at it."""

    def __init__(self) -> None:
        self.signal: int | None = None


class Checkpoints:
    """Exact resume: the newest whole checkpoint of this stage, as tensors and JSON, never as pickle.

    Two are kept in turn, each with a SHA-256, so a kill during the writing of one leaves the other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saved_at = time.monotonic()
        self._due_at: float | None = None
        self._cost = 0.0

    def due(self) -> bool:
        """True when a checkpoint would cost no more than its share of the time since the last one: all that is done for it from here on."""
        now = time.monotonic()
        is_due = now - self._saved_at >= max(2.0, self._cost / CHECKPOINT_SHARE)
        self._due_at = now if is_due else None
        return is_due

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint that survives a kill or a power cut.

        Args:
            tensors: anything by flat name.
            state: counters, histories and the like; JSON-serialisable.
        """
        from .nn.checkpoint import written

        began, self._due_at = time.monotonic() if self._due_at is None else self._due_at, None
        files = self._files()
        number = _number_of(files[-1]) + 1 if files else 0
        parts = written(tensors, state)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"checkpoint-{number:08d}.safetensors", digest.digest(), *parts)
        for old in self._files()[:-2]:
            remove(old)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return (tensors, state) of the newest undamaged checkpoint, or None at a first start; damaged ones are removed."""
        from .nn.checkpoint import read

        for path in reversed(self._files()):
            data = _whole(path)
            if data is not None:
                with suppress(ValueError, KeyError, TypeError, RecursionError):  # not one of ours, under a sum that is right
                    return read(data, DIGEST_BYTES)
            remove(path)
        return None

    @property
    def any(self) -> bool:
        """True if an earlier run of this stage was stopped after it had saved something."""
        return bool(self._files())

    def _files(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("checkpoint-*.safetensors") if NUMBERED.fullmatch(path.name)), key=_number_of)


def _number_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.rpartition("-")[2])


def _whole(checkpoint: Path) -> bytearray | None:
    """The content of a checkpoint, if it is what its SHA-256 says."""
    try:
        with open_regular(checkpoint) as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(data)
    except ValueError:
        return None
    return data if hashlib.sha256(memoryview(data)[DIGEST_BYTES:]).digest() == bytes(data[:DIGEST_BYTES]) else None


class Progress:
    """Tells how far something is, at most ten times a second, with the mean rate so far.

    Args:
        events: where it is told.
        name: of the stage.
    """

    def __init__(self, events: Events, name: str) -> None:
        self._events = events
        self._name = name
        self._made = time.monotonic()
        self._reported = 0.0
        self._began: tuple[float, float] | None = None

    def __call__(self, done: float, total: float | None, unit: str, *, eta_sec: float | None = None) -> None:
        """Tell; see `Run.progress`."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done)
        finished = total is not None and done >= total
        if now - self._reported < PROGRESS_EVERY and not finished:
            return
        self._reported = now
        seconds, advance = now - self._began[0], done - self._began[1]
        rate = advance / seconds if seconds > 0 and advance > 0 else None
        if eta_sec is None and rate and total is not None:
            eta_sec = (total - done) / rate
        self._events.emit("progress", stage=self._name, done=done, total=total, unit=unit, rate=rate, eta_sec=eta_sec)

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self._made


class Run:
    """Handed to a stage as its third argument.

    Attributes:
        stage_id: the stage's id in the recipe.
        device: "cpu", "cuda" or "mps"; "cpu" for a stage that needs no GPU (see `genart.Needs`).
        start: index of the first picture to make; above 0 when a killed run of a `pointwise` stage goes on.
        count: number of pictures this stage will give, if it says so with `expect`.
        work: a folder of this stage's own, kept until its result is in the store.
        sides: what parameters of the types `PictureInput` and `ModelInput` take from other stages, by the id that the recipe writes there.
        batch: pictures that the stage makes at once, if it says so with `apart`.
        heard_apart: called when it does.
        workers: how many pictures a stage may have in hand at once, if they do not depend on each other (`genart.nn.side_by_side`).
        made: reads back one picture of this stage's own output, by its index: for stages whose pictures depend on the one before.
        team: processes that train together (`genart.nn.team`); None where there is one.
        processes: how many of them made the result, which rounding lets depend on it.
        task: what makes this stage's result, for the other processes of the team (`genart.tasks.Task`, as plain values).
    """

    def __init__(
        self,
        *,
        stage_id: str,
        seed: int,
        device: str,
        work: Path,
        events: Events,
        random: bool = True,
        stop: Stop | None = None,
        rebuild: Callable[[Model, str], Any] | None = None,
        backbone: Callable[[str, str], Any] | None = None,
        extension: Callable[[str, str], Any] | None = None,
        start: int = 0,
    ) -> None:
        self.stage_id = stage_id
        self.device = device
        self.start = start
        self.count: int | None = None
        self.fps: float | None = None
        self.batch: int | None = None
        self.heard_apart: Callable[[], None] = _nobody_hears
        self.work = work
        self.checkpoints = Checkpoints(work / "checkpoints")
        self.warnings: list[str] = []
        self.skipped: list[dict[str, str]] = []
        self.sides: dict[str, Artifact] = {}
        self.workers = 1
        self.team: Team | None = None
        self.processes = 1
        self.task: Callable[[], dict[str, Any]] = dict
        self.made: Callable[[int], Batch] = _nothing_made
        self._seed = seed
        self._random = random
        self._events = events
        self._stop = stop or Stop()
        self._rebuild = rebuild
        self._backbone = backbone
        self._extension = extension
        self._sinks: dict[str, ImagesWriter] = {}
        self._progress = Progress(events, stage_id)
        self._choices: dict[str, Any] = read_sealed(work / CHOICES) or {}

    # random numbers

    def seed(self, label: str = "", index: int | None = None) -> int:
        """Seed of this stage's stream `label`, or of picture `index` in it: an integer in [0, 2**63)."""
        return derive(self._parent(), label) if index is None else derive(self._parent(), label, index)

    def seeds(self, label: str, indices: Iterable[int]) -> list[int]:
        """Seeds of many pictures in a stream, each what `seed(label, index)` gives, in a fourth of the time."""
        return derive_each(self._parent(), label, indices)

    def _parent(self) -> int:
        if not self._random:
            raise StageError(f"{self.stage_id} draws random numbers but is not declared with random=True")
        return self._seed

    def generator(self, label: str = "", index: int | None = None) -> torch.Generator:
        """A fresh torch generator (on the CPU, so that every device draws the same) for a stream or one picture of it."""
        import torch

        return torch.Generator().manual_seed(self.seed(label, index))

    # telling

    def progress(self, done: float, total: float | None = None, unit: str = "images", *, eta_sec: float | None = None) -> None:
        """Report progress; events are thinned to ten a second. Also the place where Ctrl-C takes effect for streams.

        Args:
            done: how much is done.
            total: out of how much, if that is known.
            unit: of both.
            eta_sec: seconds left, where the stage knows better than the mean rate so far.
        """
        self._progress(done, total, unit, eta_sec=eta_sec)

    def metric(self, **values: float) -> None:
        """Report numbers by name, such as `nimg=6400, loss_D=0.7`."""
        self._events.emit("metric", stage=self.stage_id, **values)

    def preview(self, images: Tensor) -> None:
        """Show a few pictures, (N, 3, H, W) in [0, 1], in the live display."""
        import torch

        tiles = images.detach()[:12, :3].to("cpu", torch.float32).clamp(0, 1)
        tiles = torch.nn.functional.interpolate(tiles, size=(8, 8), mode="area")
        strip = (tiles.permute(2, 0, 3, 1).flatten(1, 2) * 255).round().to(torch.uint8)  # (8, N*8, 3)
        self._events.emit("preview", stage=self.stage_id, strip=strip.tolist())

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run; each message is shown once and listed at the end."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._events.emit("warning", stage=self.stage_id, message=message)

    def skip(self, name: str, reason: str) -> None:
        """Tell that a file cannot be used; `run.json` lists all of them.

        Args:
            name: of the file, within the folder that the stage reads.
            reason: in a few words.
        """
        self.skipped.append({"file": name, "reason": reason})
        self._events.emit("skipped", stage=self.stage_id, file=name, reason=reason)

    def note(self, message: str) -> None:
        """Tell the user something in passing, such as how a stage is going to work."""
        self._events.emit("note", message=f"{self.stage_id}: {message}")

    def alert(self, trouble: str, act: str, message: str, **values: float) -> None:
        """Tell what the watch over a training found, and what was done about it; such as ("mode collapse", "rolled back", ...)."""
        self._events.emit("watchdog", stage=self.stage_id, trouble=trouble, act=act, message=message, **values)

    # going on and stopping

    @property
    def stopping(self) -> bool:
        """True after Ctrl-C or a termination signal: finish the current unit of work, save, and call `check`."""
        return self._stop.signal is not None

    def check(self) -> None:
        """Stop here if a signal asked for it.

        Raises:
            Interrupted: after a signal.
        """
        if self._stop.signal is not None:
            raise Interrupted(self._stop.signal)

    def expect(self, count: int | None, fps: float | None = None) -> None:
        """Say how many pictures (and frames per second) a stage that yields batches will give, before its first batch."""
        self.count, self.fps = count, fps

    def apart(self, size: int) -> None:
        """Say that all is chosen (`choose`) that the pictures have in common, and told how many there will be (`expect`).

        Where workers share a stage, the others need not wait for its first pictures then. Once is enough; it is worth it where a batch
        takes a second or more.

        Args:
            size: pictures of a batch; the last may have fewer.
        """
        if self.batch is None:
            self.batch = size
            self.heard_apart()

    def spans(self, count: int, size: int) -> Iterator[range]:
        """Yield the index ranges of batches of `size` from `self.start` to `count`, reporting progress."""
        self.expect(count, self.fps)
        for at in range(self.start, count, size):
            yield range(at, min(at + size, count))

    # remembering

    def choose(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a choice that depends on this machine or moment, made once and remembered by resumes and remakes.

        Args:
            name: what is chosen.
            make: called at the first time; returns something JSON-serialisable.
        """
        if name not in self._choices:
            self._choices[name] = make()
            self.work.mkdir(parents=True, exist_ok=True)
            write_sealed(self.work / CHOICES, self._choices)
        return self._choices[name]

    @property
    def choices(self) -> dict[str, Any]:
        """Everything chosen so far."""
        return dict(self._choices)

    # results

    def file(self, name: str) -> Path:
        """A path for a file of this stage's own, in a folder that exists."""
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work / name

    def sink(self, output: str) -> ImagesWriter:
        """The writer of a further output of pictures. After a resume it holds what was synced: truncate it to the checkpoint."""
        if output not in self._sinks:
            self._sinks[output] = ImagesWriter(self.work / "outputs" / output)
        return self._sinks[output]

    @property
    def sinks(self) -> dict[str, ImagesWriter]:
        """Writers opened so far, by output."""
        return self._sinks

    def model(self, tensors: dict[str, Tensor], *, family: str, parameters: dict[str, Any], **header: Any) -> Model:
        """Write a trained network and return it as the stage's result.

        Args:
            tensors: the generator's state, by name.
            family: the family registered for rebuilding it.
            parameters: arguments of the family's generator.
            header: more of the JSON header: `z_dim`, `resolution`, `history`, ...
        """
        from safetensors.torch import save

        head = {"family": family, "parameters": parameters, **header}
        data = save(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            {"genart": json.dumps({"model": head}, sort_keys=True, allow_nan=False)},
        )
        path = self.file("model.safetensors")
        path.write_bytes(data)
        return Model(path, head)

    def adopt_model(self, path: Path) -> Model:
        """Return a copy of a model file as the stage's result.

        Raises:
            DataError: if it is not a genart model.
        """
        model = Model.open(path)
        copy = self.file("model.safetensors")
        shutil.copyfile(path, copy)
        return Model(copy, model.header)

    def open_model(self, path: Path) -> Model:
        """Open the model that a parameter of type `ModelInput` names: a file, or what another stage gives.

        Raises:
            DataError: if it is not a genart model.
        """
        side = self.sides.get(str(path))
        return side if isinstance(side, Model) else Model.open(path)

    def load(self, model: Model) -> torch.nn.Module:
        """Rebuild a model's generator on this run's device, in evaluation mode: z (N, z_dim) -> (N, 3, H, W) in [-1, 1]."""
        if self._rebuild is None:
            raise StageError("this run cannot rebuild models")
        import torch

        with torch.random.fork_rng(devices=[]):  # layers draw first weights from the global stream; leave it as it was
            module: torch.nn.Module = self._rebuild(model, self.device)
        return module

    def backbone(self, name: str) -> Any:
        """Load a backbone (see the hook genart_backbones) on this run's device, frozen."""
        if self._backbone is None:
            raise StageError("this run cannot load backbones")
        import torch

        with torch.random.fork_rng(devices=[]):  # as above
            return self._backbone(name, self.device)

    def extension(self, hook: str, name: str) -> Any:
        """Import what a plugin registered under a name, such as a statistic (see the hook genart_statistics).

        Raises:
            UsageError: no plugin brings it.
        """
        if self._extension is None:
            raise StageError("this run cannot load what plugins register")
        return self._extension(hook, name)

    # for the runner

    def stream(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches through, stopping at a signal and reporting progress."""
        done = self.start
        for batch in batches:
            batch.start = done
            done += len(batch)
            yield batch
            self.progress(done, self.count)
            self.check()

    def close(self) -> None:
        """Let go of open files."""
        for sink in self._sinks.values():
            sink.close()


def _nobody_hears() -> None:
    """A run by one process."""


def _nothing_made(index: int) -> Batch:
    raise IndexError(f"picture {index} of 0")
