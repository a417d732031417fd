"""Declares `procedural.warp`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

import genart

from ._params import DEPENDS, FilmParams, Share


class WarpParams(FilmParams):
    """Parameters of `procedural.warp`."""

    scale: Annotated[float, Field(ge=0.05, le=4)] | None = Field(
        None, description="Size of the noise's features in shorter sides of the picture. Default: another for each picture."
    )
    strength: Annotated[float, Field(ge=0, le=4)] | None = Field(
        None, description="How far the noise is moved by noise, in features: 0 is clouds, 2 is marble. Default: another for each picture."
    )
    octaves: Annotated[int, Field(ge=1, le=8)] = Field(5, description="How many times finer noise is added: more is rougher.")
    bands: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="Terraces of colour, as in agate; 0 is smooth. Default: another for each picture, mostly smooth."
    )
    relief: Share = Field(0.6, description="How far a light from the upper left shows the noise as a relief.")


@genart.stage("procedural.warp", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_warp(_: None, params: WarpParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw domain-warped noise: silk, marble and agate (Quilez 2002).

    Whatever is not given is drawn for each picture from its own seed. A picture of another size is the same picture. With `frames` it
    flows, as a film whose end meets its beginning.

    Example:
        [[stage]]
        uses = "procedural.warp"
        palette = "porcelain"
        frames = 96
    """
    from .warp import warp

    return warp(run, params)
