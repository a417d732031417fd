import pytest
import torch
from torch.nn import functional as F

from genart.nn.layers import minibatch_stddev, seeded
from genart_stylegan.networks import Discriminator, Generator, StyledConv, demodulation

RESOLUTIONS = [16, 32, 64, 128, 256]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def networks(resolution=32, width=4, z_dim=8, seed=0, *, classes=0, stddev=True, **options):
    """G and D with seeded weights."""
    G = seeded(lambda: Generator(resolution, width, z_dim, w_dim=6, classes=classes, **options), torch.Generator().manual_seed(seed))
    D = seeded(lambda: Discriminator(resolution, width, classes=classes, stddev=stddev), torch.Generator().manual_seed(seed + 1))
    return G, D


@torch.no_grad()
def scrambled(module):
    """The module with all parameters random, those too that begin with 0."""
    for number, parameter in enumerate(module.parameters()):
        parameter.copy_(normal(*parameter.shape, seed=number))
    return module


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
    assert G.layers == 2 * resolution.bit_length() - 4
    assert G.mapping(normal(4, 8)).shape == (4, 6)


@pytest.mark.parametrize("bfloat16", [False, True], ids=["fp32", "bf16"])
def test_every_layer_computes_channels_last(bfloat16):
    G, D = (network.to(memory_format=torch.channels_last) for network in networks(32, 4))
    strange = []

    def look(module, inputs, output):
        for x in (inputs[0], *(output if isinstance(output, tuple) else (output,))):
            if x.ndim == 4 and not x.is_contiguous(memory_format=torch.channels_last):
                strange.append((module, x.shape, x.stride()))

    for network in (G, D):
        for module in set(network.modules()) - {D.conv}:  # at 4x4, beside the channel of `minibatch_stddev`, it costs nothing
            module.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        D(G.synthesis(G.mapping(normal(4, 8)), G.fresh_noise(4, torch.Generator())))
    assert not strange


@torch.no_grad()
def test_the_seed_decides_the_weights_and_only_the_direction_of_z_counts():
    (a, _), (b, _), (c, _) = networks(), networks(), networks(seed=5)
    z = normal(2, 8)
    assert torch.equal(a(z), b(z))
    assert not torch.equal(a(z), c(z))
    torch.testing.assert_close(a.mapping(z), a.mapping(3 * z))


@torch.no_grad()
def test_a_model_that_is_loaded_draws_the_same_to_the_last_detail():
    G, other = scrambled(networks()[0]), networks(seed=3)[0]
    other.load_state_dict(G.state_dict())
    assert torch.equal(G(normal(2, 8)), other(normal(2, 8))), "the fixed noise and the mean style come with the weights"


@torch.no_grad()
def test_mapping_is_the_plain_network():
    G = scrambled(networks(mapping_layers=3)[0])
    x = normal(5, 8)
    x = x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)
    for layer in G.to_w:  # equalised, and a hundredth of the learning rate (Karras et al. 2019, appendix C)
        x = F.leaky_relu(x @ layer.weight.T * 0.01 * (2 / x.shape[1]) ** 0.5 + 0.01 * layer.bias, 0.2)
    torch.testing.assert_close(G.mapping(normal(5, 8)), x)


