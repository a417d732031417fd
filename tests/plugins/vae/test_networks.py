import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genart_vae.networks import Autoencoder, Posterior, Prior
from genart_vae.train import ROUNDING, negative_bound

RESOLUTIONS = [16, 32, 64, 128, 256]


def seeded(*args, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(*args, **kwargs).to(memory_format=torch.channels_last)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_shapes_range_and_layout(resolution):
    G = seeded(resolution, 4, 8)
    images = G(10 * noise(2, 8))
    assert (images.shape, images.dtype) == ((2, 3, resolution, resolution), torch.float32)
    assert float(images.detach().abs().max()) == 1
    posterior = G.encoder(images)
    assert (posterior.mean.shape, posterior.log_var.shape) == ((2, 8), (2, 8))
    layouts = []
    for module in [*G.encoder.downs, *G.decoder.ups, G.decoder.to_rgb]:
        module.register_forward_hook(lambda _, given, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last)))
    G.decoder(G.encoder(images.detach().contiguous(memory_format=torch.channels_last)).mean)
    assert len(layouts) == 2 * int(math.log2(resolution) - 2)
    assert all(layouts)


@torch.no_grad()
def test_first_weights_keep_the_size_of_what_passes_through():
    G = seeded(64, 16, 32)
    x = noise(8, 3, 64, 64)
    sizes = []
    for module in [*G.encoder.downs, *G.decoder.ups]:
        module.register_forward_hook(lambda _, given, out: sizes.append(float(out.square().mean() / given[0].square().mean())))
    G.decoder(G.encoder(x).mean + noise(8, 32))
    assert all(0.5 < size < 4 for size in sizes), sizes  # 2 / (1 + slope²), twice what the rectifier leaves


def moved(z_dim=7, kind_dim=0):
    """A prior whose steps do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        prior = Prior(z_dim, kind_dim)
        for step in prior.steps:
            torch.nn.init.normal_(step.net[-1].weight, 0, 0.1)
    return prior


def test_the_divergence_of_a_sample_is_right_in_the_mean():
    """For a prior that begins as N(0, 1), where there is a closed form (Kingma and Welling 2014, appendix B)."""
    posterior, eps = Posterior(noise(1, 7), noise(1, 7, seed=2)), noise(100_000, 7, seed=3)
    expected = kl_divergence(Normal(posterior.mean, (posterior.log_var / 2).exp()), Normal(0.0, 1.0)).sum(1)
    _, log_prior = Prior(7, 0).to_noise(posterior.sample(eps), torch.zeros(100_000, 0))
    estimate = (posterior.log_density(eps) - log_prior).detach().mean()
    assert float(estimate) == pytest.approx(float(expected), abs=0.05)


@torch.no_grad()
def test_the_prior_leads_back():
    prior, z, kinds = moved(7, 3), noise(20, 7), noise(20, 3, seed=2)
    there, _ = prior.to_noise(z, kinds)
    assert float((there.flip(1) - z).abs().max()) > 0.1
    torch.testing.assert_close(prior.to_latent(there, kinds), z, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("z_dim", [2, 7])
def test_the_priors_density_has_the_determinant_of_its_jacobian(z_dim):
    prior, z, none = moved(z_dim), noise(1, z_dim), torch.zeros(1, 0)
    jacobian = torch.autograd.functional.jacobian(lambda x: prior.to_noise(x, none)[0][0], z)[:, 0]
    there, log_density = prior.to_noise(z, none)
    expected = torch.linalg.slogdet(jacobian).logabsdet - 0.5 * there.square().sum()
    torch.testing.assert_close(log_density[0], expected)


def test_a_sample_of_the_posterior_has_its_mean_and_variance():
    posterior = Posterior(torch.full((1, 1), 3.0), torch.full((1, 1), math.log(0.25)))
    z = posterior.sample(noise(20_000, 1))
    assert float(z.mean()) == pytest.approx(3, abs=0.02)
    assert float(z.std()) == pytest.approx(0.5, rel=0.02)


def test_the_bound_has_the_gradient_of_the_likelihood_at_its_best_variance():
    """The likelihood of n values whose squared error, and therefore whose best variance, is `error`."""
    error, divergence = (torch.tensor(value, requires_grad=True) for value in (0.09, 40.0))
    n, beta = 300, 0.7
    log_p = Normal(0.0, error.sqrt()).log_prob(error.sqrt().expand(n)).sum()
    expected = torch.autograd.grad((beta * divergence - log_p) / n, (error, divergence))
    ours = torch.autograd.grad(negative_bound(error, divergence, n, beta), (error, divergence))
    torch.testing.assert_close(ours, expected)


def test_a_perfect_reconstruction_is_no_infinity():
    error = torch.tensor(0.0, requires_grad=True)
    negative_bound(error, torch.tensor(1.0), 10, 1.0).backward()
    assert float(error.grad) == pytest.approx(0.5 / ROUNDING)


def test_a_class_changes_what_is_drawn():
    G = seeded(16, 4, 8, classes=3)
    for step in G.prior.steps:
        torch.nn.init.normal_(step.net[-1].weight, 0, 0.1, generator=torch.Generator().manual_seed(4))
    z = noise(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert float((images[0] - images[1]).detach().abs().max()) > 1e-3
    assert torch.equal(images, G(z)), "left out, classes come in turn"


def test_a_picture_depends_on_its_own_latent_alone():
    G = seeded(16, 4, 8).eval()
    z = noise(4, 8)
    torch.testing.assert_close(G(z)[:2], G(z[:2]))
    torch.testing.assert_close(G.train()(z), G.eval()(z))
