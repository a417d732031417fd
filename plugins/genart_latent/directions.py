"""latent.directions: a latent changed along each direction, from one end to the other."""

from __future__ import annotations

from collections.abc import Iterator

from genart import Batch, Model, Run, UsageError
from genart.nn.latent_directions import directions, space_of
from genart.nn.latent_space import Space

from ._directions import DirectionsParams
from .draw import Drawn, draw, open_space


def strips(model: Model, params: DirectionsParams, run: Run) -> Iterator[Batch]:
    """Yield the pictures of all directions; see the stage.

    Raises:
        UsageError: if the model has fewer directions than are asked for.
    """
    run.expect(params.count * params.steps)
    space = open_space(model, run, truncation_psi=params.truncation_psi)
    if space_of(params.method, space.styled) == "w":
        space = Space(model, space.G, run.device, "w", params.truncation_psi)
    found = directions(space, params.method)
    if params.count > len(found.vectors):
        raise UsageError(
            f"{run.stage_id}.count: the model has {len(found.vectors)} directions, not {params.count}", "give a smaller `count`"
        )
    seed = run.seed("z", 0) if params.latent_seed is None else params.latent_seed
    label = getattr(params, "class") or space.class_of(seed)
    kind = space.kind(label)
    centre = space.point(space.drawn(seed), kind)

    def course(i: int) -> Drawn:
        direction, step = divmod(i, params.steps)
        offset = params.strength * (2 * step / (params.steps - 1) - 1)
        meta = {"seed": seed, "direction": direction, "offset": round(offset, 6)} | ({"label": label} if label else {})
        return Drawn(centre + offset * found.step(direction, run.stage_id), kind, meta)

    yield from draw(space, course, params.count * params.steps, run)
