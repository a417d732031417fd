"""A contact sheet of an operation: over values of a parameter, or over what it draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genart import Batch, DataError, Images, Run, UsageError
from genart.nn.images import grid, to_uint8, to_unit
from genart.nn.kornia_table import read_op
from genart.nn.labels import label_height, label_strip

from .operations import make
from .pipeline import Draws, augmented

if TYPE_CHECKING:
    from . import PreviewParams

BACKGROUND = "#ffffff"


def contact_sheet(run: Run, images: Images, params: PreviewParams) -> Iterator[Batch]:
    """Yield the sheet: a row for each picture, which stands first; a column for each value, or for each draw.

    Raises:
        DataError: if there is no picture.
        UsageError: if the operation does not take the parameter or a value.
    """
    pictures = [batch.part(i, i + 1).pixels for batch in islice(images, params.count) for i in range(len(batch))][: params.count]
    if not pictures:
        raise DataError(f"{run.stage_id}: there is no picture", "give some pictures to try the operation on")
    run.expect(1)
    columns = list(_columns(run, params))
    labels = ["", *(label for label, _ in columns)]
    rows = [[picture, *(change(picture) for _, change in columns)] for picture in pictures]
    cell = tuple(max(tile.shape[side] for row in rows for tile in row) for side in (2, 3))
    height = label_height(cell[1])
    tiles = [_tile(tile, labels[at], cell, height) for row in rows for at, tile in enumerate(row)]
    sheet = grid(torch.stack(tiles), columns=len(labels), gap=4, background=255)
    yield Batch(to_unit(sheet)[None], [{"op": params.op["op"], "values": labels[1:]}])


def _columns(run: Run, params: PreviewParams) -> Iterator[tuple[str, Any]]:
    """A label and what changes a picture, (1, C, H, W), for each column."""
    given = dict(params.op)
    if params.vary is not None:
        for value in params.values:
            try:
                op = make(read_op({**given, params.vary: value}), "0")
            except ValueError as error:
                raise UsageError(f"{run.stage_id}.vary: {error}") from None
            draws = Draws(run, film="once")
            yield f"{params.vary} = {json.dumps(value)}", lambda picture, op=op, draws=draws: augmented(op, picture, 0, draws)
        return
    op, draws = make(given, "0"), Draws(run)
    for number in range(params.columns):
        yield f"draw {number + 1}", lambda picture, number=number: augmented(op, picture, number, draws)


def _tile(picture: Tensor, label: str, cell: tuple[int, ...], height: int) -> Tensor:
    """A picture in the middle of its cell, on white, with its label below: (3, cell + label, cell) uint8."""
    colours, alpha = picture[0, :3], picture[0, 3:] if picture.shape[1] == 4 else torch.ones_like(picture[0, :1])
    shown = to_uint8(colours * alpha + 1 - alpha)
    tile = torch.full((3, cell[0] + height, cell[1]), 255, dtype=torch.uint8)
    top, left = (cell[0] - shown.shape[1]) // 2, (cell[1] - shown.shape[2]) // 2
    tile[:, top : top + shown.shape[1], left : left + shown.shape[2]] = shown
    tile[:, cell[0] :] = label_strip(label, (cell[1], height), BACKGROUND)
    return tile
