"""NNPACK's convolutions are oneDNN's, and are taken only where a measurement says that they are faster."""

import pytest
import torch
from torch.nn import functional as F

from genart.nn import convolution, vgg

there = pytest.mark.skipif(not convolution.nnpack_is_there(), reason="this PyTorch or processor has no NNPACK")


def shapes(channels=16, out=24, height=20, width=28):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, channels, height, width, generator=generator).requires_grad_(True)
    return x, torch.randn(out, channels, 3, 3, generator=generator) * 0.1, torch.randn(out, generator=generator)


@there
def test_nnpack_convolves_as_onednn_does_and_so_does_its_gradient():
    x, weight, bias = shapes()
    ours, theirs = convolution.nnpack(x, weight, bias), F.conv2d(x, weight, bias, padding=1)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    slope = torch.rand_like(theirs)
    assert torch.allclose(*(torch.autograd.grad((y * slope).sum(), x)[0] for y in (ours, theirs)), rtol=1e-4, atol=1e-3)


@there
def test_a_network_routed_over_nnpack_gives_the_same_features_and_gradient():
    network, pictures = vgg.vgg19(), torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    plain = network(pictures, ["relu2_2"])["relu2_2"]
    network.routes = frozenset({("1_2", 64, 80), ("2_1", 32, 40), ("2_2", 32, 40)})
    routed = network(pictures, ["relu2_2"])["relu2_2"]
    assert not torch.equal(plain, routed), "the route was taken"
    assert torch.allclose(plain, routed, rtol=1e-3, atol=1e-2)
    one, two = (torch.autograd.grad(y.square().mean(), pictures)[0] for y in (plain, routed))
    assert float((one - two).norm() / one.norm()) < 1e-3


@pytest.mark.parametrize(("onednn", "nnpack", "chosen"), [(2.0, 1.0, True), (1.1, 1.0, False), (1.0, 2.0, False)])
def test_the_faster_one_is_chosen_by_a_clear_margin(onednn, nnpack, chosen, monkeypatch):
    monkeypatch.setattr(convolution, "nnpack_is_there", lambda: True)
    times = iter([onednn, nnpack])
    monkeypatch.setattr(convolution, "_seconds", lambda *args: next(times))
    assert convolution.gains_from_nnpack(torch.zeros(8, 8, 3, 3), torch.zeros(8), (64, 64)) == chosen


def test_without_nnpack_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(convolution, "_seconds", lambda *args: pytest.fail("measured"))
    assert not convolution.gains_from_nnpack(torch.zeros(8, 8, 3, 3), torch.zeros(8), (8, 8)), "too small to be worth it"
    monkeypatch.delattr(torch, "_nnpack_spatial_convolution", raising=False)
    assert not convolution.gains_from_nnpack(torch.zeros(8, 8, 3, 3), torch.zeros(8), (512, 512))


def test_what_was_measured_is_told_by_name_and_size(monkeypatch):
    network = vgg.vgg19()
    monkeypatch.setattr(vgg, "gains_from_nnpack", lambda weight, bias, size: size[0] >= 32 and weight.shape[0] >= 128)
    assert network.fastest((65, 96), "relu3_1") == [("2_1", 32, 48), ("2_2", 32, 48)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_in_bfloat16_features_and_gradients_are_near(checkpointing):
    network, pictures = vgg.vgg19(), torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    results = {}
    for precision in (torch.float32, torch.bfloat16):
        network.precision = precision
        features = network(pictures, ["relu1_1", "relu4_1"], checkpointing=checkpointing)
        assert {value.dtype for value in features.values()} == {precision}
        (gradient,) = torch.autograd.grad(sum(value.float().square().mean() for value in features.values()), pictures)
        results[precision] = features["relu4_1"].detach().float(), gradient
    errors = [float((exact - rounded).norm() / exact.norm()) for exact, rounded in zip(*results.values(), strict=True)]
    assert errors[0] < 0.02
    assert errors[1] < 0.1, "where a maximum or a sign is nearly undecided, a rounding decides where the gradient goes"
