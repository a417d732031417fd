"""Contact sheets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import ImageColor
from torch import Tensor

from genart import Batch, DataError, Images, Meta, Run, UsageError
from genart.nn.images import grid, to_uint8, to_unit
from genart.nn.labels import label_height, label_strip, label_width
from genart.nn.pictures import Unreadable, Want, decode

from .resize import resize

#: Largest side of a sheet in pixels: what viewers and browsers still open.
MAX_SHEET_SIDE = 30_000
#: Width in pixels that a cell gets at most for its label's sake.
WIDEST_LABEL = 320

Picture = tuple[Tensor, Meta]
Label = str | Mapping[str, Any]


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
    while held := _gathered(islice(pictures, per_sheet), columns, gap, cell):
        made += 1
        labels = [str(meta.get(label, "")) for _, meta in held] if label is not None else []
        told = {"pictures": len(held), **_origins([meta for _, meta in held])}
        yield _sheet([picture for picture, _ in held], labels, columns, gap, cell, background, told)
    if not made:
        raise DataError("images.grid: there is no picture to lay out", "the stage before gave none")


def _gathered(pictures: Iterator[Picture], columns: int | None, gap: int, cell: tuple[int, int] | None) -> list[Picture]:
    """The pictures of one sheet.

    Raises:
        UsageError: as soon as they are too many for one.
    """
    held: list[Picture] = []
    width, height = cell or (0, 0)
    for picture in pictures:
        held.append(picture)
        if cell is None:
            width, height = max(width, picture[0].shape[2]), max(height, picture[0].shape[1])
        _check_size(len(held), width, height, columns, gap)
    return held


def _origins(metas: Sequence[Meta]) -> Meta:
    """What cells tell of the latents that they were drawn from, if any does, so that `keys_from` can pick one."""
    if not any("seed" in meta or "latent" in meta for meta in metas):
        return {}
    return {"cells": [{name: value for name, value in meta.items() if name != "origin"} for meta in metas]}


def labelled_sheet(
    run: Run,
    pictures: Sequence[Path],
    labels: Sequence[Label],
    *,
    columns: int | None = None,
    gap: int = 8,
    background: str = "#ffffff",
    cell: tuple[int, int] | None = None,
) -> Iterator[Batch]:
    """Yield one sheet of the first pictures of stages, or of files, with words under each.

    Args:
        run: knows what the stages gave.
        pictures: files, or ids of stages.
        labels: one for each picture, or none: a text, or a table whose names and values are written line by line.
        columns: pictures side by side; None for a sheet that is about square.
        gap: pixels between pictures and around them.
        background: "#rrggbb".
        cell: (width, height) of a cell; None takes the largest width and the largest height, and what the labels need.

    Raises:
        DataError: if a picture cannot be read, or a stage gave none.
        UsageError: if the sheet would be larger than 30,000 pixels in one direction.
    """
    run.expect(1)
    texts = _texts(labels)
    held = [_first(path, run) for path in pictures]
    told = {"pictures": len(held), **({"cells": list(labels)} if labels else {})}
    yield _sheet(held, texts, columns, gap, cell, background, told, widest=WIDEST_LABEL)


def _first(path: Path, run: Run) -> Tensor:
    """The first picture of a stage, or a file: (3 or 4, H, W) uint8."""
    side = run.sides.get(str(path))
    if isinstance(side, Images):
        batch = next(side.batches(1), None)
        if batch is None:
            raise DataError(f"{run.stage_id}: the stage '{path}' gave no picture")
        return torch.tensor(batch.array[0]).permute(2, 0, 1)
    try:
        return torch.tensor(decode(path, Want())).permute(2, 0, 1)
    except Unreadable as error:
        raise DataError(f"{run.stage_id}: {path.name} cannot be read: {error}", "give a PNG, JPEG, WebP, GIF, BMP or TIFF") from error


def _texts(labels: Sequence[Label]) -> list[str]:
    """Labels as lines; of `stage.parameter` the parameter alone, where only one stage has it."""
    names = {name for label in labels if isinstance(label, Mapping) for name in label}
    last = [name.rpartition(".")[2] for name in names]
    short = {name: name if last.count(name.rpartition(".")[2]) > 1 else name.rpartition(".")[2] for name in names}
    return [
        label if isinstance(label, str) else "\n".join(f"{short[name]} {_say(value)}" for name, value in label.items()) for label in labels
    ]


def _say(value: Any) -> str:
    return ", ".join(map(_say, value)) if isinstance(value, list | tuple) else str(value).lower() if isinstance(value, bool) else str(value)


def _pictures(images: Images) -> Iterator[Picture]:
    for batch in images:
        yield from zip(torch.tensor(batch.array).permute(0, 3, 1, 2), batch.meta, strict=True)


def _sheet(
    pictures: Sequence[Tensor],
    labels: Sequence[str],
    columns: int | None,
    gap: int,
    cell: tuple[int, int] | None,
    background: str,
    told: Meta,
    *,
    widest: int = 0,
) -> Batch:
    """Lay pictures, each (3 or 4, h, w) uint8, out on one sheet; cells without a given size become up to `widest` for their labels."""
    tiles = _tiles(pictures, labels, columns, gap, cell, background, widest)
    sheet = grid(tiles, columns, gap, _fill(background))
    return Batch.from_array(sheet.permute(1, 2, 0)[None].contiguous().numpy(), [told])


def _check_size(count: int, width: int, height: int, columns: int | None, gap: int) -> None:
    """Refuse a sheet of so many cells, each of this width and height, that is too large."""
    columns = columns or math.ceil(math.sqrt(count))
    width, height = gap + columns * (width + gap), gap + math.ceil(count / columns) * (height + gap)
    if max(height, width) > MAX_SHEET_SIDE:
        raise UsageError(
            f"{count} pictures make a sheet of {width}x{height} pixels, which is too large",
            "give fewer pictures, a smaller `resolution`, or `rows` for several sheets",
        )


def _tiles(
    pictures: Sequence[Tensor],
    labels: Sequence[str],
    columns: int | None,
    gap: int,
    cell: tuple[int, int] | None,
    background: str,
    widest: int,
) -> Tensor:
    """Bring pictures to cells of one size, on the background, with a strip for each line of the labels below: (N, 3, H, W) uint8."""
    width, height = cell or (max(picture.shape[2] for picture in pictures), max(picture.shape[1] for picture in pictures))
    strip = label_height(width)
    lines = [label.split("\n") for label in labels]
    below = strip * max(map(len, lines), default=0)
    if cell is None:
        wanted = max((label_width(text, strip) for texts in lines for text in texts), default=0)
        width = max(width, min(widest, wanted))
    _check_size(len(pictures), width, height + below, columns, gap)
    tiles = _fill(background)[None, :, None, None].repeat(len(pictures), 1, height + below, width)
    for i, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        _place(tile[:, :height], picture, enlarge=cell is not None)
        for line, text in enumerate(lines[i] if lines else ()):
            top = height + line * strip
            tile[:, top : top + strip] = label_strip(text, (width, strip), background)
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
