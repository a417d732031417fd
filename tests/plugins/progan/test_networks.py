import pytest
import torch
from torch.nn import functional as F

from genart.nn.layers import minibatch_stddev, seeded
from genart_progan.networks import Discriminator, Generator, level_at

RESOLUTIONS = [16, 32, 64, 128, 256]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def networks(resolution=32, width=4, z_dim=8, seed=0, **options):
    """G and D with seeded weights."""
    G = seeded(lambda: Generator(resolution, width, z_dim, **options), torch.Generator().manual_seed(seed))
    return G, seeded(lambda: Discriminator(resolution, width, **options), torch.Generator().manual_seed(seed + 1))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@torch.no_grad()
def test_shapes_and_range(resolution):
    G, D = networks(resolution, 2)
    images = G(normal(4, 8))
    assert images.shape == (4, 3, resolution, resolution)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert D(images).shape == (4,)


@pytest.mark.parametrize("place", [0.0, 0.25, 1.0, 1.75, 3.0])
@torch.no_grad()
def test_every_place_of_the_growth_draws_and_judges_its_own_size(place):
    G, D = networks(32)
    for network in (G, D):
        network.grow(place)
    size = 4 << level_at(place)[0]
    drawn = G.draw(normal(4, 8))
    assert drawn.shape == (4, 3, size, size)
    assert D(drawn).shape == (4,)
    torch.testing.assert_close(G(normal(4, 8)), drawn.clamp(-1, 1).repeat_interleave(32 // size, 2).repeat_interleave(32 // size, 3))


def test_a_place_is_a_level_and_an_alpha():
    assert level_at(0.0) == (0, 1.0)
    assert level_at(2.25) == (3, 0.25)
    assert level_at(3.0) == (3, 1.0)


@torch.no_grad()
def test_the_seed_decides_the_weights_and_only_the_direction_of_z_counts():
    (a, _), (b, _), (c, _) = networks(), networks(), networks(seed=5)
    z = normal(2, 8)
    assert torch.equal(a(z), b(z))
    assert not torch.equal(a(z), c(z))
    torch.testing.assert_close(a.draw(z), a.draw(3 * z), atol=1e-5, rtol=1e-5)


def plain_conv(x, layer):
    """Equalised learning rate (section 4.1): weights scaled by He's constant when they are used; 1x1 to RGB without the root of 2."""
    c_in, size = layer.weight.shape[1:3]
    gain = 1 if len(layer.weight) == 3 else 2**0.5
    return F.conv2d(x, layer.weight * gain / (c_in * size**2) ** 0.5, layer.bias, padding=size // 2)


def plain_norm(x):
    return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)


@torch.no_grad()
def test_full_grown_G_is_the_plain_network_of_table_2():
    G, _ = networks(32)
    for parameter in G.parameters():
        parameter.copy_(normal(*parameter.shape, seed=parameter.numel()))  # biases too
    z = plain_norm(normal(3, 8))
    c = len(G.conv.weight)
    x = (z @ G.dense.weight.T * (2 / 8) ** 0.5 + G.dense.bias).view(3, 4, 4, c).permute(0, 3, 1, 2)
    x = plain_norm(F.leaky_relu(plain_conv(plain_norm(F.leaky_relu(x, 0.2)), G.conv), 0.2))
    for block in G.blocks:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        weight = block.up.weight.flip(2, 3) * block.up.scale  # held as a transposed convolution's
        x = plain_norm(F.leaky_relu(F.conv2d(x, weight, block.up.bias, padding=1), 0.2))
        x = plain_norm(F.leaky_relu(plain_conv(x, block.conv), 0.2))
    assert (G.level, G.alpha) == (3, 1.0), "as constructed"
    torch.testing.assert_close(G.draw(normal(3, 8)), plain_conv(x, G.to_rgb[-1]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_full_grown_D_is_the_plain_network_of_table_2():
    _, D = networks(32)
    images = normal(8, 3, 32, 32)
    x = F.leaky_relu(plain_conv(images, D.from_rgb[-1]), 0.2)
    for block in reversed(D.blocks):
        x = F.leaky_relu(plain_conv(x, block.conv), 0.2)
        x = F.leaky_relu(F.avg_pool2d(plain_conv(x, block.down), 2), 0.2)
    x = F.leaky_relu(plain_conv(minibatch_stddev(x), D.conv), 0.2).flatten(1)
    x = F.leaky_relu(x @ D.dense.weight.T * (2 / x.shape[1]) ** 0.5, 0.2)
    torch.testing.assert_close(D(images), (x @ D.to_logit.weight.T / x.shape[1] ** 0.5).flatten(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_fade_in_begins_where_the_level_before_ended_and_mixes_linearly():
    G, D = networks(32)
    z = normal(4, 8)

    def at(place):
        G.grow(place)
        D.grow(place)
        return G.draw(z)

    before, after = at(2.0), at(3.0)
    enlarged = F.interpolate(before, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(at(2.25), 0.75 * enlarged + 0.25 * after)
    torch.testing.assert_close(at(2 + 2**-20), enlarged, atol=1e-4, rtol=0)
    judged = D(after)
    D.grow(2.0)
    torch.testing.assert_close(judged, D(F.avg_pool2d(after, 2)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_weights_remember_how_far_they_grew():
    G, _ = networks(32)
    assert float(G.place) == 3
    G.grow(1.375)
    other, _ = networks(32, seed=9)
    other.load_state_dict(G.state_dict())
    assert (other.level, other.alpha) == (2, 0.375)
    assert torch.equal(G(normal(2, 8)), other(normal(2, 8)))


@torch.no_grad()
def test_classes_change_what_both_say():
    G, D = networks(16, classes=3)
    z = normal(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert float((images[0] - images[1]).abs().max()) > 1e-4
    assert torch.equal(images, G(z)), "left out, classes come in turn"
    answers = D(normal(1, 3, 16, 16).expand(3, 3, 16, 16), torch.arange(3))
    assert len(set(answers.tolist())) == 3


@torch.no_grad()
def test_D_sees_how_much_a_batch_varies():
    _, D = networks(16)
    images = normal(4, 3, 16, 16)
    assert float((D(images)[0] - D(images[:1].expand(4, -1, -1, -1))[0]).abs()) > 1e-4
