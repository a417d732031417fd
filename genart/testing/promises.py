"""What every stage promises, tried out: the same seed gives the same pictures, whatever comes before, beside or in between."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from genart.artifacts import KINDS, Artifact, Batch, Images, Model, Video
from genart.errors import StageError
from genart.params import plain_value, resolve
from genart.run import Checkpoints
from genart.stages import Stage

from .stages import run_stage


class _Killed(BaseException):
    """Ends a stage in the middle, as a kill would."""


def check_stage(stage: Stage, given: Artifact | None = None, *, work: Path, seed: int = 1, **options: Any) -> None:
    """See that a stage keeps what every stage promises; it is run about ten times.

    Args:
        stage: what `@genart.stage` returned.
        given: its input, some pictures such as `tiny_images()`, a model or a film.
        work: an empty folder.
        seed: the stage's seed.
        options: its parameters, and arguments of `run_stage`.

    Raises:
        AssertionError: with a line for each promise that is broken.
    """
    broken = list(broken_promises(stage, given, work=work, seed=seed, **options))
    if broken:
        raise AssertionError(f"{stage.name} breaks {len(broken)} promise(s):\n" + "\n".join(f"- {line}" for line in broken))


def broken_promises(stage: Stage, given: Artifact | None = None, *, work: Path, seed: int = 1, **options: Any) -> Iterator[str]:
    """Tell which promises a stage breaks, each in a line; see `check_stage`."""
    trial = _Trial(stage, given, work, {"seed": seed, **options})
    yield from trial.key()
    yield from trial.first()
    if trial.result:
        yield from trial.again()
        if stage.pointwise:
            yield from trial.by_itself()
        yield from trial.killed()


@dataclass
class _Seen:
    """A result in a form that can be compared: pictures and metadata, or the bytes of a file, by output."""

    content: dict[str, Any]

    def differs(self, other: _Seen) -> str | None:
        """How another result differs, or None."""
        for name, mine in self.content.items():
            theirs = other.content[name]
            if isinstance(mine, bytes):
                if mine != theirs:
                    return f"'{name}' has other bytes"
                continue
            (arrays, metas), (others, other_metas) = mine, theirs
            if len(arrays) != len(others):
                return f"'{name}' has {len(others)} pictures instead of {len(arrays)}"
            for i, (a, b) in enumerate(zip(arrays, others, strict=True)):
                if a.shape != b.shape or not (a == b).all():
                    return f"picture {i} of '{name}' differs"
                if metas[i] != other_metas[i]:
                    return f"metadata of picture {i} of '{name}' differ"
        return None


def _pictures(images: Images) -> tuple[list[Any], list[Any]]:
    arrays, metas = [], []
    for batch in images:
        arrays += list(batch.array.copy())
        metas += copy.deepcopy(batch.meta)
    return arrays, metas


def _seen(outputs: dict[str, Artifact]) -> _Seen:
    return _Seen(
        {
            name: _pictures(artifact) if isinstance(artifact, Images) else artifact.path.read_bytes()
            for name, artifact in outputs.items()
            if isinstance(artifact, Images | Model | Video)
        }
    )


@dataclass
class _Trial:
    """One stage on trial."""

    stage: Stage
    given: Artifact | None
    work: Path
    options: dict[str, Any]
    result: _Seen | None = None
    events: int = 0

    def __post_init__(self) -> None:
        self.input = _pictures(self.given) if isinstance(self.given, Images) else None
        self._runs = 0

    def fresh_input(self, size: int | None = None) -> Artifact | None:
        """The input as it was, its pictures in batches of `size`, or all in one where they are of one size."""
        if self.input is None:
            return self.given
        import numpy as np

        arrays, metas = self.input
        size = size or (len(arrays) if len({array.shape for array in arrays}) == 1 else 1)
        batches = [
            Batch.from_array(np.stack(arrays[at : at + size]), copy.deepcopy(metas[at : at + size]), start=at)
            for at in range(0, len(arrays), size)
        ]
        fps = self.given.fps if isinstance(self.given, Images) else None
        return Images.from_batches(batches, fps)

    def folder(self) -> Path:
        """An empty folder."""
        self._runs += 1
        folder = self.work / f"run-{self._runs}"
        folder.mkdir(parents=True)
        return folder

    def run(self, given: Artifact | None = None, stage: Stage | None = None, **more: Any) -> dict[str, Artifact]:
        """Run the stage."""
        options = {"work": self.folder(), **self.options, **more}
        return run_stage(stage or self.stage, self.fresh_input() if given is None else given, **options)

    # the promises

    def key(self) -> Iterator[str]:
        """A key is made of the parameters as JSON: they must say everything."""
        table = {name: value for name, value in self.options.items() if name in self.stage.params.model_fields}
        params = resolve(self.stage.params, self.stage.name, table)
        told = params.model_dump(mode="json")
        for name in self.stage.params.model_fields:
            if name not in told:
                yield f"parameter '{name}' is left out of what a key is made of (exclude=True)"
        if resolve(self.stage.params, self.stage.name, plain_value({k: v for k, v in told.items() if v is not None})) != params:
            yield "its parameters, written as JSON and read again, are others: a key made of them says too little"

    def first(self) -> Iterator[str]:
        """Kinds, ranges, metadata; nothing changed that is not the stage's own."""
        given = self.fresh_input()
        before, raw = _global_state(), _Raw(self.stage)
        try:
            outputs = self.run(given, raw.stage, observer=self._count)
        except (StageError, TypeError, AttributeError) as error:
            yield from raw.problems or [f"it fails: {type(error).__name__}: {error}"]
            return
        yield from raw.problems
        if _global_state() != before:
            yield "it draws from a global random state: draw from run.generator(...) instead"
        if set(outputs) != set(self.stage.gives):
            yield f"it declares the outputs {sorted(self.stage.gives)}, and gives {sorted(outputs)}"
            return
        for name, artifact in outputs.items():
            if not isinstance(artifact, KINDS[self.stage.gives[name]]):
                is_ = next((kind for kind, of in KINDS.items() if isinstance(artifact, of)), type(artifact).__name__)
                yield f"'{name}' is declared as {self.stage.gives[name]}, and is {is_}"
                return
        if isinstance(given, Images) and self.input is not None and _Seen({"": _pictures(given)}).differs(_Seen({"": self.input})):
            yield "it alters its input: work on a copy"
        self.result = _seen(outputs)
        if self.stage.pointwise and self.input is not None:
            yield from self._metadata()

    def _count(self, record: dict[str, Any]) -> None:
        self.events += record["event"] in ("progress", "metric")

    def _metadata(self) -> Iterator[str]:
        assert self.result is not None
        assert self.input is not None
        _, metas = self.result.content["output"]
        for i, (mine, theirs) in enumerate(zip(self.input[1], metas, strict=False)):
            lost = sorted(set(mine) - set(theirs))
            if lost:
                yield f"metadata are lost: {', '.join(lost)} of picture {i}; `batch.with_pixels` keeps them"
                return

    def again(self) -> Iterator[str]:
        """The same seed gives the same result."""
        assert self.result is not None
        difference = self.result.differs(_seen(self.run()))
        if difference:
            yield f"the same input, parameters and seed give another result: {difference}"

    def by_itself(self) -> Iterator[str]:
        """A picture of a pointwise stage depends on its index and input picture alone."""
        assert self.result is not None
        if self.input is not None:
            difference = self.result.differs(_seen(self.run(self.fresh_input(1))))
            if difference:
                yield f"the size of the batches changes the result: {difference}"
        arrays, metas = self.result.content["output"]
        half = len(arrays) // 2
        kept = Images.from_batches([Batch.from_array(arrays[i][None], [metas[i]], start=i) for i in range(half)])
        rest = self.run(kept=kept)["output"]
        assert isinstance(rest, Images)
        difference = _Seen({"output": (arrays[half:], metas[half:])}).differs(_Seen({"output": _pictures(rest)}))
        if difference:
            yield f"going on after {half} pictures gives others than going through: {difference}, counted from there"

    def killed(self) -> Iterator[str]:
        """Killed in the middle, and run again in the same folder, it ends in the same bytes."""
        assert self.result is not None
        if self.stage.pointwise or self.events == 0:
            return
        for at in sorted({1, self.events // 2, self.events - 1} - {0}):
            folder, count = self.folder(), 0

            def kill(record: dict[str, Any], at: int = at) -> None:
                nonlocal count
                count += record["event"] in ("progress", "metric")
                if count >= at:
                    raise _Killed

            with patch.object(Checkpoints, "due", lambda _: True):  # as if much time had passed
                with suppress(_Killed):
                    self.run(work=folder, observer=kill)
                difference = self.result.differs(_seen(self.run(work=folder)))
            if difference:
                yield f"killed at event {at} of {self.events} and run again, it ends in another result: {difference}"
                return


def _global_state() -> tuple[Any, ...]:
    """State of the random numbers that all code of a process shares."""
    import numpy as np
    import torch

    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state(legacy=False)), random.getstate()  # noqa: NPY002


class _Raw:
    """Looks at the pictures that a stage yields before anything is rounded or clamped."""

    def __init__(self, stage: Stage) -> None:
        self.problems: list[str] = []
        self._stage = stage
        self.stage = replace(stage, function=self._watched if stage.streams else stage.function)

    def _watched(self, given: Artifact | None, params: Any, run: Any) -> Iterator[Batch]:
        for batch in self._stage.function(given, params, run):
            if not self.problems:
                self.problems += _wrong_pixels(batch)
            yield batch


def _wrong_pixels(batch: Batch) -> Iterator[str]:
    import torch

    pixels = batch.pixels
    if pixels.ndim != 4 or pixels.shape[1] not in (3, 4):
        yield f"it yields pictures of shape {tuple(pixels.shape)}: they must be (N, 3 or 4, H, W)"
    elif not bool(torch.isfinite(pixels).all()):
        yield "it yields a picture with NaN or infinity"
    elif float(pixels.min()) < -0.01 or float(pixels.max()) > 1.01:
        yield f"it yields values from {float(pixels.min()):.2f} to {float(pixels.max()):.2f}: pictures are in [0, 1]"
    elif len(batch.meta) != len(pixels):
        yield f"it yields metadata of {len(batch.meta)} for {len(pixels)} pictures"
