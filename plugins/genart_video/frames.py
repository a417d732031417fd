"""The frames of a film: pictures put on a background, enlarged and captioned, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from genart import Batch, DataError, Images

from .caption import Caption

if TYPE_CHECKING:
    from . import AssembleParams

#: Bytes of 8-bit pixels read at a time when a film is read backward.
CHUNK_BYTES = 8 << 20
#: Longest side that the encoders take.
MAX_SIDE = 16384


class Frames:
    """Frames of one size, made anew at each reading; never more than one batch of them is held.

    Args:
        images: the pictures.
        params: how to show them.
        fps: frames per second.
    """

    def __init__(self, images: Images, params: AssembleParams, fps: float) -> None:
        self.images = images
        self.params = params
        self.fps = fps
        self.caption = Caption(params.caption, fps)
        self.background = np.array([int(params.background[i : i + 2], 16) for i in (1, 3, 5)], np.float32)

    @property
    def count(self) -> int | None:
        """Number of frames, when it is known."""
        count = self.images.count
        return count if count is None or not self.params.ping_pong else count + max(0, count - 2)

    def batches(self) -> Iterator[tuple[np.ndarray, Sequence[int]]]:
        """Yield some frames, (N, H, W, 3) uint8, and which picture each is, in the order of showing.

        Raises:
            DataError: if there are none or they differ in size.
        """
        count = 0
        for batch in self._forward():
            yield self._finish(batch), batch.index
            count += len(batch)
        if not count:
            raise DataError("there are no pictures to make a film of", "the stage before gave none: look at its `count` or `frames`")
        if self.params.ping_pong:
            for batch in self._backward(count):
                yield self._finish(batch)[::-1], batch.index[::-1]

    def sample(self, step: int) -> Iterator[np.ndarray]:
        """Yield every picture `step` apart as (H, W, 3) uint8, neither enlarged nor captioned, for looking ahead."""
        for batch in self._forward():
            yield from self._opaque(batch.array[-batch.start % step :: step])

    def caption_colours(self) -> tuple[tuple[int, int, int], ...]:
        """Colours that a palette must have for captions to stay crisp."""
        return self.caption.colours([*self.images[0].meta, *self.images[-1].meta])

    def _forward(self) -> Iterator[Batch]:
        size = None
        for batch in self.images:
            height, width = batch.array.shape[1:3]
            size = size or (height, width)
            if (height, width) != size:
                raise DataError(
                    f"a film's pictures must be of one size: picture 0 is {size[1]}x{size[0]}, picture {batch.start} is {width}x{height}",
                    "add an images.resize stage before video.assemble",
                )
            if len(batch):
                yield batch

    def _backward(self, count: int) -> Iterator[Batch]:
        """Pictures `count` - 2 to 1: batches from the end on, each in its usual order inside."""
        size = max(1, CHUNK_BYTES // self.images[0].array.nbytes)
        for stop in range(count - 1, 1, -size):
            start = max(1, stop - size)
            # A store may give less than was asked for where the kind of its pictures changes.
            parts: list[Batch] = []
            while start < stop:
                part = next(self.images.batches(stop - start, start=start))
                parts.append(part)
                start += len(part)
            yield from reversed(parts)

    def _finish(self, batch: Batch) -> np.ndarray:
        frames = resize(self._opaque(batch.array), self.params.scale, smooth=self.params.filter == "smooth")
        return self.caption.draw(frames, batch.meta, batch.index)

    def _opaque(self, array: np.ndarray) -> np.ndarray:
        if array.shape[3] == 3:
            return array
        alpha = array[..., 3:].astype(np.float32) / 255
        mixed: np.ndarray = np.rint(array[..., :3] * alpha + self.background * (1 - alpha)).astype(np.uint8)
        return mixed


def resize(frames: np.ndarray, scale: float, *, smooth: bool) -> np.ndarray:
    """Enlarge or reduce (N, H, W, 3) uint8; Pillow's resampling antialiases when it reduces.

    Raises:
        DataError: if a side would be longer than the encoders take.
    """
    height, width = (max(1, round(side * scale)) for side in frames.shape[1:3])
    if max(height, width) > MAX_SIDE:
        raise DataError(
            f"a film of {width}x{height} is too large; at most {MAX_SIDE} on each side", "give video.assemble a smaller `scale`"
        )
    if (height, width) == frames.shape[1:3]:
        return frames
    if not smooth and scale == int(scale):
        return frames.repeat(int(scale), axis=1).repeat(int(scale), axis=2)
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), how)) for frame in frames])
