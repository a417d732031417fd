"""Declares `procedural.strokes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import DEPENDS, Share


class StrokesParams(genart.Params):
    """Parameters of `procedural.strokes`."""

    manner: Literal["impressionist", "expressionist", "wash", "pointillist"] = Field(
        "impressionist", description="Which of Hertzmann's manners: it sets what is not given here."
    )
    brushes: tuple[Annotated[float, Field(ge=0.5, le=128)], ...] | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="Radii of the brushes in pixels, for a picture of 512 pixels along the longer side. Default: 8, 4 and 2, or 4 and 2.",
    )
    threshold: Share | None = Field(
        None,
        description="Difference from the photograph that a finer brush still leaves: more is looser. Default: the manner's, 0.2 to 0.8.",
    )
    curvature: Share | None = Field(
        None, description="How closely a stroke follows the photograph's lines: 0 is straight. Default: the manner's, 0.25 or 1."
    )
    length: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="Longest stroke in radii of its brush; 0 gives dabs. Default: the manner's, 16 or 0."
    )
    opacity: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Opacity of the paint. Default: the manner's, 0.5 to 1.")
    relief: Share = Field(0.6, description="How far a light from the upper left shows the body of the paint.")


@genart.stage("procedural.strokes", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_strokes(images: genart.Images, params: StrokesParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint pictures over with curved strokes, from broad brushes to fine ones (Hertzmann 1998).

    A finer brush paints only where the canvas is still far from the photograph, along its lines. Transparency is kept. The frames of a
    film are painted with the same hand, stroke by stroke.

    Example:
        [[stage]]
        uses = "procedural.strokes"
        manner = "expressionist"
        brushes = [16, 8, 4, 2]
    """
    from .strokes import strokes

    return strokes(run, images, params)
