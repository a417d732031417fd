"""latent.grid: a contact sheet whose cells carry their seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genart import Batch, Model, Run, UsageError
from genart.nn.images import grid, to_uint8
from genart.nn.labels import label_height, label_strip

from ._sample import GridParams
from .draw import draw, open_space, sample_count, samples

#: Largest side of a sheet in pixels: what viewers and browsers still open.
MAX_SIDE = 30_000
WHITE = "#ffffff"


def sheet(model: Model, params: GridParams, run: Run) -> Iterator[Batch]:
    """Yield the one sheet; see the stage.

    Raises:
        UsageError: if it would be larger than 30,000 pixels in one direction.
    """
    run.expect(1)
    space = open_space(model, run, truncation_psi=params.truncation_psi)
    count = sample_count(params)
    columns = params.columns or math.ceil(math.sqrt(count))
    side = int(model.header["resolution"]) + params.gap
    if max(columns, math.ceil(count / columns)) * side > MAX_SIDE:
        raise UsageError(
            f"{run.stage_id}: a sheet of {count} pictures of {side - params.gap} pixels is too large", "give a smaller `count`"
        )
    tiles, cells = [], []
    for batch in draw(space, samples(space, params, run), count, run):
        tiles.append(to_uint8(batch.pixels.cpu()))
        cells += [{"cell": batch.start + i} | meta for i, meta in enumerate(batch.meta)]
        run.progress(len(cells), count)
        run.check()
    laid = grid(labelled(torch.cat(tiles), cells, params.label), columns, params.gap, 255)
    yield Batch.from_array(laid.permute(1, 2, 0)[None].contiguous().numpy(), [{"columns": columns, "cells": cells}])


def labelled(tiles: Tensor, cells: list[dict[str, Any]], label: str | None) -> Tensor:
    """Pictures (N, 3, H, W) uint8 with a line of text under each, (N, 3, H + line, W); without one, as they are."""
    if label is None:
        return tiles
    size = (tiles.shape[3], label_height(tiles.shape[3]))
    name = {"class": "label"}.get(label, label)
    return torch.cat([tiles, torch.stack([label_strip(str(cell.get(name, "")), size, WHITE) for cell in cells])], 2)
