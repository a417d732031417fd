from itertools import repeat

import pytest
import torch
from torch.nn import functional as F

from genart_projected.networks import Discriminator, Double, Gate, Generator, Head

RESOLUTIONS = [16, 32, 64, 128, 256]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(cls, *args, seed=0, **kwargs):
    torch.manual_seed(seed)
    return cls(*args, **kwargs)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_shapes_and_range(resolution):
    G = made(Generator, resolution, 4, 8).to(memory_format=torch.channels_last)
    images = G(normal(2, 8))
    assert images.shape == (2, 3, resolution, resolution)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_same_z_gives_the_same_picture_and_another_another():
    G = made(Generator, 16, 4, 8).eval()
    z = normal(2, 8)
    assert torch.equal(G(z), G(z))
    assert not torch.equal(G(z)[0], G(z)[1])
    again = made(Generator, 16, 4, 8).eval()
    assert torch.equal(G(z), again(z))


def test_a_layer_is_what_the_paper_says():
    """Enlarge to nearest neighbours, convolve, normalise, and let one half of the channels open the other (figure 3)."""
    double = made(Double, 4, 3, again=False)
    x = normal(2, 4, 8, 8)
    # `up` holds the plain kernel turned round, in and out exchanged.
    y = F.conv2d(F.interpolate(x, scale_factor=2), double.up.weight.flip(2, 3).transpose(0, 1), padding=1)
    y = F.batch_norm(y, None, None, training=True)
    torch.testing.assert_close(double(x, repeat(None)), y[:, :3] * torch.sigmoid(y[:, 3:]), rtol=1e-4, atol=1e-5)


def test_the_excitation_is_that_of_the_paper():
    gate = made(Gate, 6, 3)
    coarse, fine = normal(2, 6, 8, 8), normal(2, 3, 32, 32)
    weights = torch.sigmoid(gate.excite(F.silu(gate.squeeze(F.adaptive_avg_pool2d(coarse, 4)))))
    assert weights.shape == (2, 3, 1, 1)
    torch.testing.assert_close(gate(coarse, fine), weights * fine)
    G = made(Generator, 128, 4, 8)
    assert list(G.gates) == ["64", "128"], "4 opens 64, and 8 opens 128"


@pytest.mark.parametrize("size", [16, 8, 4, 2])
def test_heads_answer_at_no_more_than_four_places(size):
    places = min(size, 4)
    assert made(Head, size, 8)(normal(4, 8, size, size)).shape == (4, places, places)


def test_D_answers_for_each_scale_and_its_projection_is_not_its_own_to_learn():
    D = made(Discriminator, (5, 6, 7), (16, 8, 4), (4, 8, 8))
    seen = normal(4, 4, 16, 16), normal(4, 8, 8, 8), normal(4, 8, 4, 4)
    assert [tuple(answer.shape) for answer in D(seen)] == [(4, 4, 4)] * 3
    learned = {name for name, _ in D.named_parameters()}
    assert not any("projection" in name for name in learned)
    assert any("projection" in name for name in D.state_dict())


def test_every_convolution_of_a_head_is_spectrally_normalised():
    head = made(Head, 16, 8)
    for _ in range(30):
        head(normal(2, 8, 16, 16))
    convolutions = [module for module in head.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 4
    for convolution in convolutions:
        assert float(torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_a_head_notices_when_all_pictures_are_the_same():
    head = made(Head, 4, 8).eval()
    x = normal(4, 8, 4, 4)
    alone = head(x[:1].expand(4, -1, -1, -1))
    assert not torch.allclose(head(x)[0], alone[0], atol=1e-4)


def test_classes_change_what_both_say():
    G, D = made(Generator, 16, 4, 8, classes=3).eval(), made(Discriminator, (5, 6), (8, 4), (8, 8), classes=3)
    z = normal(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert float((images[0] - images[1]).detach().abs().max()) > 1e-4
    assert torch.equal(images, G(z)), "left out, classes come in turn"
    for answer in D((normal(1, 8, 8, 8).expand(3, -1, -1, -1), normal(1, 8, 4, 4).expand(3, -1, -1, -1)), torch.arange(3)):
        assert len({round(float(value), 6) for value in answer.detach().mean((1, 2))}) == 3


@torch.no_grad()
def test_a_class_cannot_drown_the_latent():
    """However small what z gives, its normalisation brings it back; beside a class's vector it would be learnt away."""
    G = made(Generator, 32, 8, 8, classes=3)
    z, labels = normal(32, 8), torch.zeros(32, dtype=torch.int64)
    before = G(z, labels)
    G.dense.weight.mul_(0.5)
    torch.testing.assert_close(G(z, labels), before, atol=0.02, rtol=0)
    assert before.std(0).mean() > 0.5 * G(z, None).std(0).mean()
