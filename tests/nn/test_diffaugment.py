"""What D sees is changed as drawn: by the right amount, alike at every size, and so that G can learn through it."""

import dataclasses
import json
import math
from typing import get_args

import pytest
import torch
from torch.nn.functional import avg_pool2d

from genart.nn.diffaugment import COLOUR_SAFE, NOWHERE, POLICIES, Adaptive, Draw, augment, draw
from genart.nn.train_params import Policy


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (2 * torch.rand(count, 3, size, size, generator=stream(seed)) - 1).to(dtype)


def smooth(count: int, size: int) -> torch.Tensor:
    """Pictures whose details are all coarse, (count, 3, size, size)."""
    place = (torch.arange(size) + 0.5) / size
    phase = 2 * math.pi * torch.rand(2, count, 3, 1, generator=stream(2))
    return 0.8 * torch.sin(2 * math.pi * place + phase[0])[..., None, :] * torch.cos(2 * math.pi * place + phase[1])[..., None]


def drawn(count: int = 1, **values) -> Draw:
    """Everything neutral but for the values given, one for all pictures."""
    neutral = dataclasses.asdict(draw((), count, 1.0, stream()))
    given = {name: torch.tensor(value).expand_as(neutral[name]) for name, value in values.items()}
    return Draw(**neutral | given)


def changed(images: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    return (images != result).flatten(1).any(1)


def test_the_parameters_of_training_offer_every_policy():
    assert set(get_args(Policy)) == set(POLICIES)
    assert set(POLICIES) - set(COLOUR_SAFE) == {"color"}


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="no such augmentation: colour"):
        draw(("cutout", "colour"), 2, 1.0, stream())


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_reach_the_pictures(name):
    images = noise(3, 5, dtype=torch.float64).requires_grad_()
    choice = draw((name,), 3, 1.0, stream(4))
    assert changed(images, augment(images, choice)).any()
    assert torch.autograd.gradcheck(lambda x: augment(x, choice), (images,))


def test_gradients_are_not_clamped_away_outside_the_range():
    images = torch.full((1, 3, 4, 4), 0.9, requires_grad=True)
    result = augment(images, drawn(brightness=0.5, contrast=1.5))
    assert result.min() > 1
    (gradient,) = torch.autograd.grad(result.sum(), images)
    torch.testing.assert_close(gradient, torch.ones_like(gradient))


def test_the_same_stream_draws_the_same_and_another_does_not():
    images = noise(8, 16)
    first, again, other = (augment(images, draw(POLICIES, 8, 0.6, stream(seed))) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_neither_p_nor_the_policy_moves_the_stream():
    states = []
    for policy, p in [(POLICIES, 1.0), (POLICIES, 0.0), (("cutout",), 0.3), ((), 1.0), (POLICIES, torch.tensor([0.1, 0.2, 0.9]))]:
        generator = stream(5)
        draw(policy, 3, p, generator)
        states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


def test_a_change_does_not_depend_on_the_others_nor_on_p():
    alone, together = draw(("translation",), 50, 0.4, stream(6)), draw(POLICIES, 50, 0.7, stream(6))
    met = (alone.translation != 0).any(1)
    assert met.any()
    assert torch.equal(alone.translation[met], together.translation[met])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_drawn_gives_the_pictures_themselves(dtype):
    images = noise(4, 8, dtype=dtype)
    assert augment(images, draw(POLICIES, 4, 0.0, stream())) is images
    assert augment(images, draw((), 4, 1.0, stream())) is images


#: Shares of pictures that a change leaves as they were although it met them: translations by nothing, mirrors half of the time.
IDLE = {"translation": 1 / 81, "mirror": 1 / 2}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_the_expected_share_is_changed_and_the_rest_not_at_all(name, p):
    count = 2000
    images = noise(count, 4)
    share = p * (1 - IDLE.get(name, 0.0))
    bound = 4 * math.sqrt(share * (1 - share) / count)
    assert changed(images, augment(images, draw((name,), count, p, stream(9)))).float().mean() == pytest.approx(share, abs=bound)


def test_changes_meet_pictures_independently():
    choice = draw(("cutout", "scale"), 4000, 0.5, stream(10))
    assert (choice.cut & choice.moved).float().mean() == pytest.approx(0.25, abs=0.03)
    assert (choice.cut | choice.moved).float().mean() == pytest.approx(0.75, abs=0.03)


def test_each_picture_may_have_its_own_probability():
    choice = draw(("cutout",), 6, torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]), stream())
    assert choice.cut.tolist() == [False, True] * 3


