import pytest
import torch
from torch.nn import functional as F

from genart.nn.layers import minibatch_stddev, seeded
from genart_msggan.networks import Discriminator, Generator

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
    scales = G.scales(normal(4, 8))
    sizes = [resolution >> i for i in range(len(scales))]
    assert sizes[-1] == 4
    assert [tuple(part.shape) for part in scales] == [(4, 3, size, size) for size in sizes]
    assert D(scales).shape == (4,)
    images = G(normal(4, 8))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert torch.equal(images, scales[0].clamp(-1, 1))


@torch.no_grad()
def test_the_seed_decides_the_weights_and_only_the_direction_of_z_counts():
    (a, _), (b, _), (c, _) = networks(), networks(), networks(seed=5)
    z = normal(2, 8)
    assert torch.equal(a(z), b(z))
    assert not torch.equal(a(z), c(z))
    torch.testing.assert_close(a.scales(z)[0], a.scales(3 * z)[0], atol=1e-5, rtol=1e-5)


def plain_conv(x, layer):
    """Equalised learning rate: weights scaled by He's constant when they are used; 1x1 to RGB without the root of 2."""
    c_in, size = layer.weight.shape[1:3]
    gain = 1 if len(layer.weight) == 3 else 2**0.5
    return F.conv2d(x, layer.weight * gain / (c_in * size**2) ** 0.5, layer.bias, padding=size // 2)


def plain_norm(x):
    return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)


@torch.no_grad()
def test_G_draws_each_scale_from_its_own_features():
    G, _ = networks(16)
    for parameter in G.parameters():
        parameter.copy_(normal(*parameter.shape, seed=parameter.numel()))  # biases too
    x = (plain_norm(normal(3, 8)) @ G.dense.weight.T * (2 / 8) ** 0.5 + G.dense.bias).view(3, 4, 4, -1).permute(0, 3, 1, 2)
    x = plain_norm(F.leaky_relu(plain_conv(plain_norm(F.leaky_relu(x, 0.2)), G.conv), 0.2))
    expected = [plain_conv(x, G.to_rgb[0])]
    for block, to_rgb in zip(G.blocks, G.to_rgb[1:], strict=True):
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        weight = block.up.weight.flip(2, 3) * block.up.scale  # held as a transposed convolution's
        x = plain_norm(F.leaky_relu(F.conv2d(x, weight, block.up.bias, padding=1), 0.2))
        x = plain_norm(F.leaky_relu(plain_conv(x, block.conv), 0.2))
        expected.append(plain_conv(x, to_rgb))
    for drawn, plain in zip(G.scales(normal(3, 8)), reversed(expected), strict=True):
        torch.testing.assert_close(drawn, plain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_D_joins_every_scale_to_its_features_and_sees_the_batch_in_every_block():
    _, D = networks(16)
    scales = tuple(normal(8, 3, size, size, seed=size) for size in (16, 8, 4))
    x = F.leaky_relu(plain_conv(scales[0], D.from_rgb), 0.2)
    for block, picture in zip(D.blocks, scales[1:], strict=True):
        x = F.leaky_relu(plain_conv(minibatch_stddev(x), block.conv), 0.2)
        x = F.leaky_relu(F.avg_pool2d(plain_conv(x, block.down), 2), 0.2)
        x = torch.cat([x, picture], 1)  # φ_simple
    x = F.leaky_relu(plain_conv(minibatch_stddev(x), D.conv), 0.2).flatten(1)
    x = F.leaky_relu(x @ D.dense.weight.T * (2 / x.shape[1]) ** 0.5, 0.2)
    torch.testing.assert_close(D(scales), (x @ D.to_logit.weight.T / x.shape[1] ** 0.5).flatten(), atol=1e-4, rtol=1e-4)


def test_gradients_of_D_reach_every_scale_of_G_directly():
    G, D = networks(32)
    scales = [part.detach().requires_grad_() for part in G.scales(normal(4, 8))]
    for gradient in torch.autograd.grad(D(tuple(scales)).sum(), scales):
        assert float(gradient.norm()) > 1e-3
    D(G.scales(normal(4, 8))).sum().backward()
    assert all(float(layer.weight.grad.abs().max()) > 0 for layer in G.to_rgb)


@torch.no_grad()
def test_classes_change_what_both_say():
    G, D = networks(16, classes=3)
    z = normal(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert float((images[0] - images[1]).abs().max()) > 1e-4
    assert torch.equal(images, G(z)), "left out, classes come in turn"
    scales = tuple(normal(1, 3, size, size).expand(3, 3, size, size) for size in (16, 8, 4))
    assert len(set(D(scales, torch.arange(3)).tolist())) == 3