@pytest.mark.parametrize("double", [False, True], ids=["plain", "double"])
@torch.no_grad()
def test_a_layer_is_equations_1_and_3_with_a_kernel_for_each_picture(double):
    layer = scrambled(StyledConv(5, 7, 6, double=double))
    x, w = normal(3, 5, 8, 8, seed=1), normal(3, 6, seed=2)
    side = 16 if double else 8
    noise = normal(3, 1, side, side, seed=3)
    style = w @ layer.style.weight.T / 6**0.5 + layer.style.bias
    kernel = layer.conv.weight[None] * style[:, None, :, None, None] / (5 * 9) ** 0.5  # eq. 1
    kernel = kernel / torch.sqrt((kernel**2).sum((2, 3, 4), keepdim=True) + 1e-8)  # eq. 3
    if double:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        kernel = kernel.flip(3, 4)  # held as a transposed convolution's
    y = torch.cat([F.conv2d(x[i : i + 1], kernel[i], padding=1) for i in range(3)])
    expected = F.leaky_relu(2**0.5 * y + layer.noise_strength * noise + layer.bias[:, None, None], 0.2)
    torch.testing.assert_close(layer(normal(3, 5, 8, 8, seed=1), w, noise), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_demodulation_keeps_the_variance_whatever_the_style():
    kernel, style = normal(16, 8, 3, 3), normal(4, 8, seed=1) * torch.tensor([0.1, 1.0, 10.0, 100.0])[:, None]
    y = F.conv2d(normal(4, 8, 64, 64, seed=2) * style[:, :, None, None], kernel) * demodulation(kernel, style)[:, :, None, None]
    torch.testing.assert_close(y.var((1, 2, 3)), torch.full((4,), 2.0), atol=0.15, rtol=0)


@torch.no_grad()
def test_pictures_are_the_sum_of_the_colours_of_all_scales():
    G = scrambled(networks(16)[0])
    ws = normal(2, G.layers, 6, seed=1)
    noise = G.fresh_noise(2, torch.Generator().manual_seed(0))
    assert [n.shape[-1] for n in noise] == [4, 8, 8, 16, 16]
    assert G.layers == 6

    def colours(to_rgb, x, w):
        style = w @ to_rgb.style.weight.T / 6**0.5 + to_rgb.style.bias
        kernel = to_rgb.conv.weight[:, :, 0, 0] / to_rgb.conv.weight.shape[1] ** 0.5
        return torch.einsum("nchw,nc,oc->nohw", x, style, kernel) + to_rgb.conv.bias[:, None, None]

    x = G.conv(G.start.expand(2, -1, -1, -1), ws[:, 0], noise[0])
    expected = colours(G.to_rgb, x, ws[:, 1])
    for i, block in enumerate(G.blocks):
        x = block.up(x, ws[:, 2 * i + 1], noise[2 * i + 1])
        x = block.conv(x, ws[:, 2 * i + 2], noise[2 * i + 2])
        expected = F.interpolate(expected, scale_factor=2.0, mode="bilinear") + colours(block.to_rgb, x, ws[:, 2 * i + 3])
    torch.testing.assert_close(G.synthesis(ws, noise), expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_one_style_for_all_layers_or_one_for_each():
    G = scrambled(networks()[0])
    w = normal(2, 6, seed=1)
    images = G.synthesis(w)
    torch.testing.assert_close(images, G.synthesis(w[:, None].repeat(1, G.layers, 1)), atol=1e-4, rtol=1e-4)
    assert torch.equal(G(normal(2, 8)), G.synthesis(G.mapping(normal(2, 8))).clamp(-1, 1))
    mixed = w[:, None].repeat(1, G.layers, 1)
    mixed[0, -1] = w[1]
    changed = (G.synthesis(mixed) - images).abs().amax((1, 2, 3))
    assert float(changed[0]) > 1e-2
    assert float(changed[1]) < 1e-4


@torch.no_grad()
def test_truncation_leads_to_the_mean_style():
    G, _ = networks()
    z = normal(500, 8)
    G.settle(z)
    w = G.mapping(z)
    torch.testing.assert_close(G.mean_w, w.mean(0))
    torch.testing.assert_close(G.truncate(w, 1.0), w)
    torch.testing.assert_close(G.truncate(w, 0.0), w.mean(0).expand(500, 6))
    torch.testing.assert_close(G.truncate(w, 0.7), w.mean(0) + 0.7 * (w - w.mean(0)))
    assert G.truncate(w[:, None].expand(-1, G.layers, -1), 0.7).shape == (500, G.layers, 6)


@torch.no_grad()
def test_noise_changes_details_once_it_has_a_strength():
    G, _ = networks()
    w, a, b = G.mapping(normal(2, 8)), *(G.fresh_noise(2, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(G.synthesis(w, a), G.synthesis(w, b)), "it begins with none"
    G.blocks[-1].conv.noise_strength.fill_(0.5)
    assert not torch.equal(G.synthesis(w, a), G.synthesis(w, b))
    assert torch.equal(G.synthesis(w, a), G.synthesis(w, a))
    assert not torch.equal(a[0][0], a[0][1]), "each picture has its own"


@pytest.mark.parametrize("stddev", [True, False])
@torch.no_grad()
def test_D_is_the_plain_residual_network(stddev):
    _, D = networks(32, stddev=stddev)
    scrambled(D)

    def plain(x, layer, bias=True):
        c_in, size = layer.weight.shape[1:3]
        return F.conv2d(x, layer.weight / (c_in * size**2) ** 0.5, layer.bias if bias else None, padding=size // 2)

    def rectified(x):
        return F.leaky_relu(x, 0.2)

    images = normal(4, 3, 32, 32)
    x = rectified(2**0.5 * plain(images, D.from_rgb, bias=False) + D.from_rgb.bias[:, None, None])
    for block in D.blocks:
        y = rectified(2**0.5 * plain(x, block.conv, bias=False) + block.conv.bias[:, None, None])
        y = rectified(F.avg_pool2d(2**0.5 * plain(y, block.down, bias=False), 2) + 2**0.5 * block.down.bias[:, None, None])
        x = (y + F.avg_pool2d(plain(x, block.skip), 2)) / 2**0.5
    x = minibatch_stddev(x) if stddev else x
    x = rectified(2**0.5 * plain(x, D.conv, bias=False) + D.conv.bias[:, None, None]).flatten(1)
    x = rectified(x @ D.dense.weight.T * (2 / x.shape[1]) ** 0.5 + D.dense.bias)
    torch.testing.assert_close(D(images), (x @ D.to_logit.weight.T / x.shape[1] ** 0.5).flatten() + D.to_logit.bias, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_first_weights_keep_the_variance():
    G, D = seeded(lambda: (Generator(64, 16), Discriminator(64, 16)), torch.Generator().manual_seed(0))
    sizes = []
    for module in (D.from_rgb, *D.blocks):
        module.register_forward_hook(lambda module, inputs, output: sizes.append(float(output.square().mean())))
    D(normal(4, 3, 64, 64))
    assert all(0.05 < size < 3 for size in sizes), sizes
    assert 0.3 < float(G.synthesis(G.mapping(normal(16, 64))).std()) < 4


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
def test_without_noise_there_is_none_and_all_else_is_the_same():
    with_it, without = (networks(16, noise=noise)[0] for noise in (True, False))
    assert not [name for name in without.state_dict() if "noise" in name]
    without.load_state_dict({name: value for name, value in with_it.state_dict().items() if "noise" not in name})
    assert torch.equal(without(normal(2, 8)), with_it(normal(2, 8))), "noise begins with no strength"
    with_it.blocks[-1].conv.noise_strength.fill_(0.5)
    assert not torch.equal(without(normal(2, 8)), with_it(normal(2, 8)))
    assert without.fresh_noise(2, torch.Generator()) == [None] * 5