def test_what_is_drawn_has_the_ranges_of_the_papers():
    choice = draw(POLICIES, 20_000, 1.0, stream(11))
    assert sorted(set(choice.translation.flatten().tolist())) == [step / 32 for step in range(-4, 5)]
    for values, low, high in [
        (choice.cutout, 0, 1), (choice.brightness, -0.5, 0.5), (choice.saturation, 0, 2), (choice.contrast, 0.5, 1.5),
    ]:  # fmt: skip
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    assert choice.scale.log2().std() == pytest.approx(0.2, rel=0.03)
    assert choice.scale.log2().mean() == pytest.approx(0.0, abs=0.01)
    assert choice.angle.std() == pytest.approx(math.radians(10), rel=0.03)


def test_a_translation_goes_right_and_down_and_uncovers_grey():
    images = noise(1, 32)
    result = augment(images, drawn(translation=[3 / 32, -2 / 32]))
    torch.testing.assert_close(result[..., :-2, 3:], images[..., 2:, :-3], atol=1e-5, rtol=0)
    assert result[..., :3].abs().max() < 1e-4
    assert result[..., -2:, :].abs().max() < 1e-4


def test_a_mirror_exchanges_left_and_right():
    images = noise(2, 16)
    torch.testing.assert_close(augment(images, drawn(2, mirror=-1.0)), images.flip(3), atol=1e-5, rtol=0)


def test_a_quarter_turn_is_clockwise():
    images = noise(1, 16)
    torch.testing.assert_close(augment(images, drawn(angle=math.pi / 2)), images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)


def test_scaling_enlarges_about_the_middle():
    square = torch.zeros(1, 3, 16, 16)
    square[..., 6:10, 6:10] = 1.0
    assert float(augment(square, drawn(scale=2.0)).sum()) == pytest.approx(4 * 48, rel=1e-4)
    assert augment(square, drawn(scale=2.0))[..., 5:11, 5:11].min() == pytest.approx(1.0, abs=1e-5)


def test_geometry_is_mirrored_scaled_turned_and_shifted_in_this_order():
    images = smooth(1, 64)
    at_once = augment(images, drawn(mirror=-1.0, scale=1.1, angle=0.2, translation=[0.125, 0.0]))
    in_turn = images
    for step in ({"mirror": -1.0}, {"scale": 1.1}, {"angle": 0.2}, {"translation": [0.125, 0.0]}):
        in_turn = augment(in_turn, drawn(**step))
    inside = (..., slice(12, -12), slice(20, -12))
    torch.testing.assert_close(at_once[inside], in_turn[inside], atol=0.01, rtol=0)


def test_a_cutout_is_a_grey_square_of_half_the_side():
    result = augment(torch.ones(1, 3, 16, 16), drawn(cutout=[0.25, 0.5]))
    expected = torch.ones(1, 3, 16, 16)
    expected[..., 4:12, :8] = 0.0
    torch.testing.assert_close(result, expected)
    corner = augment(torch.ones(1, 3, 16, 16), drawn(cutout=[0.0, 1.0]))
    assert corner.mean() == pytest.approx(15 / 16)


def test_colour_moves_about_grey_and_about_the_mean():
    images = noise(1, 8)
    grey, mean = images.mean(1, keepdim=True), images.mean()
    torch.testing.assert_close(augment(images, drawn(brightness=0.25)), images + 0.25)
    torch.testing.assert_close(augment(images, drawn(saturation=0.0)), grey.expand_as(images))
    torch.testing.assert_close(augment(images, drawn(contrast=0.5)), mean + 0.5 * (images - mean))
    all_three = augment(images, drawn(brightness=0.25, saturation=2.0, contrast=1.5))
    torch.testing.assert_close(all_three, mean + 0.25 + 1.5 * (grey + 2 * (images - grey) - mean))


