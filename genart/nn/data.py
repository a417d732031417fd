"""Training pictures: a read-only array of bytes, drawn in an order that is a pure function of the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .images import to_signed
from .shards import ALONE, Shard

#: Pictures that are resized at a time.
CHUNK = 256


def all_identical(array: np.ndarray) -> bool:
    """True if every picture equals the first: (N, H, W, C) of any type."""
    return all(bool((array[at : at + CHUNK] == array[0]).all()) for at in range(0, len(array), CHUNK))


def over_white(array: np.ndarray) -> np.ndarray:
    """Lay transparent pictures over white: (N, H, W, 4) uint8 to (N, H, W, 3) uint8."""
    parts = []
    for at in range(0, len(array), CHUNK):
        part = array[at : at + CHUNK].astype(np.uint16)
        alpha = part[..., 3:]
        parts.append(((part[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))
    return np.concatenate(parts)


def square(array: np.ndarray, resolution: int) -> np.ndarray:
    """Scale the shorter side to `resolution` (bilinear, antialiased) and crop the middle: (N, H, W, C) to (N, R, R, C), uint8."""
    height, width = array.shape[1:3]
    scale = resolution / min(height, width)
    size = (round(height * scale), round(width * scale))
    top, left = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    parts = []
    for at in range(0, len(array), CHUNK):
        x = torch.from_numpy(np.ascontiguousarray(array[at : at + CHUNK])).permute(0, 3, 1, 2)
        x = interpolate(x.float(), size, mode="bilinear", antialias=True).round_().clamp_(0, 255).to(torch.uint8)
        parts.append(x[:, :, top : top + resolution, left : left + resolution].permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


@dataclass(frozen=True)
class RealBatch:
    """Real pictures of one step.

    Attributes:
        images: (N, 3, R, R) float32 in [-1, 1] on the device, channels last.
        labels: (N,) int64 on the device, or None.
        versions: (N,) int64 on the CPU: which of the data set's pictures these are; a mirrored one counts on after the last.
        place: what `Pictures.batch` made it of: the step, the place of the first picture, and the size of the whole batch.
    """

    images: Tensor
    labels: Tensor | None = None
    versions: Tensor | None = None
    place: tuple[int, int, int] = (0, 0, 0)


class Pictures:
    """Pictures for training, batch after batch without end: one permutation of all of them follows another.

    Args:
        array: (N, R, R, 3) uint8; a memory map is read where it is touched.
        generator: called with ("order", epoch) or ("mirror", step); returns that fresh random stream. So nothing but the
            number of the step is needed to go on after a kill.
        mirror: flip each picture left to right with probability one half.
        device: where batches go.
        labels: the class of each picture, as a place in `classes`.
        classes: names of the classes; empty where pictures have none.
    """

    def __init__(
        self,
        array: np.ndarray,
        generator: Callable[[str, int], torch.Generator],
        *,
        mirror: bool = False,
        device: str = "cpu",
        labels: Sequence[int] = (),
        classes: Sequence[str] = (),
    ) -> None:
        self.array = array
        self.generator = generator
        self.mirror = mirror
        self.device = device
        self.classes = tuple(classes)
        self.labels = np.asarray(labels, np.int64)
        self._permutation: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.array)

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return int(self.array.shape[1])

    def indices(self, first: int, count: int) -> np.ndarray:
        """Indices of the pictures at places `first` to `first + count` of the endless sequence: (count,) int64."""
        parts = []
        while count > 0:
            epoch, at = divmod(first, len(self))
            part = self._epoch(epoch)[at : at + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)

    def batch(self, step: int, first: int, count: int, shard: Shard = ALONE) -> RealBatch:
        """A batch of real pictures.

        Args:
            step: number of the training step, for the mirroring.
            first: place of the first picture in the endless sequence, the number of images seen before.
            count: batch size.
            shard: which of them are wanted.
        """
        indices = shard.own(self.indices(first, count))
        flip = shard.own(self._flips(step, count))
        labels = torch.from_numpy(self.labels[indices]).to(self.device) if self.classes else None
        return RealBatch(self._images(indices, flip), labels, torch.from_numpy(indices + len(self) * flip), (step, first, count))

    def at(self, indices: np.ndarray) -> Tensor:
        """Pictures by index, not mirrored: (len(indices), 3, R, R) float32 in [-1, 1]."""
        return self._images(indices, np.zeros(len(indices), bool))

    def version(self, versions: np.ndarray) -> Tensor:
        """Pictures as `RealBatch.versions` counts them: (len(versions), 3, R, R) float32 in [-1, 1]."""
        return self._images(versions % len(self), versions >= len(self))

    def labels_in_turn(self, count: int) -> Tensor | None:
        """Each class in turn, (count,) int64 on the device; None where pictures have no classes."""
        return torch.arange(count, device=self.device) % len(self.classes) if self.classes else None

    def _flips(self, step: int, count: int) -> np.ndarray:
        if not self.mirror:
            return np.zeros(count, bool)
        flips: np.ndarray = torch.rand(count, generator=self.generator("mirror", step)).numpy() < 0.5
        return flips

    def _images(self, indices: np.ndarray, flip: np.ndarray) -> Tensor:
        pixels = self.array[indices]
        pixels[flip] = pixels[flip, :, ::-1]
        return to_signed(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device))

    def _epoch(self, epoch: int) -> np.ndarray:
        if self._permutation[0] != epoch:
            self._permutation = (epoch, torch.randperm(len(self), generator=self.generator("order", epoch)).numpy())
        return self._permutation[1]


def snapshot_places(total: int, count: int, step: int) -> list[int]:
    """Images seen at each of at most `count` snapshots: dense at the start, where most changes, and with 0 and `total`.

    The spacing grows linearly, so the places grow as a square. A function of its arguments alone, so that a resume finds
    the same.

    Args:
        total: images of the whole training, a multiple of `step`.
        count: snapshots, at least 2.
        step: every place is a multiple of this, the batch size.
    """
    return sorted({math.ceil(total * (i / (count - 1)) ** 2 / step) * step for i in range(count - 1)} | {total})
