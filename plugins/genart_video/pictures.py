"""Single pictures out of an input, one after another, holding one batch of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from genart import Batch, DataError, Images, Meta
from genart.nn.pictures import Unreadable, Want, decode

#: Bytes of 8-bit pixels read at a time when a film is read backward.
CHUNK_BYTES = 8 << 20


class Cursor:
    """Reads pictures by number: forward as they come, also while they are being made; backward in chunks."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._batches: Iterator[Batch] | None = None
        self._batch: Batch | None = None
        self._shape: tuple[int, int] | None = None

    def read(self, index: int) -> tuple[np.ndarray, Meta] | None:
        """Return picture `index`, (H, W, 3 or 4) uint8, and its metadata; None beyond the end.

        Raises:
            DataError: if it is of another size than those before.
        """
        if self._batches is None:
            self._batches = self._images.batches(start=index)
        elif self._batch is not None and index < self._batch.start:
            size = max(1, CHUNK_BYTES // self._batch.array[0].nbytes)
            self._batches = self._images.batches(size, start=max(0, index - size + 1))
            self._batch = None
        while self._batch is None or index >= self._batch.start + len(self._batch):
            self._batch = next(self._batches, None)
            if self._batch is None:
                return None
            self._check(self._batch)
        at = index - self._batch.start
        return self._batch.array[at], self._batch.meta[at]

    def _check(self, batch: Batch) -> None:
        height, width = batch.array.shape[1:3]
        self._shape = self._shape or (height, width)
        if len(batch) and (height, width) != self._shape:
            raise DataError(
                f"a film's pictures must be of one size: the first is {self._shape[1]}x{self._shape[0]}, "
                f"picture {batch.start} is {width}x{height}",
                "add an images.resize stage before the film",
            )


def still(path: Path) -> Images:
    """A picture file as a film of one picture.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return Images.from_batches([Batch.from_array(decode(path, Want(keep_alpha=True))[None])])
    except Unreadable as error:
        raise DataError(f"beside: {path.name}: {error}", "it takes ids of stages, and picture files") from error


def opaque(picture: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Put (H, W, 3 or 4) uint8 on a background, (3,) float32: (H, W, 3) uint8."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    mixed: np.ndarray = np.rint(picture[..., :3] * alpha + background * (1 - alpha)).astype(np.uint8)
    return mixed


def with_alpha(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) uint8 -> (H, W, 4) uint8."""
    return picture if picture.shape[2] == 4 else np.pad(picture, ((0, 0), (0, 0), (0, 1)), constant_values=255)


def blend(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Mix two pictures, (H, W, C) uint8: `share` of the second one. Colours count as much as they are seen."""
    weights = [1 - share, share]
    pictures = [picture.astype(np.float32) for picture in (before, after)]
    if before.shape[2] == 3:
        return np.rint(sum(w * p for w, p in zip(weights, pictures, strict=True))).astype(np.uint8)
    seen = [w * p[..., 3:] for w, p in zip(weights, pictures, strict=True)]
    alpha = seen[0] + seen[1]
    colour = (seen[0] * pictures[0][..., :3] + seen[1] * pictures[1][..., :3]) / np.maximum(alpha, 1e-6)
    return np.rint(np.concatenate([colour, alpha], axis=2)).astype(np.uint8)


def resized(picture: np.ndarray, height: int, width: int, *, smooth: bool = True) -> np.ndarray:
    """Enlarge or reduce (H, W, C) uint8; Pillow's resampling antialiases when it reduces."""
    if (height, width) == picture.shape[:2]:
        return picture
    down, across = height / picture.shape[0], width / picture.shape[1]
    if not smooth and down == across == int(down):
        return picture.repeat(int(down), axis=0).repeat(int(down), axis=1)
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), how))
