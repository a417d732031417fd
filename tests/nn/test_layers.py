import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from genart.nn.layers import (
    EqualConv2d,
    EqualLinear,
    Upsample,
    channels,
    doubled,
    halved,
    minibatch_stddev,
    of_class,
    pixel_norm,
    projected_label,
    pyramid,
    seeded,
    with_labels,
)


def test_widths_of_the_paper():
    assert channels(64, 64) == [512, 256, 128, 64]
    assert channels(16, 64) == [128, 64]
    assert channels(256, 16) == [128, 128, 128, 64, 32, 16]


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
def test_an_equalised_layer_keeps_the_variance_whatever_its_size():
    torch.manual_seed(0)
    x = torch.randn(64, 300)
    assert float(EqualLinear(300, 400)(x).std()) == pytest.approx(1, rel=0.05)
    assert float(EqualLinear(300, 400, lr_multiplier=0.01)(x).std()) == pytest.approx(1, rel=0.05)
    assert float(EqualConv2d(64, 64, 3)(torch.randn(4, 64, 16, 16))[:, :, 1:-1, 1:-1].std()) == pytest.approx(math.sqrt(2), rel=0.05)


def test_a_learning_rate_multiplier_slows_the_layer_by_it():
    torch.manual_seed(0)
    plain, slow = EqualLinear(4, 4), EqualLinear(4, 4, lr_multiplier=0.01)
    x = torch.randn(8, 4)
    for layer in (plain, slow):
        layer(x).sum().backward()
    step = [layer.scale * layer.weight.grad.sign().abs().mean() for layer in (plain, slow)]  # what Adam's first step does to the output
    assert float(step[1] / step[0]) == pytest.approx(0.01)


def test_pixel_norm_is_eq_2_of_the_paper():
    x = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixel_norm(x) / pixel_norm(x)[:, :1], x / x[:, :1])


def test_minibatch_stddev_against_a_plain_computation():
    x = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    out = minibatch_stddev(x, 4)
    assert torch.equal(out[:, :3], x)
    for i in range(8):
        group = x[i % 2 :: 2]  # pictures that lie N / group = 2 apart
        assert float(out[i, 3, 0, 1]) == pytest.approx(float(group.std(0, unbiased=False).mean()), abs=1e-5)
    assert float(minibatch_stddev(x[:1].expand(4, -1, -1, -1))[:, 3].abs().max()) < 1e-3
    assert minibatch_stddev(x[:5]).shape == (5, 4, 2, 2), "a batch that cannot be grouped is one group"


def spread(x):
    return minibatch_stddev(x)[:, -1, 0, 0]


@pytest.mark.parametrize(
    ("function", "size"), [(pixel_norm, (2, 5, 2, 2)), (pixel_norm, (3, 4)), (spread, (8, 2, 2, 2)), (spread, (5, 2, 2, 2))]
)
def test_gradients_in_closed_form_are_those_of_small_steps_and_so_are_theirs(function, size):
    x = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,)), "a gradient penalty asks for it"


@pytest.mark.parametrize("function", [pixel_norm, minibatch_stddev])
def test_in_half_precision_little_is_lost_and_the_format_is_kept(function):
    wide = torch.randn(8, 16, 4, 4, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    x = wide.bfloat16().requires_grad_()
    y = function(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = wide.bfloat16().float().requires_grad_()
    torch.testing.assert_close(y.float(), function(exact), atol=0, rtol=2**-8)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    function(exact).mul(weights).sum().backward()
    y.mul(weights).sum().backward()
    torch.testing.assert_close(x.grad.float(), exact.grad, atol=2**-7, rtol=2**-6)


def test_labels_come_beside_z_and_into_the_answer():
    table = nn.Embedding(2, 4)
    nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(0))
    z = torch.zeros(3, 4)
    assert with_labels(z, None, None) is z
    beside = with_labels(z, torch.tensor([1, 0, 1]), table)
    assert beside.shape == (3, 8)
    torch.testing.assert_close(beside[0], beside[2])
    torch.testing.assert_close(beside[:, 4:].square().mean(1), torch.ones(3))
    features = torch.ones(3, 4)
    assert projected_label(features, None, table) == 0
    torch.testing.assert_close(projected_label(features, torch.tensor([1, 0, 1]), table)[1], table.weight[0].sum())


def test_a_seeded_network_leaves_the_global_stream_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a, b, c = (seeded(lambda: nn.Linear(3, 3), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)


def test_a_pyramid_averages():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scales = pyramid(x, [8, 4, 1])
    assert scales[0] is x
    torch.testing.assert_close(scales[1], F.avg_pool2d(x, 2))
    torch.testing.assert_close(scales[2][..., 0, 0], x.mean((2, 3)))


@torch.no_grad()
def test_doubling_and_halving_are_a_convolution_and_a_change_of_size():
    torch.manual_seed(0)
    conv = EqualConv2d(3, 5, 3)
    x = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(halved(x, conv), F.avg_pool2d(conv(x), 2), atol=1e-5, rtol=1e-5)
    flipped = F.conv2d(F.interpolate(x, scale_factor=2), conv.weight.flip(2, 3) * conv.scale, padding=1)
    torch.testing.assert_close(doubled(x, conv), flipped, atol=1e-5, rtol=1e-5)


def test_of_class_scales_beyond_one_and_shifts():
    x, kind = torch.randn(2, 3, 4, 4), torch.randn(2, 6)
    expected = x * (1 + kind[:, :3, None, None]) + kind[:, 3:, None, None]
    torch.testing.assert_close(of_class(x, kind), expected)
    assert of_class(x, None) is x
