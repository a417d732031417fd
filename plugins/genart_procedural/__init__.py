"""Pictures that nobody trained for: flow fields, mosaics, warped noise, reaction and diffusion, and painterly strokes."""

from __future__ import annotations

from ._flow import procedural_flow
from ._mosaic import procedural_cells, procedural_mosaic
from ._reaction import procedural_reaction
from ._strokes import procedural_strokes
from ._warp import procedural_warp

__all__ = [
    "procedural_cells",
    "procedural_flow",
    "procedural_mosaic",
    "procedural_reaction",
    "procedural_strokes",
    "procedural_warp",
]
