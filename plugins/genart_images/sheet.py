"""Contact sheets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from PIL import ImageColor
from torch import Tensor

from genart import Batch, DataError, Images, Meta, Run, UsageError
from genart.nn.images import grid, to_uint8, to_unit
from genart.nn.labels import label_height, label_strip

from .resize import resize

#: Largest side of a sheet in pixels: what viewers and browsers still open.
MAX_SHEET_SIDE = 30_000

Picture = tuple[Tensor, Meta]


def sheets(
    run: Run,
    images: Images,
    *,
    columns: int | None = None,
    rows: int | None = None,
    count: int | None = None,
    gap: int = 2,
    background: str = "#ffffff",
    cell: tuple[int, int] | None = None,
    label: str | None = None,
) -> Iterator[Batch]:
    """Yield contact sheets.

    Args:
        run: told of the number of sheets when it is known.
        images: of any sizes.
        columns: pictures side by side.
        rows: rows on one sheet; None puts every picture on one.
        count: lay out the first so many.
        gap: pixels between pictures and around them.
        background: "#rrggbb".
        cell: (width, height) of a cell; None takes the largest width and the largest height on the sheet.
        label: metadata to write under each picture.

    Raises:
        DataError: if there is no picture.
        UsageError: if a sheet would be larger than 30,000 pixels in one direction.
    """
    pictures = islice(_pictures(images), count)
    columns = columns or rows
    per_sheet = None if rows is None or columns is None else columns * rows
    run.expect(1 if per_sheet is None else None)
    made = 0
    while held := list(islice(pictures, per_sheet)):
        made += 1
        tiles = _tiles(held, cell, background, label)
        across = columns or math.ceil(math.sqrt(len(held)))
        _check_size(tiles, across, gap)
        sheet = grid(tiles, across, gap, _fill(background))
        yield Batch.from_array(sheet.permute(1, 2, 0)[None].contiguous().numpy(), [{"pictures": len(held)}])
    if not made:
        raise DataError("images.grid: there is no picture to lay out", "the stage before gave none")


def _pictures(images: Images) -> Iterator[Picture]:
    for batch in images:
        yield from zip(torch.tensor(batch.array).permute(0, 3, 1, 2), batch.meta, strict=True)


def _check_size(tiles: Tensor, columns: int, gap: int) -> None:
    rows = math.ceil(len(tiles) / columns)
    height, width = gap + rows * (tiles.shape[2] + gap), gap + columns * (tiles.shape[3] + gap)
    if max(height, width) > MAX_SHEET_SIDE:
        raise UsageError(
            f"images.grid: a sheet of {width}x{height} pixels is too large",
            "give `rows` for several sheets, `count`, or a smaller `resolution`",
        )


def _tiles(pictures: list[Picture], cell: tuple[int, int] | None, background: str, label: str | None) -> Tensor:
    """Bring pictures to cells of one size, on the background, with a strip for the label below: (N, 3, H, W) uint8."""
    width, height = cell or (max(p.shape[2] for p, _ in pictures), max(p.shape[1] for p, _ in pictures))
    strip = label_height(width) if label is not None else 0
    tiles = _fill(background)[None, :, None, None].repeat(len(pictures), 1, height + strip, width)
    for tile, (picture, meta) in zip(tiles, pictures, strict=True):
        _place(tile[:, :height], picture, enlarge=cell is not None)
        if label is not None:
            tile[:, height:] = label_strip(str(meta.get(label, "")), (width, strip), background)
    return tiles


def _place(tile: Tensor, picture: Tensor, *, enlarge: bool) -> None:
    """Put a picture, (3 or 4, h, w) uint8, into the middle of a tile, (3, H, W) uint8, over what the tile shows."""
    factor = min(tile.shape[1] / picture.shape[1], tile.shape[2] / picture.shape[2])
    if enlarge and factor != 1:
        size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[2] * factor)))
        picture = to_uint8(resize(to_unit(picture)[None], size)[0])
    height, width = picture.shape[1:]
    top, left = (tile.shape[1] - height) // 2, (tile.shape[2] - width) // 2
    under = tile[:, top : top + height, left : left + width]
    under[:] = picture if picture.shape[0] == 3 else _over(picture, under)


def _over(picture: Tensor, under: Tensor) -> Tensor:
    alpha = to_unit(picture[3:])
    return to_uint8(to_unit(picture[:3]) * alpha + to_unit(under) * (1 - alpha))


def _fill(background: str) -> Tensor:
    return torch.tensor(ImageColor.getrgb(background), dtype=torch.uint8)
