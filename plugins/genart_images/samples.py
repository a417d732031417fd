"""Crops out of scikit-image's photographs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from genart import Batch, Run
from genart.nn.samples import FILES, data_folder

#: Bytes of crops in one batch.
BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class Photo:
    """A decoded photograph and halvings of it, so that a small crop of a large piece touches few pixels.

    Attributes:
        name: file name.
        levels: RGB pictures; level k is reduced 2**k times by averaging.
    """

    name: str
    levels: tuple[Image.Image, ...]

    @classmethod
    def open(cls, name: str) -> Photo:
        """Decode the photograph `name` of the table, once."""
        with Image.open(data_folder() / FILES[name]) as file:
            photo = file.convert("RGB")
        deepest = int(math.log2(min(photo.size)))
        return cls(FILES[name], (photo, *(photo.reduce(2**k) for k in range(1, deepest + 1))))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.levels[0].size

    def cut(self, box: tuple[int, int, int, int], crop: int) -> Image.Image:
        """Bring the square `box` (left, top, right, bottom) to `crop` pixels, antialiased."""
        # Two pixels for each one of the crop are left to the filter; the halvings did the averaging before.
        shrink = (box[2] - box[0]) / (2 * crop)
        level = min(len(self.levels) - 1, max(0, int(math.log2(shrink)))) if shrink > 1 else 0
        scaled = tuple(side / 2**level for side in box)
        return self.levels[level].resize((crop, crop), Image.Resampling.LANCZOS, box=scaled)


def whole(run: Run, names: Sequence[str]) -> Iterator[Batch]:
    """Yield whole photographs, one per batch, from picture `run.start` on."""
    for span in run.spans(len(names), 1):
        photo = Photo.open(names[span.start])
        yield Batch.from_array(np.asarray(photo.levels[0])[None], [{"source": photo.name}])


def crops(run: Run, names: Sequence[str], *, count: int, crop: int, scale: tuple[float, float], mirror: bool) -> Iterator[Batch]:
    """Yield `count` square crops, from picture `run.start` on; picture i depends on i and the seed alone.

    Args:
        run: gives each picture its seed.
        names: photographs of the table, taken in turn.
        count: number of crops.
        crop: their side in pixels.
        scale: range of the cut piece's side, as fractions of the photograph's shorter side.
        mirror: mirror half of them.
    """
    photos = [Photo.open(name) for name in names]
    size = max(1, min(count, BATCH_BYTES // (3 * crop * crop)))
    out = np.empty((size, crop, crop, 3), np.uint8)
    metas: list[dict[str, object]] = [{} for _ in out]

    def fill(indices: range, first: int) -> None:
        for i in indices:
            photo, seed = photos[i % len(photos)], run.seed("crop", i)
            box, turned = place(photo.size, scale, Random(seed), mirror=mirror)  # noqa: S311  (a picture's stream, not a secret)
            picture = np.asarray(photo.cut(box, crop))
            out[i - first] = picture[:, ::-1] if turned else picture
            metas[i - first] = {"source": photo.name, "seed": seed, "box": list(box), **({"mirrored": turned} if mirror else {})}

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:  # resizing leaves the interpreter's lock
        for span in run.spans(count, size):
            list(pool.map(fill, [span[k::workers] for k in range(workers)], [span.start] * workers))
            yield Batch.from_array(out[: len(span)].copy(), metas[: len(span)])


def place(size: tuple[int, int], scale: tuple[float, float], stream: Random, *, mirror: bool) -> tuple[tuple[int, int, int, int], bool]:
    """Draw a square piece of a photograph.

    Args:
        size: width and height of the photograph in pixels.
        scale: range of the piece's side, as fractions of the shorter side.
        stream: the picture's own random stream.
        mirror: draw whether it is mirrored.

    Returns:
        The box (left, top, right, bottom) in pixels inside the photograph, and whether it is mirrored.
    """
    side = max(1, round(min(size) * stream.uniform(*scale)))
    left = stream.randrange(size[0] - side + 1)
    top = stream.randrange(size[1] - side + 1)
    return (left, top, left + side, top + side), mirror and stream.random() < 0.5
