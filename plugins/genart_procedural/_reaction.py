"""Declares `procedural.reaction`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

import genart

from ._params import DEPENDS, FilmParams, Share
from ._patterns import PATTERNS


def read_pattern(value: object) -> object:
    """Read the name of a pattern.

    Raises:
        ValueError: for another name, with the nearest one.
    """
    names = ("any", *PATTERNS)
    if isinstance(value, str) and value not in names:
        raise ValueError(f"there is no pattern '{value}'{genart.did_you_mean(value, names)}")
    return value


class ReactionParams(FilmParams):
    """Parameters of `procedural.reaction`."""

    pattern: Annotated[str, BeforeValidator(read_pattern), WithJsonSchema({"enum": ["any", *PATTERNS]})] = Field(
        "any", description=f"What grows: {', '.join(PATTERNS)}, or any (another for each picture)."
    )
    cells: Annotated[int, Field(ge=32, le=1024)] | None = Field(
        None,
        description="Cells of the simulation along the shorter side: more make a finer pattern and take longer. "
        "Default: 256, and fewer for pictures below 256 pixels, down to 96.",
    )
    steps: Annotated[int, Field(ge=100, le=100_000)] = Field(4000, description="Steps of the simulation: how far it has grown.")
    drift: Share = Field(0.6, description="How much the pattern changes from place to place.")
    relief: Share = Field(0.7, description="How far a light from the upper left shows the pattern as a relief.")


@genart.stage("procedural.reaction", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_reaction(_: None, params: ReactionParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Grow patterns of reaction and diffusion: coral, fingerprints, spots that divide (Gray and Scott 1984).

    Pictures tile: each side joins its opposite. With `frames` the stage gives a film of the growth, dense where it is fast.

    Example:
        [[stage]]
        uses = "procedural.reaction"
        pattern = "coral"
        palette = "ember"
        frames = 120
    """
    from .reaction import reaction

    return reaction(run, params)
