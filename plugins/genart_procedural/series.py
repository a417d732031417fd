"""What the stages have in common: one stream of random numbers for each picture, its palette, and pictures side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genart import Batch, DataError, Images, Run
from genart.nn.data import over_white
from genart.nn.pictures import Unreadable, Want, decode
from genart.nn.side_by_side import LARGE, each_picture, side_by_side

from ._palettes import PALETTES
from .colour import Palette, named, of_picture

if TYPE_CHECKING:
    from ._params import SourceParams

#: From a picture's stream and the stream of its look, its palette and size, to (H, W, 3) uint8 and words for its metadata.
Draw = Callable[[np.random.Generator, np.random.Generator, Palette], tuple[np.ndarray, dict[str, Any]]]


def stream(run: Run, label: str, index: int) -> np.random.Generator:
    """The random stream of a picture under a label."""
    return np.random.default_rng(run.seed(label, index))


def series(run: Run, params: SourceParams, draw: Draw) -> Iterator[Batch]:
    """Yield `params.count` pictures, from picture `run.start` on; picture i depends on i, the parameters and the seed alone.

    What a picture is like comes from another stream than how it is drawn, and its palette from a third: to give one parameter changes
    nothing else.
    """
    choose = palettes(run, params)

    def one(i: int) -> Batch:
        palette = choose(i)
        array, words = draw(stream(run, "picture", i), stream(run, "look", i), palette)
        return Batch.from_array(array[None], [{"seed": run.seed("picture", i), "palette": palette.name, **words}])

    run.expect(params.count)
    run.apart(1)
    workers = run.workers if params.size[0] * params.size[1] <= LARGE else 1
    yield from side_by_side(one, range(run.start, params.count), workers)


def palettes(run: Run, params: SourceParams) -> Callable[[int], Palette]:
    """The palette of each picture by its index.

    Raises:
        DataError: if `palette_from` cannot be read.
    """
    if params.palette_from is not None:
        fixed = of_picture(first_picture(params.palette_from, run), "picture")
        return lambda i: fixed
    if isinstance(params.palette, tuple):
        own = Palette.of(params.palette)
        return lambda i: own
    names = list(PALETTES) if params.palette == "any" else [params.palette]
    return lambda i: named(names[int(stream(run, "palette", i).integers(len(names)))])


def first_picture(path: Path, run: Run) -> np.ndarray:
    """The first picture of a stage, or a file, transparency over white: (H, W, 3) uint8.

    Raises:
        DataError: if there is none, or it cannot be read.
    """
    side = run.sides.get(str(path))
    if isinstance(side, Images):
        batch = next(side.batches(1), None)
        if batch is None:
            raise DataError(f"{run.stage_id}: the stage '{path}' gave no picture")
        return opaque(batch.array[0])
    try:
        return decode(path, Want())
    except Unreadable as error:
        raise DataError(f"{run.stage_id}: {path.name} cannot be read: {error}", "give a PNG, JPEG, WebP, GIF, BMP or TIFF") from error


def opaque(array: np.ndarray) -> np.ndarray:
    """Lay a picture on white if it is transparent: (H, W, 3 or 4) uint8 to (H, W, 3)."""
    return array if array.shape[2] == 3 else over_white(array[None])[0]


def repainted(run: Run, images: Images, draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Iterator[Batch]:
    """Yield each picture as `draw` makes it anew, with its metadata and its transparency; all frames of a film draw the same.

    Args:
        run: gives each picture its stream.
        images: RGB or RGBA of any sizes.
        draw: (H, W, 3) uint8 and a stream to (H, W, 3) uint8.
    """
    film = images.fps is not None

    def one(batch: Batch) -> Batch:
        array = batch.array[0]
        made = draw(opaque(array), stream(run, "picture", 0 if film else batch.start))
        return Batch.from_array(np.concatenate([made, array[..., 3:]], 2)[None], batch.meta, start=batch.start)

    run.expect(images.count, images.fps)
    run.apart(1)
    yield from each_picture(one, images, run.workers)
