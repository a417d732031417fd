"""Latents become pictures, in batches that do not depend on where a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genart import Batch, Model, Run
from genart.nn.latent_space import Space

from ._sample import GridParams, SampleParams


class Drawn(NamedTuple):
    """What a picture is drawn from.

    Attributes:
        point: a latent of the space.
        kind: (classes,), shares of the classes; None for a model that knows none.
        meta: what the picture's metadata says of it.
    """

    point: Tensor
    kind: Tensor | None
    meta: dict[str, Any]


#: What picture i is drawn from.
Course = Callable[[int], Drawn]


def open_space(model: Model, run: Run, name: str = "z", truncation_psi: float = 1.0) -> Space:
    """The latent space of a model on this run's device."""
    G: Any = run.load(model)
    if truncation_psi != 1 and getattr(G, "directions_only", False):
        run.warn(f"truncation_psi does nothing here: a {model.family} draws by the direction of a latent alone, whatever its length")
    return Space(model, G.to(memory_format=torch.channels_last), run.device, name, truncation_psi)


def sample(model: Model, params: SampleParams, run: Run) -> Iterator[Batch]:
    """Yield pictures of random latents; see the stage."""
    space = open_space(model, run, truncation_psi=params.truncation_psi)
    count = sample_count(params)
    run.expect(count)
    yield from draw(space, samples(space, params, run), count, run)


def sample_count(params: SampleParams | GridParams) -> int:
    """Number of pictures: that of the seeds, where they are given."""
    return len(params.seeds) if params.seeds is not None else int(params.count)


def samples(space: Space, params: SampleParams | GridParams, run: Run) -> Course:
    """Random latents, each of its own seed and class."""
    chosen: str | None = getattr(params, "class")
    space.kind(chosen)  # refuses one that the model does not know
    scale = {"truncation_psi": params.truncation_psi} if params.truncation_psi != 1 else {}

    def course(i: int) -> Drawn:
        seed = params.seeds[i] if params.seeds is not None else run.seed("z", i)
        name = chosen or space.class_of(seed)
        return Drawn(space.drawn(seed), space.kind(name), {"seed": seed} | scale | ({"label": name} if name else {}))

    return course


def draw(space: Space, course: Course, count: int, run: Run) -> Iterator[Batch]:
    """Yield pictures `run.start` to `count`, in batches that begin at multiples of the batch size."""
    run.apart(space.size)
    for at in range(run.start - run.start % space.size, count, space.size):
        drawn = [course(i) for i in range(at, min(at + space.size, count))]
        skip = max(0, run.start - at)  # computed with their batch, kept already
        images = space.pictures([one.point for one in drawn], [one.kind for one in drawn])
        yield Batch(images[skip:], [one.meta for one in drawn[skip:]], start=at + skip)
