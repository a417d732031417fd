"""Kornia's augmentations of what D sees: gradients reach what G drew, draws are the stream's own, p is kept, and bad tables are told."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from genart import UsageError
from genart.nn.changes import Change, Changes
from genart.nn.diffaugment import POLICIES
from genart.nn.kornia_table import DIFFERENTIABLE, NAMED, REASONS, operations, read_change
from genart.nn.train_params import GanParams
from genart.params import ParamProblem, resolve
from genart.run import Checkpoints
from tests.plugins.augment.test_augment import NEEDED
from tests.trainings import Killed, at_step, attempt, bytes_of, kill


def table(name: str) -> dict[str, object]:
    """An operation with what it needs."""
    return {"op": name, **NEEDED.get(name, {})}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int = 3, size: int = 32, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Pictures in [-1, 1] without sharp edges, away from the ends of the range and from grey."""
    small = torch.rand(count, 3, 8, 8, generator=stream(1), dtype=dtype) * 0.8 - 0.4
    colour = torch.tensor([0.25, 0.0, -0.25], dtype=dtype).view(1, 3, 1, 1)
    return F.interpolate(small, size=(size, size), mode="bicubic").clamp(-0.5, 0.5) + colour


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_the_gradient_is_that_of_the_change(name):
    """Along a direction it agrees with the difference of two values; so it reaches every picture, and nothing cuts it off."""
    change = Change(table(name))
    change.module.double()
    x = smooth(dtype=torch.float64).requires_grad_()
    y = change(x, 5)
    assert y.shape == x.shape
    weights, direction = (torch.randn(x.shape, generator=stream(seed), dtype=torch.float64) for seed in (2, 3))
    (slope,) = torch.autograd.grad((y * weights).sum(), x)
    assert bool(torch.isfinite(slope).all())
    assert bool((slope.abs().flatten(1).amax(1) > 0).all()), "each picture has a gradient"
    step = 1e-5 * direction
    apart = ((change(x.detach() + step, 5) - change(x.detach() - step, 5)) * weights).sum() / 2e-5
    assert float((slope * direction).sum()) == pytest.approx(float(apart), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_slopes_are_finite_at_the_ends_of_the_range(name):
    plain = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [0, 0, 0], [1, -1, -1]]).view(4, 3, 1, 1).expand(4, 3, 16, 16)
    x = plain.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Change(table(name))(x, 1).sum(), x)
    assert bool(torch.isfinite(slope).all())


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_draws_are_the_streams_and_leave_torchs_alone(name):
    changes, x = Changes([table(name)]), smooth(8)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    (first,) = changes((x,), 0.7, stream(4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    generator = stream(4)
    (again,) = changes((x,), 0.7, generator)
    assert torch.equal(first, again), "a resumed training draws what it would have drawn"
    unused = stream(4)
    changes((x,), 0.0, unused)
    assert torch.equal(unused.get_state(), generator.get_state()), "what comes after draws the same, whatever p is"


@pytest.mark.parametrize("name", ["RandomErasing", "RandomAffine", "ColorJitter"])
def test_each_picture_is_changed_with_probability_p_by_itself(name):
    x = smooth(1).expand(400, 3, 32, 32).contiguous()
    (seen,) = Changes([table(name)])((x,), 0.3, stream(7))
    changed = (seen != x).flatten(1).any(1)
    assert 0.2 < float(changed.float().mean()) < 0.4
    assert torch.equal(seen[~changed], x[~changed])
    assert len({row.numpy().tobytes() for row in seen[changed]}) > 0.9 * int(changed.sum()), "each draws its own"
    assert torch.equal(Changes([table(name)])((x,), 0.0, stream(7))[0], x)


def test_scales_of_a_picture_are_changed_together():
    large = smooth(16, 32)
    small = F.interpolate(large, size=(16, 16), mode="area")
    seen = Changes([table("RandomHorizontalFlip"), table("ColorJitter")])((large, small), 0.5, stream(3))
    changed = [(one != before).flatten(1).any(1) for one, before in zip(seen, (large, small), strict=True)]
    assert torch.equal(changed[0], changed[1])
    assert 0 < int(changed[0].sum()) < 16
    apart = (F.interpolate(seen[0], size=(16, 16), mode="area") - seen[1]).abs()  # where colours are cut off they differ a little
    assert float(apart.mean()) < 0.01


def test_what_geometry_uncovers_is_grey():
    (seen,) = Changes([{"op": "RandomTranslate", "translate_x": [0.5, 0.5]}])((torch.ones(2, 3, 16, 16),), 1.0, stream())
    assert set(seen.unique().tolist()) == {0.0, 1.0}


def test_half_precision_and_channels_last_stay():
    x = smooth(4).to(torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        (seen,) = Changes([table("RandomAffine"), table("RandomSharpness")])((x,), 1.0, stream())
    assert seen.dtype == torch.bfloat16
    assert seen.is_contiguous(memory_format=torch.channels_last)


# what check says


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("translatoin", "there is no change 'translatoin'; did you mean 'translation'?"),
        ("RandomGaussianBlurr", "there is no change 'RandomGaussianBlurr'; did you mean 'RandomGaussianBlur'?"),
        ("RandomPosterize", "RandomPosterize is not differentiable: no gradient passes to G; RandomAffine, ColorJitter,"),
        ({"op": "RandomCrop", "size": [8, 8]}, "RandomCrop changes the size of pictures; RandomAffine"),
        ("canny", "canny is none of those that D may see; RandomAffine"),
        ({"op": "RandomRotation", "degrees": 10, "p": 0.5}, "RandomRotation takes no `p` here: `augment` says how often it is done"),
        ({"op": "RandomRotation", "degree": 10}, "no parameter 'degree' in RandomRotation; did you mean 'degrees'?"),
        ({"op": "RandomRotation"}, "`degrees` is missing: RandomRotation needs it"),
        ({"op": "RandomRotation", "degrees": True}, "RandomRotation.degrees: expected"),
        (3, "expected a name such as"),
        ({"operation": "RandomRotation"}, "expected a name such as"),
    ],
)
def test_a_wrong_change_is_told(value, words):
    with pytest.raises(ParamProblem, match=r"some.train.augment_policy\[1\]") as caught:
        resolve(GanParams, "some.train", {"augment_policy": ["mirror", value]})
    assert words in str(caught.value)


def test_named_changes_stay_what_they_are():
    params = resolve(GanParams, "some.train", {"augment_policy": [*NAMED, "RandomHorizontalFlip", table("RandomAffine")]})
    assert params.augment_policy[: len(NAMED)] == NAMED
    assert params.augment_policy[len(NAMED)] == {"op": "RandomHorizontalFlip"}
    assert GanParams().augment_policy == ("translation", "cutout", "scale")


def test_every_augmentation_of_kornia_is_offered_or_not_for_a_reason():
    random = {name for name, operation in operations().items() if operation.kind == "random"}
    assert random >= DIFFERENTIABLE
    assert DIFFERENTIABLE.isdisjoint(REASONS)
    assert set(REASONS) <= random
    for name in sorted(random - DIFFERENTIABLE):
        with pytest.raises(ValueError, match=name):
            read_change(table(name))


def test_what_kornia_does_not_take_is_told_before_the_first_step():
    with pytest.raises(UsageError, match="augment_policy: RandomAffine: "):
        Changes([table("RandomInvert"), {"op": "RandomAffine", "degrees": -5.0}])


# in a training


def test_a_training_with_them_goes_on_exactly(tmp_path, monkeypatch, genart_plugins):
    stage = genart_plugins("dcgan").stage("dcgan.train")
    options = {"kimg": 0.08, "batch_size": 8, "width": 4, "z_dim": 4, "resolution": 16, "evaluations": 0}
    changes = ["mirror", table("RandomAffine"), table("ColorJitter"), table("RandomGaussianNoise")]
    works = [tmp_path / name for name in ("whole", "killed", "named")]
    attempt(stage, works[0], augment="always", augment_policy=changes, **options)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 6, kill)
        with pytest.raises(Killed):
            attempt(stage, works[1], augment="always", augment_policy=changes, **options)
    torch.manual_seed(99)
    attempt(stage, works[1], augment="always", augment_policy=changes, **options)
    attempt(stage, works[2], augment="always", augment_policy=["mirror"], **options)
    whole, killed, named = map(bytes_of, works)
    assert killed == whole
    assert named != whole, "they do something"


def test_G_learns_through_them():
    """The gradient of what D says of changed pictures reaches G's weights, and none of it is lost on the way."""
    G = torch.nn.Linear(4, 3 * 16 * 16)
    pictures = torch.tanh(G(torch.randn(6, 4, generator=stream()))).view(6, 3, 16, 16)
    (seen,) = Changes([table("RandomAffine"), table("ColorJitter"), table("RandomGaussianBlur")])((pictures,), 0.8, stream(1))
    seen.square().sum().backward()
    assert bool((G.weight.grad.abs().sum(1) > 0).all())


def test_a_recipe_is_checked_against_the_names_that_d_knows():
    assert sorted(NAMED) == sorted(POLICIES)
