import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from genart.nn import losses

LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=8).map(torch.tensor)


@given(LOGITS, LOGITS, st.floats(0, 0.45))
def test_bce_D_is_the_cross_entropy_with_labels_one_and_zero(real, gen, smoothing):
    expected = bce(real, torch.full_like(real, 1 - smoothing)) + bce(gen, torch.zeros_like(gen))
    torch.testing.assert_close(losses.bce_D(real, gen, smoothing), expected, atol=1e-5, rtol=1e-5)


@given(LOGITS)
def test_bce_G_is_the_cross_entropy_with_label_one(gen):
    torch.testing.assert_close(losses.bce_G(gen), bce(gen, torch.ones_like(gen)), atol=1e-6, rtol=1e-5)


def test_where_D_knows_nothing():
    zero = torch.zeros(4)
    assert math.isclose(float(losses.bce_D(zero, zero)), 2 * math.log(2), rel_tol=1e-6)
    assert math.isclose(float(losses.bce_G(zero)), math.log(2), rel_tol=1e-6)


def test_half_precision_logits_give_a_single_precision_loss():
    logits = torch.ones(4, dtype=torch.bfloat16)
    assert losses.bce_D(logits, logits).dtype == losses.bce_G(logits).dtype == torch.float32


def pair(seed=0, n=64):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=stream), torch.randn(n, generator=stream)


@pytest.mark.parametrize("name", losses.LOSS_NAMES)
def test_every_loss_pulls_real_up_and_generated_down_and_G_the_other_way(name):
    """The sign of the gradient at answers that say nothing yet is what makes a loss adversarial."""
    real, gen = (torch.zeros(8, requires_grad=True) for _ in range(2))
    loss = losses.named(name)
    grad_real, grad_gen = torch.autograd.grad(loss.D(real, gen), (real, gen), allow_unused=True)
    if name == "least_squares":  # at 0 a generated answer is already what D wants
        assert float(grad_gen.abs().max()) == 0
    else:
        assert bool((grad_gen > 0).all())
    assert bool((grad_real < 0).all())
    (towards,) = torch.autograd.grad(loss.G(gen, real.detach()), gen)
    assert bool((towards < 0).all())


@pytest.mark.parametrize("name", losses.LOSS_NAMES)
def test_only_relativistic_losses_of_G_look_at_real_answers(name):
    real, gen = pair()
    loss = losses.named(name)
    moved = float(loss.G(gen, real)) != float(loss.G(gen, real + 1))
    assert moved == loss.relativistic


@pytest.mark.parametrize("name", [name for name in losses.LOSS_NAMES if name.startswith("relativistic")])
def test_a_relativistic_loss_sees_differences_alone(name):
    real, gen = pair()
    loss = losses.named(name)
    torch.testing.assert_close(loss.D(real + 5, gen + 5), loss.D(real, gen))


def test_losses_against_the_papers_sums():
    real, gen = pair()
    torch.testing.assert_close(losses.least_squares_D(real, gen), 0.5 * ((real - 1) ** 2).mean() + 0.5 * (gen**2).mean())
    torch.testing.assert_close(losses.hinge_D(real, gen), -torch.clamp(real - 1, max=0).mean() - torch.clamp(-gen - 1, max=0).mean())
    torch.testing.assert_close(losses.relativistic_paired_D(real, gen), -torch.log(torch.sigmoid(real - gen)).mean())
    drifted = gen.mean() - real.mean() + 0.001 * (real**2).mean()
    torch.testing.assert_close(losses.wgan_D(real, gen), drifted)


def test_penalties_of_a_linear_critic_are_its_squared_slope():
    slope = torch.arange(12.0).view(3, 2, 2)
    images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits = (images * slope).sum((1, 2, 3))
    square = float(slope.square().sum())
    assert losses.squared_gradient(logits, [images]).tolist() == pytest.approx([square] * 5)
    logits = (images * slope).sum((1, 2, 3))
    assert float(losses.zero_centred_penalty(logits, [images])) == pytest.approx(square / 2)
    logits = (images * slope).sum((1, 2, 3))
    assert float(losses.one_centred_penalty(logits, [images])) == pytest.approx((square**0.5 - 1) ** 2, rel=1e-5)


def test_a_penalty_can_be_learned_from():
    layer = torch.nn.Linear(4, 1)
    images = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses.zero_centred_penalty(torch.tanh(layer(images)).flatten(), [images]).backward()
    assert float(layer.weight.grad.abs().sum()) > 0


def test_a_picture_of_several_scales_has_one_gradient():
    a, b = (torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size), requires_grad=True) for size in (4, 2))
    logits = 2 * a.sum((1, 2, 3)) + 3 * b.sum((1, 2, 3))
    assert losses.squared_gradient(logits, [a, b]).tolist() == pytest.approx([4 * 48 + 9 * 12] * 2)


@pytest.mark.parametrize(
    ("name", "smoothing", "least", "chance"),
    [
        ("bce", 0.0, 0.0, 2 * math.log(2)),
        ("bce", 0.1, 0.3251, 2 * math.log(2)),
        ("hinge", 0.0, 0.0, 2.0),
        ("least_squares", 0.0, 0.0, 0.5),
        ("relativistic_paired", 0.0, 0.0, math.log(2)),
        ("relativistic_average", 0.0, 0.0, 2.0),
    ],
)
def test_the_range_of_a_loss_of_D(name, smoothing, least, chance):
    assert losses.range_of(losses.named(name, smoothing)) == pytest.approx((least, chance), abs=2e-3)
