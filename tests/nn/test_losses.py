import math

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
