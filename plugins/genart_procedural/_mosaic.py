"""Declares `procedural.mosaic`, of pictures, and `procedural.cells`, of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import DEPENDS, Colour, Share, SourceParams

Points = Annotated[int, Field(ge=8, le=50_000)]
Gap = Annotated[float, Field(ge=0, le=0.8)]
SHADE = "How far each piece is lit from the upper left: 0 is flat."


class MosaicParams(genart.Params):
    """Parameters of `procedural.mosaic`."""

    shape: Literal["voronoi", "pebbles", "delaunay"] = Field(
        "voronoi", description="Voronoi cells, the same with rounded corners, or Delaunay triangles."
    )
    points: Points = Field(1500, description="Number of points: as many cells, or about twice as many triangles.")
    detail: Share = Field(0.85, description="How much denser the points are where there is more to see: 0 spreads them evenly.")
    gap: Gap = Field(0.0, description="Joint between the pieces, as a share of a piece's side; pebbles need one.")
    shade: Share = Field(0.4, description=SHADE)
    background: Colour = Field("#211f20", description="Colour of the joints.")


@genart.stage("procedural.mosaic", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_mosaic(images: genart.Images, params: MosaicParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Turn pictures into mosaics of Voronoi cells or Delaunay triangles, finer where there is more to see.

    Each piece has the mean colour of what it covers. Transparency is kept. Where the frames of a film show
    the same, most pieces stay as they are.

    Example:
        [[stage]]
        uses = "procedural.mosaic"
        shape = "delaunay"
        points = 2000
    """
    from .mosaic import mosaics

    return mosaics(run, images, params)


class CellsParams(SourceParams):
    """Parameters of `procedural.cells`."""

    shape: Literal["any", "voronoi", "pebbles", "delaunay"] = Field(
        "any", description="Voronoi cells, the same with rounded corners, Delaunay triangles; or any by chance."
    )
    arrangement: Literal["any", "scatter", "spiral", "rings"] = Field(
        "any", description="How the points lie: here denser and there wider, as in a sunflower, or in rings; or any by chance."
    )
    points: Points | None = Field(None, description="Number of points in the picture. Default: another for each picture.")
    gap: Gap | None = Field(
        None, description="Joint between the pieces, as a share of a piece's side. Default: none for triangles, a fine one for cells."
    )
    shade: Share = Field(0.8, description=SHADE)


@genart.stage("procedural.cells", random=True, pointwise=True, depends=DEPENDS, needs=genart.Needs(gpus=0))
def procedural_cells(_: None, params: CellsParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw mosaics out of nothing but a palette: Voronoi cells, pebbles or Delaunay triangles.

    Whatever is not given is drawn for each picture from its own seed. A picture of another size is the same picture.

    Example:
        [[stage]]
        uses = "procedural.cells"
        arrangement = "spiral"
        palette = ["#14304a", "#2f7389", "#e2734a", "#f4f0e6"]
    """
    from .mosaic import cells

    return cells(run, params)
