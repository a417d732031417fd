"""Pictures for the tests of styles."""

import numpy as np

from genart.artifacts import Batch, Images


def waves(height, width, seed=0, channels=3):
    """A smooth picture (H, W, C) uint8, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    parts = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-2, 2, (channels, 3))]
    return ((np.stack(parts, -1) * 0.4 + 0.5) * 255).astype(np.uint8)


def pictures(*arrays):
    """Images of any sizes, each with its number as metadata."""
    return Images.from_batches([Batch.from_array(array[None], [{"number": i}]) for i, array in enumerate(arrays)])
