"""`augment`: what happens to a picture depends on its index and the seed alone; names and values are checked before any picture."""

import inspect
import random
from itertools import pairwise

import kornia.augmentation
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genart import Batch, Images, StageError, UsageError
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_augment import augment
from genart_augment.ops import OPS
from genart_augment.pipeline import ROWWISE, Op, _alone, _rowwise

#: parameters for operations that need some, or do nothing without
NEEDED = {
    "CenterCrop": {"size": [12, 10]},
    "ColorJiggle": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.2},
    "ColorJitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.2},
    "LongestMaxSize": {"max_size": 12},
    "PadTo": {"size": [32, 32]},
    "RandomAffine": {"degrees": 20, "translate": [0.1, 0.1], "scale": [0.8, 1.2], "shear": 10},
    "RandomBrightness": {"brightness": [0.5, 1.5]},
    "RandomClahe": {"grid_size": [2, 2]},
    "RandomContrast": {"contrast": [0.5, 1.5]},
    "RandomCrop": {"size": [12, 10]},
    "RandomFisheye": {"center_x": [-0.3, 0.3], "center_y": [-0.3, 0.3], "gamma": [0.9, 1.1]},
    "RandomGamma": {"gamma": [0.5, 2.0]},
    "RandomGaussianBlur": {"kernel_size": [3, 3], "sigma": [0.1, 2.0]},
    "RandomHue": {"hue": [-0.3, 0.3]},
    "RandomMotionBlur": {"kernel_size": [3, 9], "angle": 35, "direction": 0.5},
    "RandomRain": {"number_of_drops": [5, 9], "drop_height": [3, 5], "drop_width": [-2, 2]},
    "RandomResizedCrop": {"size": [12, 10]},
    "RandomRotation": {"degrees": 30},
    "RandomRotation90": {"times": [1, 3]},
    "RandomSaturation": {"saturation": [0.5, 1.5]},
    "RandomShear": {"shear": 10},
    "RandomTranslate": {"translate_x": [-0.2, 0.2]},
    "Resize": {"size": [12, 10]},
    "SmallestMaxSize": {"max_size": 12},
}
SIZES_CHANGE = {"CenterCrop", "LongestMaxSize", "RandomCrop", "RandomResizedCrop", "Resize", "SmallestMaxSize"}
NEEDED_BY_THE_ISSUE = [
    "RandomHorizontalFlip",
    {"op": "RandomAffine", "degrees": 15, "translate": [0.1, 0.1], "scale": [0.9, 1.1], "p": 0.7},
    {"op": "ColorJitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1, "p": 0.8},
    {"op": "RandomCrop", "size": [12, 12]},
]


def noise(count, channels=3, size=24):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(5))


def table(name, **more):
    return {"op": name, **NEEDED.get(name, {}), **({"p": 1.0} if "p" in OPS[name] else {}), **more}


def run(given_images, work, ops, **params):
    return run_stage(augment, given_images, work=work, ops=ops, **params)["output"]


# every operation


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("channels", [3, 4])
def test_every_operation_of_the_table_works(tmp_path, name, channels):
    pixels = noise(3, channels)
    result = run(Images.from_batches([Batch(pixels)]), tmp_path, [table(name)]).array()
    assert result.shape[0] == 3
    assert result.shape[3] == channels
    if name not in ("RandomPlanckianJitter",):
        original = Images.from_batches([Batch(pixels)]).array()
        assert result.shape != original.shape or not np.array_equal(result[..., :3], original[..., :3])


@pytest.mark.parametrize("name", sorted(ROWWISE))
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_rowwise_operations_treat_each_picture_as_if_it_were_alone(name, p):
    if p < 1 and name in SIZES_CHANGE:
        p = 1.0
    op = Op(table(name, p=p), 0)
    pixels, seeds = noise(12), list(range(40, 52))
    assert torch.equal(_rowwise(op, pixels, seeds), _alone(op, pixels, seeds))


def test_the_comparison_above_can_fail():
    """Motion blur takes the kernel of one picture for all, so it must not be in the table."""
    op = Op(table("RandomMotionBlur"), 0)
    assert "RandomMotionBlur" not in ROWWISE
    assert not torch.equal(_rowwise(op, noise(12), list(range(12))), _alone(op, noise(12), list(range(12))))


