"""Public data sets, read where torchvision keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genart import Batch, Run
from genart.nn.datasets import Set
from genart.nn.pictures import Want

from .reading import Given, read_given


def read_set(run: Run, name: str, root: Path, split: str, want: Want, *, count: int | None = None, strict: bool = False) -> Iterator[Batch]:
    """Yield the pictures of a data set with their classes, in its own order.

    Args:
        run: told of progress and of skipped pictures.
        name: torchvision's name of the set.
        root: the folder that torchvision would be given.
        split: which part of it.
        want: what to bring each picture to.
        count: stop after so many pictures.
        strict: stop at the first picture that cannot be read.

    Raises:
        DataError: if it is not there, or damaged.
    """
    pictures = Set(name, root, split, want)
    given = (_given(pictures, i) for i in range(len(pictures)))
    yield from read_given(run, given, want, total=len(pictures), where=name, count=count, strict=strict)


def _given(pictures: Set, index: int) -> Given:
    meta: dict[str, str] = {}

    def read(want: Want) -> np.ndarray:
        picture, label = pictures.read(index)
        if label is not None:
            meta["label"] = label
        return picture

    return Given(f"picture {index}", meta, read)
