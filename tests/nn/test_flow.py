"""Known motion is found, what it uncovers is told apart, and flicker is what motion does not explain."""

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from genart.nn import flow as nn_flow
from genart.nn.flow import (
    MOST_SIDE,
    both_flows,
    disoccluded,
    flicker,
    motion_boundary,
    optical_flow,
    points_outside,
    reliability,
    resized_flow,
    warp,
    warped_difference,
    working_size,
)


def texture(height=96, width=128, seed=0, grain=4):
    """Smooth random colours, (1, 3, height, width) in [0, 1]."""
    noise = torch.rand(1, 3, height // grain + 1, width // grain + 1, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def constant(x, y, height=96, width=128):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


def turning(angle, height=96, width=128):
    """The flow of a rotation about the middle by a small angle in radians."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    angle = torch.tensor(angle)
    cos, sin = torch.cos(angle) - 1, torch.sin(angle)
    return torch.stack([cos * x - sin * y, sin * x + cos * y])[None]


def inner(values, edge=12):
    return values[..., edge:-edge, edge:-edge]


def error(found, true):
    return inner((found - true).square().sum(1).sqrt())


# the search


@pytest.mark.parametrize(("x", "y"), [(3.0, -2.0), (-0.5, 0.25), (7.0, 4.0)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel(x, y):
    a = texture()
    b = warp(a, constant(-x, -y))  # b(p) = a(p - shift), so that a(p) is at b(p + shift)
    assert error(optical_flow(a, b), constant(x, y)).mean() < 0.1
    assert error(optical_flow(b, a), constant(-x, -y)).mean() < 0.1


def test_a_rotation_is_found_to_a_fifth_of_a_pixel():
    a = texture()
    b = warp(a, turning(-0.06))
    assert turning(0.06).abs().max() > 3
    assert error(optical_flow(a, b), turning(0.06)).mean() < 0.2


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 200), (700, 1400)])
def test_flow_is_in_the_pixels_of_any_size(height, width):
    shift = 2.0 if width < 1000 else 12.0
    a = texture(height, width, grain=4 if width < 1000 else 24)
    found = optical_flow(a, warp(a, constant(-shift, 0.0, height, width)))
    assert found.shape == (1, 2, height, width)
    middle = found[..., height // 4 : -height // 4, width // 4 : -width // 4]
    assert (middle[:, 0] - shift).abs().mean() < 0.1 * shift
    assert middle[:, 1].abs().mean() < 0.1 * shift


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (11, 200), (5, 3), (2, 3000)])
def test_the_smallest_pictures_are_no_trouble(height, width):
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    found = optical_flow(picture, picture.flip(3))
    assert found.shape == (1, 2, height, width)
    assert torch.isfinite(found).all()


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_the_search_stays_within_its_bounds(height, width):
    size = working_size(height, width)
    assert max(size) <= MOST_SIDE
    assert min(size) >= 64
    if 256 <= max(height, width) <= MOST_SIDE and min(height, width) >= 64:
        assert size == (height, width)


def test_a_still_film_does_not_move():
    a = texture()
    assert torch.equal(optical_flow(a, a), torch.zeros(1, 2, 96, 128))


def test_flow_does_not_depend_on_the_number_of_threads():
    a, b = texture(300, 400, grain=8), texture(300, 400, seed=1, grain=8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = optical_flow(a, b)
        cv2.setNumThreads(4)
        four = optical_flow(a, b)
        assert cv2.getNumThreads() == 4, "others' setting is left as it was"
    finally:
        cv2.setNumThreads(before)
    assert torch.equal(one, four)


def test_both_flows_are_the_two_flows():
    a, b = texture(), texture(seed=3)
    forward, backward = both_flows(a, b)
    assert torch.equal(forward, optical_flow(a, b))
    assert torch.equal(backward, optical_flow(b, a))


# warping


def test_warp_looks_up_where_the_flow_points():
    picture = texture()
    moved = warp(picture, constant(5.0, -3.0))
    assert torch.allclose(moved[..., 3:, :-5], picture[..., :-3, 5:], atol=1e-4)
    assert torch.allclose(moved[..., :3, 7], picture[..., :1, 12].expand(1, 3, 3), atol=1e-4), "the border goes on"


def test_what_does_not_move_is_kept_to_the_bit():
    picture = torch.rand(2, 4, 33, 47, generator=torch.Generator().manual_seed(0))
    assert torch.equal(warp(picture, torch.zeros(1, 2, 33, 47)), picture)
    flow = torch.zeros(1, 2, 33, 47)
    flow[..., 20:] = 0.3
    moved = warp(picture, flow)
    assert torch.equal(moved[..., :20], picture[..., :20])
    assert not torch.allclose(moved[..., 20:], picture[..., 20:], atol=0.01)


def test_a_sharp_warp_neither_blurs_away_nor_rings_up():
    picture = texture(grain=2)

    def detail(image):
        return (
            inner(image - F.avg_pool2d(image, 3, 1, 1)).square().mean().sqrt()
            / inner(picture - F.avg_pool2d(picture, 3, 1, 1)).square().mean().sqrt()
        )

    sharp, soft = picture, picture
    for step in range(24):
        flow = constant(0.5, -0.5) * (-1) ** step
        sharp, soft = warp(sharp, flow).clamp(0, 1), warp(soft, flow, "bilinear")
    assert 0.3 < detail(sharp) <= 1.0
    assert detail(soft) < 0.5 * detail(sharp)


@given(angle=st.floats(-0.1, 0.1), height=st.integers(20, 60), width=st.integers(20, 60))
@settings(max_examples=20)
def test_a_flow_scales_with_its_frame(angle, height, width):
    flow = turning(angle, 40, 40)
    sized = resized_flow(flow, (height, width))
    assert sized.shape == (1, 2, height, width)
    assert torch.allclose(sized[:, 0].mean(2) / width, F.interpolate(flow[:, :1], size=(height, width)).mean(3)[:, 0] / 40, atol=0.01)
    assert resized_flow(flow, (40, 40)) is flow


# what can be trusted


def square_at(left, size=80, shape=(160, 240)):
    """A textured square before a textured ground; where the square is, (1, 1, H, W) bool."""
    ground, front = texture(*shape, seed=5, grain=8), texture(size, size, seed=6, grain=6)
    mask = torch.zeros(1, 1, *shape, dtype=torch.bool)
    mask[..., 40 : 40 + size, left : left + size] = True
    picture = ground.clone()
    picture[..., 40 : 40 + size, left : left + size] = front
    return picture, mask


def test_what_a_moving_square_uncovers_is_not_trusted():
    (a, was), (b, now) = square_at(70), square_at(78)
    weight = reliability(*both_flows(a, b))
    uncovered = was & ~now
    far = F.max_pool2d((was | now).float(), 33, 1, 16) == 0
    assert weight[uncovered].mean() < 0.25
    assert inner(weight)[inner(far)].mean() > 0.95
    assert weight[..., 52:108, 92:146].mean() > 0.95, "the inside of the square, which only moved"


def test_disocclusion_is_equation_5():
    there, back = constant(4.0, 0.0), constant(-4.0, 0.0)
    assert not disoccluded(there, back).any()
    back[..., 40:60, 50:70] = 0.0  # 16 > 0.01 * 16 + 0.5
    assert torch.equal(disoccluded(there, back)[0, 0].nonzero().aminmax(dim=0).max, torch.tensor([59, 69]))
    assert disoccluded(there, back).sum() == 20 * 20
    # just inside and outside of the bound |w~ + w^|^2 = 0.01 (16 + v^2) + 0.5
    assert not disoccluded(there, constant(-3.2, 0.0)).any()
    assert disoccluded(there, constant(-3.1, 0.0)).all()


def test_a_motion_boundary_is_equation_6():
    flow = torch.zeros(1, 2, 20, 20)
    flow[..., 10:] = 1.0
    found = motion_boundary(flow)
    assert found[..., 9:11].all(), "the gradient is 1/2 on both sides of the step"
    assert not found[..., :9].any()
    assert not found[..., 11:].any()
    slow, fast = turning(0.03, 20, 20), turning(0.03, 20, 20) + 10.0
    assert not motion_boundary(slow).any(), "2 * 0.03^2 is below 0.002"
    assert motion_boundary(turning(0.2, 20, 20)).any()
    assert not motion_boundary(fast).any()


def test_reliability_is_0_at_moving_edges_and_outside_and_soft_between():
    back = constant(0.0, 0.0)
    back[..., 64:] = -3.0
    there = -back
    weight = reliability(there, back)
    assert (weight[..., 63:65] == 0).all()
    assert (weight[..., 10:40] == 1).all()
    assert ((weight > 0) & (weight < 1)).any()
    leaving = reliability(constant(-9.0, 0.0), constant(9.0, 0.0))
    assert points_outside(constant(9.0, 0.0))[..., -9:].all()
    assert (leaving[..., -9:] == 0).all()
    assert (leaving[..., 5:-15] == 1).all()


def test_hardly_anything_is_trusted_across_a_cut():
    assert reliability(*both_flows(texture(seed=1), texture(seed=2))).mean() < 0.15


# flicker


def film(count=4):
    """A texture that moves, as frames."""
    return [warp(texture(seed=8), constant(-2.0 * i, 1.0 * i)) for i in range(count)]


def test_flicker_is_what_motion_does_not_explain():
    frames = film()
    steady = [1 - frame for frame in frames]
    noise = [0.1 * torch.randn(frame.shape, generator=torch.Generator().manual_seed(i)) for i, frame in enumerate(frames)]
    shimmering = [(frame + n).clamp(0, 1) for frame, n in zip(steady, noise, strict=True)]
    assert flicker(frames, steady) < 0.01
    assert flicker(frames, shimmering) > 5 * flicker(frames, steady)
    assert flicker([frames[0]] * 3, [steady[0]] * 3) == 0.0
    assert flicker(frames[:1], steady[:1]) == 0.0


def test_flicker_of_larger_results_and_across_a_cut():
    frames = film()
    large = [F.interpolate(frame, scale_factor=2, mode="bicubic", align_corners=False).clamp(0, 1) for frame in frames]
    assert flicker(frames, large) < 0.01
    cut = [*frames, texture(seed=9)]
    assert flicker(cut, cut) < 0.02, "a cut is no flicker"


def test_flicker_needs_one_result_per_frame():
    with pytest.raises(ValueError, match="shorter"):
        flicker(film(3), film(2))


def test_the_difference_is_a_weighted_mean():
    a, b = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    b[..., 4:] = 1.0
    weight = torch.ones(1, 1, 8, 8)
    still = torch.zeros(1, 2, 8, 8)
    assert warped_difference(a, b, still, weight) == pytest.approx(0.75)
    weight[..., 4:] = 0
    assert warped_difference(a, b, still, weight) == pytest.approx(0.5)
    assert warped_difference(a, b, still, 0 * weight) == 0.0


def test_the_search_is_left_free_after_an_error():
    with pytest.raises(cv2.error, match="sameSize"):
        both_flows(texture(40, 40), texture(40, 400))
    assert not nn_flow._search.locked()
