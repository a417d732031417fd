"""`check_stage` sees each promise that a stage breaks, and passes those that keep them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

from genart import Batch, Images, Model, Params, Run, Video, stage
from genart.plugins import Plugins
from genart.testing import broken_promises, check_stage, tiny_images

from .conftest import TOYS


class Secret(Params):
    amount: float = Field(0.5, description="Told.")
    hidden: float = Field(0.5, description="Not told.", exclude=True)


def each(images: Images, run: Run) -> Iterator[Batch]:
    run.expect(images.count, images.fps)
    yield from images


@stage("bad.global", pointwise=True)
def global_state(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from everybody's random numbers."""
    for batch in each(images, run):
        yield batch.with_pixels((batch.pixels + 0.1 * torch.rand_like(batch.pixels)).clamp(0, 1))


@stage("bad.python_random", pointwise=True)
def python_random(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from Python's."""
    random.random()
    yield from each(images, run)


@stage("bad.numpy_random", pointwise=True)
def numpy_random(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from NumPy's."""
    np.random.rand()  # noqa: NPY002
    yield from each(images, run)


@stage("bad.alters", pointwise=True)
def alters(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Writes into what it was given."""
    for batch in each(images, run):
        batch.array[:] = 255 - batch.array
        yield batch


@stage("bad.forgets", pointwise=True)
def forgets(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Drops the metadata."""
    for batch in each(images, run):
        yield Batch(batch.pixels, start=batch.start)


@stage("bad.batch", pointwise=True)
def by_batch(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Subtracts the mean of the batch."""
    for batch in each(images, run):
        yield batch.with_pixels((batch.pixels - batch.pixels.mean() + 0.5).clamp(0, 1))


@stage("bad.counts", pointwise=True)
def counts(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Counts the pictures it has seen instead of asking for their index."""
    seen = 0
    for batch in each(images, run):
        for i in range(len(batch)):
            seen += 1
            part = batch.part(i, i + 1)
            yield part.with_pixels(part.pixels * (seen / 10))


@stage("bad.range", pointwise=True)
def beyond(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Gives [-1, 1]."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels * 2 - 1)


@stage("bad.nan", pointwise=True)
def nan(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Divides by nothing."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels / 0 * 0)


@stage("bad.shape", pointwise=True)
def shape(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Gives one channel."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels[:, :1])


@stage("bad.kind")
def kind(images: Images, params: None, run: Run) -> Video:
    """Gives pictures."""
    return images  # type: ignore[return-value]


@stage("bad.clock")
def clock(images: Images, params: None, run: Run) -> Model:
    """Writes down how often it was called."""
    counted.append(1)
    return run.model({"x": torch.tensor([float(len(counted))])}, family="bad", parameters={})


counted: list[int] = []


@stage("bad.secret", pointwise=True)
def secret(images: Images, params: Secret, run: Run) -> Iterator[Batch]:
    """Has a parameter that no key knows."""
    yield from each(images, run)


@stage("bad.resume", random=True)
def resume(images: Images, params: None, run: Run) -> Model:
    """Saves what it has summed, and forgets where it was."""
    loaded = run.checkpoints.load()
    total = loaded[0]["total"] if loaded else torch.zeros(1)
    for step in range(6):
        total = total + torch.rand(1, generator=run.generator("step", step))
        run.checkpoints.save({"total": total}, {})
        run.metric(step=step)
    return run.model({"total": total}, family="bad", parameters={})


BROKEN = (
    (global_state, "global random state"),
    (python_random, "global random state"),
    (numpy_random, "global random state"),
    (alters, "alters its input"),
    (forgets, "metadata are lost: number"),
    (by_batch, "the size of the batches changes the result"),
    (counts, "going on after 3 pictures gives others"),
    (beyond, "values from -1.00 to 1.00"),
    (nan, "NaN"),
    (shape, "must be (N, 3 or 4, H, W)"),
    (kind, "declared as video, and is images"),
    (clock, "the same input, parameters and seed give another result"),
    (secret, "'hidden' is left out"),
    (resume, "run again, it ends in another result"),
)


@pytest.mark.parametrize(("bad", "says"), BROKEN, ids=[bad.name for bad, _ in BROKEN])
def test_a_broken_promise_is_named(bad: Any, says: str, tmp_path: Any) -> None:
    with pytest.raises(AssertionError) as told:
        check_stage(bad, tiny_images(), work=tmp_path)
    assert says in str(told.value)


GOOD = {
    "toy.invert": {},
    "toy.train": {"steps": 5},
    "images.resize": {"resolution": 8},
    "augment": {"ops": ["RandomHorizontalFlip", "ColorJitter"]},
}


@pytest.mark.parametrize("name", GOOD)
def test_stages_that_keep_their_promises_pass(name: str, tmp_path: Any) -> None:
    stage = Plugins((TOYS,)).stage(name)
    assert list(broken_promises(stage, tiny_images(), work=tmp_path, **GOOD[name])) == []
