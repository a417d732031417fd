"""What latent stages ask of a generator, over every bundled family."""

from types import SimpleNamespace

import pytest
import torch

from genart.nn.latent_directions import directions, space_of
from genart.nn.latent_project import Projection, best_starts
from genart.nn.latent_space import Space
from genart_dcgan.networks import Generator as Dcgan
from genart_latent.draw import open_space
from genart_msggan.networks import Generator as Msggan
from genart_progan.networks import Generator as Progan
from genart_projected.networks import Generator as Projected
from genart_stylegan.networks import Generator as Stylegan
from genart_vae.networks import Autoencoder

from .toys import model

FAMILIES = {"dcgan": Dcgan, "progan": Progan, "msggan": Msggan, "stylegan": Stylegan, "projected": Projected, "vae": Autoencoder}


def generator(family, classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = FAMILIES[family](resolution=16, width=4, z_dim=6, classes=classes).eval().requires_grad_(False)
        for last in G.prior.steps if family == "vae" else ():  # which begins as no change
            torch.nn.init.normal_(last.net[-1].weight, 0, 0.1)
        return G


def space(family, name="z"):
    header = model("kinds", family=family).header | {"family": family, "resolution": 16}
    made = model()
    object.__setattr__(made, "header", header)
    return Space(made, generator(family), "cpu", name)


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_of_one_class_draw_what_the_class_draws(family):
    G, z = generator(family), torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(G(z, torch.tensor([2, 0, 1])), G(z, torch.eye(3)[[2, 0, 1]]))
        blend = G(z, torch.tensor([[0.5, 0.5, 0.0]] * 3))
    assert bool(torch.isfinite(blend).all())
    assert not torch.equal(blend, G(z, torch.tensor([0, 0, 0])))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_directions(family):
    at = space(family, space_of("sefa", family == "stylegan"))
    found = directions(at, "sefa")
    assert found.vectors.shape == (at.dim, at.dim)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(at.dim), atol=1e-4)
    assert bool((found.spread >= 0).all())


def test_the_first_layer_of_a_vae_is_seen_through_its_prior():
    G = generator("vae", classes=0).double()
    tiny = 1e-6 * torch.eye(6, dtype=torch.float64)
    none = torch.zeros(6, 0, dtype=torch.float64)
    change = G.decoder.dense(G.prior.to_latent(tiny, none)) - G.decoder.dense(G.prior.to_latent(-tiny, none))
    assert torch.allclose(change.T / 2e-6, G.first_layer(), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_projected_into(family):
    at = space(family, "w" if family == "stylegan" else "z")

    def distance(images):
        return (images - 0.7).square().mean((1, 2, 3))

    starts = best_starts(at, distance, 2, None, torch.Generator().manual_seed(0))
    work = Projection(at, distance, starts, 0.1)
    first = work.step(0.0)
    for _ in range(15):
        last = work.step(0.0)
    assert last < first


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_draws_by_the_direction_of_a_latent_alone_says_so(family):
    G, z = generator(family, classes=0), torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        same = not hasattr(G, "truncate") and torch.allclose(G(z), G(z * 0.5), atol=1e-4)
    assert same == getattr(G, "directions_only", False), "truncation_psi is warned of where it does nothing, and only there"
    told = []
    run = SimpleNamespace(load=lambda model: G, device="cpu", warn=told.append)
    open_space(SimpleNamespace(family=family, header={"resolution": 16, "z_dim": 6}), run, truncation_psi=0.5)
    assert bool(told) == same