def test_the_table_says_what_kornia_takes():
    for name, parameters in OPS.items():
        assert set(parameters) <= set(inspect.signature(getattr(kornia.augmentation, name)).parameters), name
    assert set(OPS) >= ROWWISE


@pytest.mark.parametrize("name", ["RandomHorizontalFlip", "RandomVerticalFlip"])
def test_flips_flip_about_half_of_the_pictures(tmp_path, name):
    given_images = Images.from_batches([Batch(noise(60))])
    before, after = given_images.array(), run(given_images, tmp_path, [name]).array()
    axis = 2 if name == "RandomHorizontalFlip" else 1
    flipped = [np.array_equal(after[i], np.flip(before[i], axis - 1)) for i in range(60)]
    same = [np.array_equal(after[i], before[i]) for i in range(60)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 15 < sum(flipped) < 45


# independence


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 19), unique=True).map(sorted), seed=st.integers(0, 2**32))
def test_pictures_do_not_depend_on_their_batches(tmp_path_factory, cuts, seed):
    pixels = noise(20)
    limits = [0, *cuts, 20]
    apart = Images.from_batches([Batch(pixels[a:b]) for a, b in pairwise(limits)])
    together = Images.from_batches([Batch(pixels)])
    folder = tmp_path_factory.mktemp("work")
    a = run(together, folder / "a", NEEDED_BY_THE_ISSUE, seed=seed)
    b = run(apart, folder / "b", NEEDED_BY_THE_ISSUE, seed=seed)
    assert np.array_equal(a.array(), b.array())


SLOW = {"RandomJPEG", "RandomPlasmaBrightness", "RandomPlasmaContrast"}


@pytest.mark.parametrize("name", sorted(set(OPS) - SLOW))
def test_a_picture_does_not_depend_on_the_others(tmp_path, name):
    pixels = noise(7)
    others = pixels.clone()
    others[[i for i in range(7) if i != 4]] = 0.5
    a = run(Images.from_batches([Batch(pixels)]), tmp_path / "a", [table(name)])
    b = run(Images.from_batches([Batch(others)]), tmp_path / "b", [table(name)])
    few = run(Images.from_batches([Batch(pixels[:5])]), tmp_path / "c", [table(name)])
    assert np.array_equal(a[4].array, b[4].array)
    assert np.array_equal(a[4].array, few[4].array)


def test_seed_decides(tmp_path):
    given_images = tiny_images(6, 16)
    first = run(given_images, tmp_path / "a", NEEDED_BY_THE_ISSUE, seed=1).array()
    assert np.array_equal(first, run(given_images, tmp_path / "b", NEEDED_BY_THE_ISSUE, seed=1).array())
    assert not np.array_equal(first, run(given_images, tmp_path / "c", NEEDED_BY_THE_ISSUE, seed=2).array())


def test_pictures_differ_from_each_other(tmp_path):
    same = Images.from_batches([Batch(noise(1).expand(8, -1, -1, -1))])
    result = run(same, tmp_path, [table("RandomAffine")]).array()
    assert len({picture.tobytes() for picture in result}) == 8


def test_an_operation_draws_the_same_whatever_follows(tmp_path):
    """With a second operation that does nothing, the first does what it did alone."""
    given_images = tiny_images(6, 16)
    alone = run(given_images, tmp_path / "a", [table("RandomAffine")]).array()
    followed = run(given_images, tmp_path / "b", [table("RandomAffine"), {"op": "RandomHorizontalFlip", "p": 0.0}]).array()
    assert np.array_equal(alone, followed)


def test_nothing_global_changes(tmp_path):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    for name in ("RandomAffine", "RandomPlasmaShadow", "RandomElasticTransform"):
        run(tiny_images(2, 16), tmp_path / name, [table(name)])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_torchs_global_seed_plays_no_part(tmp_path):
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            results.append(run(tiny_images(4, 16), tmp_path / str(seed), [table("RandomAffine"), table("RandomPlasmaShadow")]).array())
    assert np.array_equal(*results)


# transparency, copies, metadata


@pytest.mark.parametrize("name", ["ColorJitter", "RandomInvert", "RandomGaussianNoise", "RandomPlasmaShadow"])
def test_colour_leaves_transparency_alone(tmp_path, name):
    given_images = Images.from_batches([Batch(noise(3, channels=4))])
    result = run(given_images, tmp_path, [table(name)]).array()
    assert np.array_equal(result[..., 3], given_images.array()[..., 3])
    assert not np.array_equal(result[..., :3], given_images.array()[..., :3])