def test_colour_safe_changes_keep_a_plain_picture_plain():
    colour = torch.tensor([0.7, -0.4, 0.2])[:, None, None]
    result = augment(colour.expand(64, 3, 32, 32).clone(), draw(COLOUR_SAFE, 64, 1.0, stream(12)))
    share = result / colour  # 1 in the picture, 0 where grey shows, between them at an edge
    torch.testing.assert_close(share[:, 1:], share[:, :1].expand(-1, 2, -1, -1), atol=1e-5, rtol=0)
    assert share.min() > -1e-5
    assert share.max() < 1 + 1e-5
    assert (share > 0.999).float().mean() > 0.3


@pytest.mark.parametrize("name", POLICIES)
def test_a_smaller_version_is_changed_alike(name):
    images = smooth(16, 64)
    choice = draw((name,), 16, 1.0, stream(13))
    large = augment(images, choice)
    for size in (32, 16):
        reduced = avg_pool2d(large, 64 // size)
        small = augment(avg_pool2d(images, 64 // size), choice)
        away = (small - reduced).abs().mean()
        assert away < 0.02
        assert away < 0.1 * (small - avg_pool2d(images, 64 // size)).abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("policy", [(name,) for name in POLICIES] + [POLICIES])
def test_type_and_memory_format_are_kept(dtype, layout, policy):
    images = noise(4, 16, dtype=dtype).contiguous(memory_format=layout)
    before = images.clone()
    choice = draw(policy, 4, 1.0, stream(14))
    result = augment(images, choice)
    assert (result.dtype, result.shape) == (dtype, images.shape)
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)
    torch.testing.assert_close(result.double(), augment(images.double(), choice), atol=1e-5 if dtype.itemsize > 2 else 0.02, rtol=0)


def test_autocast_changes_nothing():
    images = noise(4, 64)
    choice = draw(POLICIES, 4, 1.0, stream(15))
    expected = augment(images, choice)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(images, choice), expected)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_it_happens_on_the_device_of_the_pictures(p):
    images = torch.empty(8, 3, 16, 16, device="meta", requires_grad=True)
    result = augment(images, draw(POLICIES, 8, p, stream(16)))
    assert (result.device.type, result.shape) == ("meta", images.shape)
    (gradient,) = torch.autograd.grad(result.sum(), images)
    assert gradient.device.type == "meta"


def test_nowhere_lies_outside_of_every_cutout():
    assert drawn(cutout=[NOWHERE, NOWHERE]).cut.tolist() == [False]
    mixed = draw(("cutout",), 2, torch.tensor([0.0, 1.0]), stream())
    images = noise(2, 8)
    assert torch.equal(augment(images, mixed)[0], images[0])


def test_the_probability_follows_overfitting_at_its_speed():
    adaptive = Adaptive(speed_kimg=100.0)
    assert adaptive.p == 0.0
    assert adaptive.update(0.9, 1000) == pytest.approx(0.01)
    assert adaptive.update(0.61, 4000) == pytest.approx(0.05)
    assert adaptive.update(0.6, 4000) == pytest.approx(0.05)
    assert adaptive.update(math.nan, 4000) == pytest.approx(0.05)
    assert adaptive.update(0.2, 2000) == pytest.approx(0.03)


def test_the_probability_stays_within_its_bounds():
    adaptive = Adaptive()
    assert adaptive.update(-1.0, 1000) == 0.0
    assert adaptive.update(1.0, 10**6) == 0.8
    assert adaptive.update(1.0, 1000) == 0.8
    assert adaptive.update(0.0, 1000) == pytest.approx(0.79)


def test_the_probability_is_all_that_a_checkpoint_needs():
    adaptive, resumed = Adaptive(), Adaptive()
    adaptive.update(1.0, 3000)
    resumed.p = json.loads(json.dumps(adaptive.p))
    assert resumed.update(1.0, 500) == adaptive.update(1.0, 500)
