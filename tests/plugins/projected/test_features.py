import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genart.nn.data import Pictures
from genart.nn.efficientnet import efficientnet_lite0
from genart_projected.features import CHUNK, Frozen, Projection, Remembered

from .backbone import Small


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def projection(seed=0):
    torch.manual_seed(seed)
    return Projection((5, 6, 7), (4, 8, 8))


def test_one_layer_a_stride_is_seen_fine_to_coarse():
    frozen = Frozen(Small(), 64, "cpu")
    assert frozen.layers == ("fine", "middle", "coarse")
    assert (frozen.channels, frozen.sizes) == ((8, 12, 20), (16, 8, 4))
    assert Frozen(Small(), 31, "cpu").layers == ("fine", "middle"), "of one position there is nothing to say"


def test_every_second_pixel_is_seen_too_but_narrowly():
    """Of pictures that are not enlarged nothing else says what is between four pixels."""
    frozen = Frozen(efficientnet_lite0(), 64, "cpu")
    assert frozen.sizes == (32, 16, 8, 4, 2)
    assert frozen.widths == (16, 64, 64, 64, 64)
    torch.manual_seed(0)
    mixed = Projection(frozen.channels, frozen.widths)(frozen(noise(1, 3, 64, 64)))
    assert [tuple(part.shape[1:]) for part in mixed] == [(w, h, h) for w, h in zip(frozen.widths, frozen.sizes, strict=True)]


@pytest.mark.parametrize("resolution", [16, 64, 128])
def test_pictures_come_in_the_backbones_range_and_size(resolution):
    seen = []
    small = Small()
    small.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    frozen = Frozen(small, 64, "cpu")
    parts = frozen(noise(2, 3, resolution, resolution))
    assert [tuple(part.shape) for part in parts] == [(2, 8, 16, 16), (2, 12, 8, 8), (2, 20, 4, 4)]
    assert seen[-1].shape == (2, 3, 64, 64)
    assert 0 <= float(seen[-1].min()) < 0.5 < float(seen[-1].max()) <= 1


def test_the_projection_is_that_of_the_paper():
    """Across channels at each scale, then from coarse to fine: add what is enlarged, and mix (figure 2)."""
    mix = projection()
    features = noise(2, 5, 16, 16), noise(2, 6, 8, 8), noise(2, 7, 4, 4)
    first, second, third = (F.conv2d(part, getattr(mix, f"channels{i}")) for i, part in enumerate(features))
    second = F.conv2d(second + F.interpolate(third, (8, 8), mode="bilinear"), mix.scales1, padding=1)
    first = F.conv2d(first + F.interpolate(second, (16, 16), mode="bilinear"), mix.scales0, padding=1)
    for found, expected in zip(mix(features), (first, second, third), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_projection_never_learns_and_comes_from_the_seed():
    mix = projection()
    assert not list(mix.parameters())
    assert len(mix.state_dict()) == 5
    same, other = projection().state_dict(), projection(1).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in mix.state_dict().items())
    assert not any(torch.equal(value, other[name]) for name, value in mix.state_dict().items())


def test_a_gradient_reaches_the_picture_from_every_scale():
    frozen, picture = Frozen(Small(), 64, "cpu"), noise(1, 3, 64, 64).requires_grad_()
    torch.manual_seed(0)
    mix = Projection(frozen.channels, frozen.widths)
    for part in mix(frozen(picture)):
        (gradient,) = torch.autograd.grad(part.square().sum(), picture, retain_graph=True)
        assert float(gradient.abs().sum()) > 0


class Counted:
    """What D sees, and of which pictures it was asked."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        return F.avg_pool2d(images, 4), F.avg_pool2d(images, 8)


@pytest.fixture
def pictures():
    array = np.random.default_rng(0).integers(0, 256, (CHUNK + 6, 16, 16, 3), np.uint8)
    return Pictures(array, lambda label, index: torch.Generator().manual_seed(index))


def test_each_picture_is_seen_once_and_given_as_it_was_seen(pictures):
    see = Counted()
    remembered = Remembered(pictures, see, 2 * len(pictures))
    for versions in ([3, 1, 69], [70, 139, 3], [3, 3, 100]):
        found = remembered(torch.tensor(versions))
        for part, expected in zip(found, Counted()(pictures.version(np.array(versions))), strict=True):
            torch.testing.assert_close(part, expected)
            assert part.is_contiguous(memory_format=torch.channels_last)
    assert see.sizes == [CHUNK, CHUNK, 12], "in whole chunks, whoever asks first, and the last one shorter"


def test_what_is_remembered_does_not_depend_on_the_order_of_asking(pictures):
    """So a resume, which has forgotten everything, goes on with the same numbers."""
    frozen = Frozen(Small(), 32, "cpu")
    first, second = (Remembered(pictures, frozen, len(pictures)) for _ in range(2))
    first(torch.tensor([69]))
    asked = torch.tensor([2, 69, 5])
    assert all(torch.equal(a, b) for a, b in zip(first(asked), second(asked), strict=True))
