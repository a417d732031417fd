"""Augmentation against plain calls of Kornia: `python bench/augment.py [--count 2048] [--size 64]`.

Prints pictures per second and their ratio. Plain calls draw once for a whole batch, so that a picture's fate depends on its
neighbours; ours draw for each picture by its own seed. Both go from 8-bit pictures to 8-bit pictures in the same batches, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kornia.augmentation as K
import numpy as np
import torch

from genart import Batch, Images
from genart.events import Events
from genart.nn.kornia_table import operations
from genart.run import Run
from genart_augment.operations import make
from genart_augment.pipeline import augment_images

SETS: dict[str, list[dict[str, Any]]] = {
    "flip": [{"op": "RandomHorizontalFlip", "p": 0.5}],
    "affine": [{"op": "RandomAffine", "degrees": 10, "translate": [0.1, 0.1], "scale": [0.9, 1.1], "p": 1.0}],
    "colour": [{"op": "ColorJitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "p": 1.0, "order": [0, 1, 2, 3]}],
    "colour, any order": [{"op": "ColorJitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "p": 1.0}],
    "crop": [{"op": "RandomResizedCrop", "size": [64, 64], "scale": [0.3, 1.0]}],
    "blur": [{"op": "RandomGaussianBlur", "kernel_size": [5, 5], "sigma": [0.5, 2.0], "p": 1.0}],
    "function": [{"op": "adjust_gamma", "gamma": 1.5}],
    "chain": [
        {"op": "RandomHorizontalFlip", "p": 0.5},
        {"op": "RandomAffine", "degrees": 10, "p": 1.0},
        {"op": "RandomBrightness", "brightness": [0.8, 1.2], "p": 1.0},
    ],
}


def called(table: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """One operation, as Kornia's documentation calls it."""
    if operations()[table["op"]].kind == "function":
        op = make(table, "0")
        return lambda x: op.change(x, {})
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key != "op"}
    module: Callable[[torch.Tensor], torch.Tensor] = getattr(K, table["op"])(**given)
    return module


def plain(tables: list[dict[str, Any]], array: np.ndarray, chunk: int) -> Callable[[], None]:
    """The same operations on batches."""
    modules = [called(table) for table in tables]

    def run() -> None:
        for at in range(0, len(array), chunk):
            x = Batch.from_array(array[at : at + chunk]).pixels
            for module in modules:
                x = module(x)
            Batch(x).array  # noqa: B018 - both end in 8 bits

    return run


def ours(tables: list[dict[str, Any]], images: Images) -> Callable[[], None]:
    """What the stage does, without finding plugins."""
    stage_run = Run(stage_id="augment", seed=1, device="cpu", work=Path(tempfile.gettempdir()) / "unused", events=Events())

    def run() -> None:
        for batch in augment_images(stage_run, images, tables):
            batch.array  # noqa: B018

    return run


def seconds(run: Callable[[], None]) -> float:
    """Wall time."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    array = np.random.default_rng(0).integers(0, 256, (options.count, options.size, options.size, 3), np.uint8)
    images = Images.from_batches([Batch.from_array(array)])
    print(f"{'operations':18}{'plain/s':>10}{'ours/s':>10}{'ratio':>8}")
    for name, tables in SETS.items():
        a, b = plain(tables, array, 256), ours(tables, images)
        a(), b()
        rounds = [(seconds(a), seconds(b)) for _ in range(options.rounds)]
        left, right = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(first / second for first, second in rounds)
        print(f"{name:18}{options.count / left:10.0f}{options.count / right:10.0f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
