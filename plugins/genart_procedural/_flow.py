"""Declares `procedural.flow`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import DEPENDS, Share, SourceParams


class FlowParams(SourceParams):
    """Parameters of `procedural.flow`."""

    lines: Literal["any", "ribbons", "threads"] = Field(
        "any", description="Ribbons that keep clear of each other, a veil of fine threads, or either by chance."
    )
    field: Literal["any", "curl", "drift", "vortex"] = Field(
        "any", description="What the lines follow: the curl of noise, one direction that wavers, or a few vortices; or any by chance."
    )
    scale: Annotated[float, Field(ge=0.1, le=4)] | None = Field(
        None, description="Size of a swirl in shorter sides of the picture. Default: another for each picture."
    )
    width: Annotated[float, Field(ge=0.002, le=0.1)] | None = Field(
        None, description="Width of a usual ribbon in shorter sides; some are half or twice as broad. Default: another for each picture."
    )
    length: Annotated[float, Field(ge=0.05, le=3)] | None = Field(
        None, description="Length of the longest lines in shorter sides. Default: another for each picture."
    )
    density: Annotated[float, Field(gt=0, le=2)] = Field(1.0, description="How full the picture is: 1 leaves no room for more ribbons.")
    taper: Share | None = Field(
        None, description="Share of a ribbon over which its ends run out: 0 is round ends, 1 a leaf. Default: another for each picture."
    )


@genart.stage("procedural.flow", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_flow(_: None, params: FlowParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw flow fields: lines that follow swirling directions, as ribbons or as a veil of threads.

    Whatever is not given is drawn for each picture from its own seed, so that a thousand small ones are a varied set to train on. A
    picture of another size is the same picture.

    Example:
        [[stage]]
        uses = "procedural.flow"
        lines = "ribbons"
        palette = "harbour"
        resolution = [1024, 768]
    """
    from .flow import flow

    return flow(run, params)
