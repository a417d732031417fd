import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from genart_dcgan.networks import Discriminator, Generator, Upsample, channels, initialise, smoothed

RESOLUTIONS = [16, 32, 64, 128, 256]


@pytest.mark.parametrize("upsample", ["resize", "transposed"])
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_shapes_and_range(resolution, upsample):
    G, D = Generator(resolution, 4, 8, upsample), Discriminator(resolution, 4)
    images = G(torch.randn(2, 8))
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last) or resolution == 16
    assert D(images).shape == (2,)


def test_widths_of_the_paper():
    assert channels(64, 64) == [512, 256, 128, 64]
    assert channels(16, 64) == [128, 64]
    assert channels(256, 16) == [128, 128, 128, 64, 32, 16]


def test_parameter_count_is_that_of_the_tutorials():
    """The widely used 64 px DCGAN of width 64 and z_dim 100, which has biases in its normalisation alone."""
    G, D = Generator(64, 64, 100, "transposed"), Discriminator(64, 64)

    def count(net):
        return sum(p.numel() for name, p in net.named_parameters() if "norms" in name or not name.endswith("bias"))

    assert count(G) == 3_576_704
    assert count(D) == 2_765_568


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_resize_equals_enlarging_and_a_plain_convolution_borders_included(c_in, c_out, height, width, seed):
    torch.manual_seed(seed)
    up = Upsample(c_in, c_out, "resize", bias=True).double()
    nn.init.normal_(up.weight)
    nn.init.normal_(up.bias)
    x = torch.randn(2, c_in, height, width, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), up.weight.transpose(0, 1).flip(2, 3), up.bias, padding=1)
    torch.testing.assert_close(up(x), plain, atol=1e-11, rtol=1e-9)


@torch.no_grad()
def test_resize_without_learning_makes_no_chequer_pattern():
    """Of equal features, phases of the output differ only at the border, whatever the weights."""
    torch.manual_seed(0)
    out = Upsample(4, 3, "resize")(torch.ones(1, 4, 8, 8))[:, :, 2:-2, 2:-2]
    assert float((out - out[:, :, :1, :1]).abs().max()) < 1e-6
    chequered = Upsample(4, 3, "transposed")(torch.ones(1, 4, 8, 8))[:, :, 2:-2, 2:-2]
    assert float((chequered - chequered[:, :, :1, :1]).abs().max()) > 1e-3


@torch.no_grad()
def test_first_weights_come_from_the_generator_alone():
    nets = [Generator(16, 4, 8) for _ in range(2)]
    for net in nets:
        initialise(net, torch.Generator().manual_seed(5))
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b), name
    assert float(nets[0].dense.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(nets[0].norms[0].weight.mean()) == pytest.approx(1, abs=0.02)
    assert float(nets[0].norms[0].bias.abs().max()) == 0


def test_a_smoothed_kernel_is_the_kernel_and_then_a_blur():
    torch.manual_seed(0)
    plain, smooth = (Upsample(3, 2, "resize", smooth=flag).double() for flag in (False, True))
    smooth.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64)
    line = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    blur = torch.outer(line, line).expand(2, 1, 3, 3)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the border the blur also gathers what was cut off
    torch.testing.assert_close(smooth(x)[inside], F.conv2d(plain(x), blur, padding=1, groups=2)[inside])


@torch.no_grad()
def test_G_cannot_draw_and_D_cannot_see_a_pattern_of_two_pixels():
    chequer = torch.ones(16, 16)
    chequer[::2] *= -1
    kernel = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    response = F.conv2d(chequer.expand(1, 3, 16, 16), smoothed(kernel), stride=2, padding=2)[:, :, 1:-1, 1:-1]
    assert float(response.abs().max()) < 1e-5
    D = Discriminator(64, 4, smooth=True).eval()
    grey, chequered = torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 64, 64)
    chequered[:, :, 16:48, 17:47:2] = 0.5
    chequered[:, :, 16:48, 16:48:2] = -0.5
    features = [F.conv2d(x, smoothed(D.from_rgb.weight), D.from_rgb.bias, 2, 2)[:, :, 12:20, 12:20] for x in (grey, chequered)]
    torch.testing.assert_close(features[0], features[1], atol=1e-5, rtol=0)
