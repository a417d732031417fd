import math

import pytest
import torch

from genart.nn.latent import latent
from genart.nn.latent_loops import angle_of, around, circle, noise_loop, simplex_noise


def test_simplex_noise_is_smooth_centred_and_bounded():
    x = torch.linspace(0, 400, 200_001, dtype=torch.float64)
    values = simplex_noise(x, 0.37 * x + 11)
    assert float(values.abs().max()) <= 1
    assert abs(float(values.mean())) < 0.05
    assert float(values.std()) > 0.2
    assert float(values.diff().abs().max()) < 0.02  # steps of 0.002


def test_simplex_noise_is_continuous_across_its_triangles():
    stream = torch.Generator().manual_seed(0)
    x, y = (100 * torch.rand(20_000, generator=stream, dtype=torch.float64) - 50 for _ in range(2))
    assert float((simplex_noise(x + 1e-7, y - 1e-7) - simplex_noise(x, y)).abs().max()) < 1e-5


def test_a_noise_loop_keeps_the_length_of_a_latent_and_goes_far():
    film = torch.stack([noise_loop(64, angle_of(i, 60), 5, seed=3) for i in range(60)])
    assert torch.allclose(film.norm(dim=1), torch.tensor(8.0), atol=1e-4)
    steps = (film - film.roll(-1, 0)).norm(dim=1)
    assert float(steps.max()) < 4 * float(steps.median())
    assert float((film[0] - film[30]).norm()) > 6
    assert not torch.equal(film[0], noise_loop(64, 0.0, 5, seed=4))


def test_latents_of_noise_loops_are_as_varied_as_normal_ones():
    """Numbers of one latent come from far places of the field: they do not rise and fall together."""
    z = torch.stack([noise_loop(64, 0.0, 5, seed) for seed in range(400)])
    assert abs(float(z.mean())) < 0.05
    correlation = torch.corrcoef(z.T) - torch.eye(64)
    assert float(correlation.abs().max()) < 0.25


def test_a_circle_passes_both_latents_and_keeps_the_variance():
    a, b = latent(512, 1), latent(512, 2)
    assert torch.equal(circle(a, b, 0.0), a)
    assert torch.allclose(circle(a, b, math.pi / 2), b, atol=1e-5)
    for angle in (0.5, 2.0, 4.0):
        assert float(around(latent(512, 3), circle(a, b, angle), 0.4).std()) == pytest.approx(1, abs=0.1)
    assert torch.equal(around(a, b, 0.0), a)
