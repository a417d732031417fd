"""Which training picture is nearest to a sample, and whether it is a copy: of all pictures, however many."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genart.nn import quality
from genart.nn.data import Pictures
from genart.nn.images import to_signed
from genart.nn.quality import Quality

COUNT, SIDE = 1500, 16


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


class Drawn(torch.nn.Module):
    """A generator that gives some pictures again and again."""

    z_dim = 4

    def __init__(self, array):
        super().__init__()
        self.images = to_signed(torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255)

    def forward(self, z, labels=None):
        return self.images[torch.arange(len(z)) % len(self.images)]


def measured(array, drawn):
    """The quality of what draws these pictures, after a training on those of an array."""

    def generator(label="", index=None):
        return torch.Generator().manual_seed(0)

    def backbone(name):
        return lambda images, layers=(), **more: images

    run = SimpleNamespace(generator=generator, backbone=backbone, device="cpu")
    found = Quality(run, Pictures(array, generator))
    found._features = lambda images: images.float().flatten(1)
    G = Drawn(drawn)
    return found, SimpleNamespace(G=G, G_ema=G)


def unlearned(array):
    """A picture that is not among those whose features are measured in the course of a training."""
    pictures = Pictures(array, lambda *names: torch.Generator().manual_seed(0))
    return next(index for index in range(COUNT) if index not in set(pictures.indices(0, quality.REALS)))


def test_a_copy_of_any_picture_is_found(pictures):
    index = unlearned(pictures)
    found, trainer = measured(pictures, pictures[index : index + 1])
    assert found.copied_share(trainer) == 1.0


def test_what_lies_between_pictures_is_no_copy(pictures):
    between = (pictures[:64].astype(int) + pictures[64:128]) // 2
    found, trainer = measured(pictures, between.astype(np.uint8))
    assert found.copied_share(trainer) == 0.0


@pytest.mark.parametrize("features", [False, True], ids=["by small copies", "by features"])
def test_the_sheet_shows_the_nearest_of_all(pictures, features):
    index = unlearned(pictures)
    noisy = np.clip(pictures[index].astype(int) + np.random.default_rng(1).integers(-20, 20, pictures[index].shape), 0, 255)
    found, trainer = measured(pictures, noisy.astype(np.uint8)[None])
    if features:
        _ = found.real
    sheet = found.nearest_sheet(trainer, torch.zeros(1, 4), None)
    right = sheet[0, :, -SIDE:, -SIDE:]
    expected = torch.from_numpy(pictures[index]).permute(2, 0, 1).float() / 255
    tiles = [sheet[0, :, y : y + SIDE, x : x + SIDE] for y in range(sheet.shape[2] - SIDE + 1) for x in range(sheet.shape[3] - SIDE + 1)]
    assert any(torch.allclose(tile, expected, atol=1e-3) for tile in tiles), right