def test_transparency_travels_with_geometry(tmp_path):
    pixels = torch.zeros(1, 4, 16, 16)
    pixels[:, 1] = 1.0  # green hides where it is transparent
    pixels[:, :3, :, :8] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    pixels[:, 3, :, :8] = 1.0
    flipped = run(Images.from_batches([Batch(pixels)]), tmp_path / "a", [table("RandomHorizontalFlip")]).array()[0]
    assert (flipped[:, 8:] == [255, 0, 0, 255]).all()
    assert (flipped[:, :8, 3] == 0).all()
    turned = run(Images.from_batches([Batch(pixels)]), tmp_path / "b", [table("RandomRotation")]).array()[0]
    seen = turned[..., 3] > 4
    assert turned[seen][:, 1].max() <= 4, "hidden green has bled out"


def test_copies_follow_one_another_and_differ(tmp_path):
    given_images = tiny_images(4, 16)
    ops = [table("RandomAffine")]
    result = run(given_images, tmp_path / "a", ops, copies=3)
    assert result.count == 12
    assert [(meta["number"], meta["copy"]) for batch in result for meta in batch.meta] == [(i, k) for i in range(4) for k in range(3)]
    assert len({picture.tobytes() for picture in result.array()}) == 12
    fewer = run(Images.from_batches([given_images[0], given_images[1]]), tmp_path / "b", ops, copies=3)
    assert np.array_equal(fewer.array(), result.array()[:6])


def test_metadata_and_fps_stay(tmp_path):
    film = Images.from_batches([tiny_images(3, 16)[i] for i in range(3)], fps=12.5)
    result = run(film, tmp_path, ["RandomInvert"])
    assert result.fps == 12.5
    assert [meta for batch in result for meta in batch.meta] == [{"number": i} for i in range(3)]


def test_mixed_sizes(tmp_path):
    mixed = Images.from_batches([Batch(noise(2, size=8)), Batch(noise(1, size=12)), Batch(noise(1, size=8))])
    result = run(mixed, tmp_path, [table("RandomVerticalFlip")])
    assert [result[i].array.shape[1] for i in range(4)] == [8, 8, 12, 8]
    assert np.array_equal(result[2].array, mixed[2].array[:, ::-1])


# wrong recipes


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        (["RandomAfine"], "did you mean 'RandomAffine'"),
        ([{"op": "RandomAffine", "degres": 3}], "no parameter 'degres' in RandomAffine; did you mean 'degrees'"),
        (["RandomHorizontalFlip", {"op": "RandomErasing", "scal": 3}], r"ops\[1\].*did you mean 'scale'"),
        ([{"degrees": 3}], "expected a name"),
        ([3], "expected a name"),
        ([], "at least 1"),
        ("RandomAffine", "list"),
        ([{"op": "RandomAffine", "same_on_batch": True}], "no parameter 'same_on_batch'"),
        (["RandomMixUpV2"], "there is no augmentation"),
    ],
)
def test_wrong_names_are_refused_with_the_recipe(ops, words):
    with pytest.raises(ParamProblem, match=words):
        resolve(augment.params, "augment", {"ops": ops})


@pytest.mark.parametrize(
    "op",
    [
        {"op": "RandomAffine"},
        {"op": "RandomAffine", "degrees": "many"},
        {"op": "RandomAffine", "degrees": 10, "translate": [3.0, 3.0]},
        {"op": "ColorJitter", "hue": 7.0},
        {"op": "RandomCrop", "size": "large"},
    ],
)
def test_wrong_values_are_refused_before_the_first_picture(tmp_path, op):
    def untouched(start, size):
        raise AssertionError("a picture was asked for")

    with pytest.raises(UsageError, match=rf"augment\.ops\[1\] {op['op']}") as caught:
        run(Images(untouched), tmp_path, ["RandomInvert", op])
    assert len(str(caught.value).splitlines()) <= 3


def test_chance_that_would_mix_sizes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="p below 1"):
        run(tiny_images(20, 16), tmp_path, [{"op": "RandomCrop", "size": [8, 8], "p": 0.5}])


def test_a_failing_operation_is_named(tmp_path):
    with pytest.raises(StageError, match=r"augment\.ops\[0\] RandomClahe"):
        run(tiny_images(1, 4), tmp_path, [{"op": "RandomClahe", "grid_size": [8, 8], "p": 1.0}])
