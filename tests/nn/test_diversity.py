import pytest
import torch

from genart.nn import diversity


def noise(count, seed=0):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_equal_pictures_have_no_spread():
    assert diversity.spread(noise(1).expand(8, -1, -1, -1)) == 0


def test_spread_is_the_mean_distance_between_two():
    black_and_white = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    assert diversity.spread(black_and_white) == pytest.approx(1)


def test_pixel_noise_is_no_variety():
    flat = torch.full((8, 3, 64, 64), 0.5)
    noisy = flat + 0.5 * (torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5)
    assert diversity.spread(noisy) < 0.05


def test_a_planted_collapse_is_below_the_threshold_and_a_good_generator_above():
    real = noise(36)
    spread = diversity.spread(real)
    collapsed = noise(1, 1) + 0.05 * noise(36, 2)
    assert diversity.diversity(collapsed, spread) < diversity.COLLAPSED
    assert diversity.diversity(noise(36, 3), spread) == pytest.approx(1, abs=0.1)
