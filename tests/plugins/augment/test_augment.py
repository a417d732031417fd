"""`augment`: what happens to a picture depends on its index and the seed alone; names and values are checked before any picture."""

import json
import random
import re
from itertools import pairwise
from pathlib import Path

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genart import Batch, Images, StageError, UsageError
from genart.nn.kornia_table import TABLE, operations
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_augment import augment
from genart_augment.catalogue import (
    CATALOGUED,
    LEFT_OUT,
    LEFT_OUT_AUGMENTATIONS,
    all_augmentations,
    catalogue,
    coverage,
    functions_of_kornia,
)
from genart_augment.operations import BY_ITSELF, ROWWISE, make
from genart_augment.pipeline import Draws, _alone, _chunks, _rowwise
from tests.conftest import tree

ROOT = Path(__file__).parents[3]
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
KERNEL = {"kernel": 3}
#: The same for functions.
NEEDED |= {
    "adjust_brightness": {"factor": 0.2},
    "adjust_brightness_accumulative": {"factor": 1.5},
    "adjust_contrast": {"factor": 1.5},
    "adjust_contrast_with_mean_subtraction": {"factor": 1.5},
    "adjust_gamma": {"gamma": 2.0},
    "adjust_hue": {"factor": 1.0},
    "adjust_saturation": {"factor": 2.0},
    "adjust_saturation_with_gray_subtraction": {"factor": 2.0},
    "affine": {"matrix": [[1, 0, 3], [0, 1, 0]]},
    "apply_colormap": {"colormap": "viridis"},
    "AutoAugment": {"policy": "cifar10"},
    "bilateral_blur": {"kernel_size": 5, "sigma_color": 0.1, "sigma_space": [1.5, 1.5]},
    "blur_pool2d": {"kernel_size": 3},
    "bottom_hat": KERNEL,
    "box_blur": {"kernel_size": 5},
    "center_crop": {"size": [12, 12]},
    "closing": KERNEL,
    "crop_by_indices": {"src_box": [[2, 2], [12, 2], [12, 12], [2, 12]]},
    "dilation": KERNEL,
    "edge_aware_blur_pool2d": {"kernel_size": 3, "edge_threshold": 4.0},
    "erosion": KERNEL,
    "filter2d": {"kernel": [[0, 1, 0], [1, -4, 1], [0, 1, 0]]},
    "filter2d_separable": {"kernel_x": [1, 2, 1], "kernel_y": [1, 0, -1]},
    "gaussian_blur2d": {"kernel_size": 5, "sigma": [1.5, 1.5]},
    "gradient": KERNEL,
    "guided_blur": {"kernel_size": 5, "eps": 0.1},
    "ImageSequential": {"ops": ["RandomHorizontalFlip", {"op": "adjust_gamma", "gamma": 2.0}]},
    "in_range": {"lower": [0.2, 0.2, 0.2], "upper": [0.8, 0.8, 0.8]},
    "joint_bilateral_blur": {"kernel_size": 5, "sigma_color": 0.1, "sigma_space": [1.5, 1.5]},
    "jpeg_codec_differentiable": {"jpeg_quality": 20.0},
    "laplacian": {"kernel_size": 5},
    "max_blur_pool2d": {"kernel_size": 3},
    "median_blur": {"kernel_size": 5},
    "motion_blur": {"kernel_size": 7, "angle": 45.0, "direction": 0.5},
    "opening": KERNEL,
    "PatchSequential": {"grid_size": [2, 2], "patchwise_apply": False, "ops": [{"op": "RandomInvert", "p": 0.7}, "adjust_log"]},
    "posterize": {"bits": 3},
    "RandAugment": {"n": 2, "m": 15},
    "rescale": {"factor": 0.5},
    "resize": {"size": 12},
    "resize_to_be_divisible": {"divisible_factor": 5},
    "rotate": {"angle": 20.0},
    "scale": {"scale_factor": [1.5, 1.5]},
    "sharpness": {"factor": 2.0},
    "shear": {"shear": [0.1, 0.0]},
    "shift_rgb": {"r_shift": 0.1, "g_shift": -0.1, "b_shift": 0.2},
    "threshold": {"thresh": 0.5, "maxval": 1.0},
    "top_hat": KERNEL,
    "translate": {"translation": [3.0, 0.0]},
    "unsharp_mask": {"kernel_size": 5, "sigma": [1.5, 1.5]},
    "warp_affine": {"M": [[1, 0, 3], [0, 1, 0]], "dsize": [24, 24]},
    "warp_perspective": {"M": [[1, 0, 3], [0, 1, 0], [0, 0.01, 1]], "dsize": [24, 24]},
}
FUNCTIONS = [name for name, operation in operations().items() if operation.kind == "function"]
POLICIES = {name for name, operation in operations().items() if operation.of == "augmentation.auto"}
#: They change some of the pictures only, or do nothing to those of this test.
MAY_DO_NOTHING = {"RandomPlanckianJitter", *POLICIES}
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
    return {"op": name, **NEEDED.get(name, {}), **({"p": 1.0} if "p" in operations()[name].parameters else {}), **more}


def run(given_images, work, ops, **params):
    return run_stage(augment, given_images, work=work, ops=ops, **params)["output"]


# every operation


@pytest.mark.parametrize("name", operations())
@pytest.mark.parametrize("channels", [3, 4])
def test_every_operation_of_the_table_works(tmp_path, name, channels):
    pixels = noise(3, channels)
    if channels == 4 and name in POLICIES:
        with pytest.raises(UsageError, match="transparent pictures"):
            run(Images.from_batches([Batch(pixels)]), tmp_path, [table(name)])
        return
    result = run(Images.from_batches([Batch(pixels)]), tmp_path, [table(name)]).array()
    assert result.shape[0] == 3
    assert result.shape[3] == channels
    if name not in MAY_DO_NOTHING:
        original = Images.from_batches([Batch(pixels)]).array()
        assert result.shape != original.shape or not np.array_equal(result[..., :3], original[..., :3])


class Seeds:
    """Stands for a run: the seed of a picture is its index."""

    def seeds(self, label, indices):
        return [40 + index for index in indices]


DRAWS = Draws(Seeds())


@pytest.mark.parametrize("name", sorted(ROWWISE))
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_rowwise_operations_treat_each_picture_as_if_it_were_alone(name, p):
    if p < 1 and name in SIZES_CHANGE:
        p = 1.0
    op, pixels = make(table(name, p=p), "0"), noise(12)
    assert torch.equal(_rowwise(op, pixels, 0, DRAWS), _alone(op, pixels, 0, DRAWS))


@pytest.mark.parametrize("name", ["ColorJiggle", "ColorJitter"])
@pytest.mark.parametrize("order", [(3, 0, 1, 2), (2, 0)])
def test_a_fixed_order_is_gone_through_once(name, order):
    op, pixels = make(table(name, p=1.0, order=list(order)), "0"), noise(12)
    changed = _rowwise(op, pixels, 0, DRAWS)
    assert torch.equal(changed, _alone(op, pixels, 0, DRAWS))
    assert not torch.equal(changed, _rowwise(make(table(name, p=1.0, order=sorted(order)), "0"), pixels, 0, DRAWS))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in BY_ITSELF])
def test_functions_treat_each_picture_as_if_it_were_alone(name):
    op, pixels = make(table(name), "0"), noise(7)
    assert torch.equal(_rowwise(op, pixels, 0, DRAWS), _alone(op, pixels, 0, DRAWS))


def test_the_comparisons_above_can_fail():
    """Motion blur takes the kernel of one picture for all, so it must not be in the table."""
    op = make(table("RandomMotionBlur"), "0")
    assert "RandomMotionBlur" not in ROWWISE
    assert not torch.equal(_rowwise(op, noise(12), 0, DRAWS), _alone(op, noise(12), 0, DRAWS))


def test_the_table_is_what_kornia_says():
    assert json.loads(TABLE.read_text(encoding="utf-8")) == catalogue(), "run `make fix`"
    assert set(operations()) >= ROWWISE


def test_operations_are_told_in_words_of_pictures():
    odd = re.compile(r"tensor|image picture|batch pictures?|batch of picture\b", re.IGNORECASE)
    assert {name: about["summary"] for name, about in catalogue().items() if odd.search(about["summary"])} == {}


def test_nearly_all_of_kornia_is_offered_and_the_rest_has_a_reason():
    kornia_has = set(functions_of_kornia())
    named = [name for names in (*CATALOGUED.values(), *LEFT_OUT.values()) for name in names.split()]
    assert sorted(named) == sorted(kornia_has), "each function once, offered or left out for a reason"
    assert set(all_augmentations()) - set(operations()) == set(LEFT_OUT_AUGMENTATIONS)
    told = [(kind, name) for row in coverage().values() for kind, names in row.items() for name in names]
    offered = [name for kind, name in told if kind == "offered"]
    missing = [name for kind, name in told if kind == "missing"]
    assert sorted(offered) == sorted(operations())
    assert sorted(missing) == sorted([*LEFT_OUT_AUGMENTATIONS, *LEFT_OUT["no picture comes out as itself"].split()])
    assert len(offered) / (len(offered) + len(missing)) >= 0.95
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"| {len(offered)} | {len(missing)} | {len(offered) / (len(offered) + len(missing)):.1%} |" in page.replace("**", "")


# functions, containers, films


def test_a_function_does_what_kornia_does(tmp_path):
    pixels = (noise(3) * 255).round() / 255
    result = run(Images.from_batches([Batch(pixels)]), tmp_path, [{"op": "adjust_gamma", "gamma": 2.0}]).array()
    assert np.array_equal(result, Images.from_batches([Batch(kornia.enhance.adjust_gamma(pixels, 2.0))]).array())


def test_a_function_with_p_is_done_to_a_share(tmp_path):
    pixels = noise(40)
    before = Images.from_batches([Batch(pixels)]).array()
    after = run(Images.from_batches([Batch(pixels)]), tmp_path, [{"op": "invert", "p": 0.5}]).array()
    done = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert 8 < sum(done) < 32


@pytest.mark.parametrize("space", ["hls", "hsv", "lab", "luv", "xyz", "yuv", "ycbcr", "linear_rgb"])
def test_a_colour_space_and_back_changes_nothing(tmp_path, space):
    pixels = noise(2) * 0.8 + 0.1
    there, back = f"rgb_to_{space}", "linear_rgb_to_rgb" if space == "linear_rgb" else f"{space}_to_rgb"
    before = Images.from_batches([Batch(pixels)]).array().astype(int)
    after = run(Images.from_batches([Batch(pixels)]), tmp_path / "a", [there, back]).array().astype(int)
    assert abs(before - after).max() <= 2
    within = run(Images.from_batches([Batch(pixels)]), tmp_path / "b", [there]).array()
    assert within.std() > 0


def test_a_sequence_chooses_as_many_as_it_says(tmp_path):
    """Three operations that each take a quarter away: of a white picture so much is left as were chosen."""
    darker = {"op": "adjust_brightness_accumulative", "factor": 0.75}
    white = Images.from_batches([Batch(torch.ones(30, 3, 8, 8))])

    def left(random_apply, name):
        ops = [{"op": "ImageSequential", "random_apply": random_apply, "ops": [darker] * 3}]
        return {round(float(picture.mean()) / 255, 2) for picture in run(white, tmp_path / name, ops).array()}

    assert left(False, "all") == {0.42}
    assert left(1, "one") == {0.75}
    assert left([1, 2], "some") == {0.75, 0.56}
    assert left(True, "any order") == {0.42}


def test_patches_are_changed_each_by_itself(tmp_path):
    ops = [{"op": "PatchSequential", "grid_size": [2, 2], "ops": ["invert", "hflip", "vflip", "rot180"]}]
    pixels = noise(1, size=8)
    result = torch.from_numpy(run(Images.from_batches([Batch(pixels)]), tmp_path, ops).array()[0]).permute(2, 0, 1)
    before = torch.from_numpy(Images.from_batches([Batch(pixels)]).array()[0]).permute(2, 0, 1)
    assert torch.equal(result[:, :4, :4], 255 - before[:, :4, :4])
    assert torch.equal(result[:, :4, 4:], before[:, :4, 4:].flip(2))
    assert torch.equal(result[:, 4:, :4], before[:, 4:, :4].flip(1))
    assert torch.equal(result[:, 4:, 4:], before[:, 4:, 4:].flip(1, 2))


def test_a_film_draws_once_or_moves_smoothly(tmp_path):
    picture = tiny_images(1, 32)[0].pixels
    still = Images.from_batches([Batch(picture.expand(24, -1, -1, -1))])
    ops = [{"op": "RandomRotation", "degrees": 40, "p": 1.0}]
    each, once, smooth = (run(still, tmp_path / film, ops, film=film, period=8).array() for film in ("each", "once", "smooth"))
    assert len({picture.tobytes() for picture in each}) == 24
    assert len({picture.tobytes() for picture in once}) == 1
    assert len({picture.tobytes() for picture in smooth}) == 24

    def steps(film):
        return np.abs(np.diff(film.astype(float), axis=0)).mean((1, 2, 3))

    assert steps(smooth).max() < 0.7 * np.median(steps(each))
    fewer = Images.from_batches([Batch(picture.expand(5, -1, -1, -1))])
    assert np.array_equal(run(fewer, tmp_path / "few", ops, film="smooth", period=8).array(), smooth[:5])


@pytest.mark.parametrize("name", ["RandomRotation", "ColorJitter", "RandomGamma", "RandomPosterize"])
def test_a_smooth_film_does_not_jump(tmp_path, name):
    """With p = 0.5 each copy is changed in all of its frames or in none, and in one order; of ten copies some are."""
    picture = tiny_images(1, 32)[0].pixels
    still = Images.from_batches([Batch(picture.expand(24, -1, -1, -1))])
    film = run(still, tmp_path, [table(name, p=0.5)], film="smooth", period=4, copies=10).array().astype(float)
    copies = film.reshape(24, 10, *film.shape[1:])
    changed = (copies != still.array()[:1]).any((2, 3, 4))
    assert 0 < changed.all(0).sum() < 10
    assert (changed.mean(0) > 0.9).sum() + (changed.mean(0) == 0).sum() == 10
    span = np.abs(copies[:, None] - copies[None]).mean((3, 4, 5)).max((0, 1))
    step = np.abs(np.diff(copies, axis=0)).mean((2, 3, 4)).max(0)
    assert (step <= 0.6 * span).all()


@pytest.mark.parametrize("name", sorted(ROWWISE - {"RandomElasticTransform"}))
def test_every_rowwise_operation_can_move(tmp_path, name):
    pixels = noise(1).expand(5, -1, -1, -1)
    film = run(Images.from_batches([Batch(pixels)]), tmp_path, [table(name)], film="smooth", period=2)
    assert film.count == 5


def test_what_draws_while_it_is_applied_cannot_move(tmp_path):
    with pytest.raises(UsageError, match=r"RandomRain cannot move from picture to picture"):
        run(tiny_images(2, 16), tmp_path, [table("RandomRain")], film="smooth")


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


@pytest.mark.parametrize("name", sorted(set(operations()) - SLOW - set(FUNCTIONS)))
def test_a_picture_does_not_depend_on_the_others(tmp_path, name):
    pixels = noise(7)
    others = pixels.clone()
    others[[i for i in range(7) if i != 4]] = 0.5
    a = run(Images.from_batches([Batch(pixels)]), tmp_path / "a", [table(name)])
    b = run(Images.from_batches([Batch(others)]), tmp_path / "b", [table(name)])
    few = run(Images.from_batches([Batch(pixels[:5])]), tmp_path / "c", [table(name)])
    assert np.array_equal(a[4].array, b[4].array)
    assert np.array_equal(a[4].array, few[4].array)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("film", ["each", "smooth"])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, monkeypatch, copies, film):
    """At any picture, also within a chunk or among the copies of one, and where the pictures are of several sizes."""
    monkeypatch.setattr("genart_augment.pipeline.CHUNK", 4)
    given_images = Images.from_batches([Batch(noise(6)), Batch(noise(3, size=16)), Batch(noise(4))])
    params = {"ops": NEEDED_BY_THE_ISSUE, "copies": copies, "film": film}
    whole = [(batch.array, batch.meta) for batch in run_stage(augment, given_images, work=tmp_path, **params)["output"].batches(1)]
    assert len(whole) == 13 * copies
    for start in (1, 4, 5, 7, 9 * copies - 1, 13 * copies - 1):
        kept = Images.from_batches([Batch.from_array(*one) for one in whole[:start]])
        rest = list(run_stage(augment, given_images, work=tmp_path, kept=kept, **params)["output"].batches(1))
        assert len(rest) == len(whole) - start
        for made, (array, meta) in zip(rest, whole[start:], strict=True):
            assert np.array_equal(made.array, array)
            assert made.meta == meta


RECIPE = """
[[stage]]
uses = "toy.noise"
count = 9

[[stage]]
uses = "augment"
ops = [{op = "RandomRotation", degrees = 30, p = 1.0}]
copies = 2
save = "augmented"
"""
CRASH = """
[[stage]]
uses = "toy.crash"
how = "value"
"""


def test_a_run_that_failed_goes_on_with_the_copies_of_a_picture(run_toy, recipe, home, monkeypatch):
    """What comes before was not finished either: it is, and read from the store."""
    monkeypatch.setattr("genart_augment.pipeline.CHUNK", 2)
    assert run_toy(recipe(RECIPE + CRASH)).code == 4
    resumed = run_toy(recipe(RECIPE))
    assert resumed.code == 0
    assert 0 < resumed.started()["augment"]["resumed_at"] < 18
    ours = tree(Path("out"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "another"))
    assert run_toy(recipe(RECIPE)).started()["augment"]["resumed_at"] == 0
    assert tree(Path("out")) == ours


def test_chunks_are_the_same_wherever_a_run_begins():
    pictures = Images.from_batches([Batch(noise(300, size=2)), Batch(noise(5, size=3)), Batch(noise(300, size=2))])
    chunks = [(chunk.start, len(chunk)) for chunk in _chunks(pictures, 1, 0)]
    assert chunks == [(0, 256), (256, 44), (300, 5), (305, 207), (512, 93)]
    for start in (1, 255, 256, 257, 302, 310, 604):
        assert [(chunk.start, len(chunk)) for chunk in _chunks(pictures, 1, start)] == [(a, n) for a, n in chunks if a + n > start]
    assert [len(chunk) for chunk in _chunks(pictures, 3, 0)][:5] == [64] * 4 + [44]


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


NOTHING = {"op": "RandomGamma", "p": 0.0}


@pytest.mark.parametrize("last", [table("RandomAffine"), table("RandomPlasmaShadow"), "ImageSequential", "PatchSequential"])
def test_an_operation_draws_the_same_whatever_comes_before(tmp_path, last):
    given_images = tiny_images(6, 16)
    within = {"ImageSequential": {}, "PatchSequential": {"grid_size": [2, 2], "patchwise_apply": False}}

    def made(name, *ops):
        if isinstance(last, str):
            ops = [{"op": last, **within[last], "ops": list(ops)}]
        return run(given_images, tmp_path / name, list(ops)).array()

    own = table("RandomAffine") if isinstance(last, str) else last
    assert np.array_equal(made("a", own), made("b", NOTHING, own))


@pytest.mark.parametrize("within", [None, "ImageSequential"])
def test_two_operations_of_one_name_draw_each_for_itself(tmp_path, within):
    """Two flips that drew the same would leave every picture as it was."""
    pictures, flips = Images.from_batches([Batch(noise(60))]), ["RandomHorizontalFlip"] * 2
    result = run(pictures, tmp_path, flips if within is None else [{"op": within, "ops": flips}]).array()
    same = [np.array_equal(*pair) for pair in zip(pictures.array(), result, strict=True)]
    assert 15 < sum(same) < 45


def test_patches_draw_each_for_itself(tmp_path):
    same = Images.from_batches([Batch(noise(1, size=8).repeat(1, 1, 2, 2))])
    ops = [{"op": "PatchSequential", "grid_size": [2, 2], "patchwise_apply": False, "ops": [table("RandomAffine")]}]
    [picture] = run(same, tmp_path, ops).array()
    patches = {picture[y : y + 8, x : x + 8].tobytes() for y in (0, 8) for x in (0, 8)}
    assert len(patches) == 4


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
        (["RandomAffine"], "`degrees` is missing: RandomAffine needs it"),
        ([{"op": "RandomAffine", "degrees": "many"}], "degrees: expected list or number, got"),
        ([{"op": "canny", "hysteresis": 1}], "hysteresis: expected true | false"),
        (["ImageSequential"], "`ops` is missing: ImageSequential needs it"),
        ([{"op": "ImageSequential", "ops": []}], "no operation in ImageSequential"),
        ([{"op": "ImageSequential", "ops": ["RandomAfine"]}], "did you mean 'RandomAffine'"),
    ],
)
def test_wrong_names_are_refused_with_the_recipe(ops, words):
    with pytest.raises(ParamProblem, match=words):
        resolve(augment.params, "augment", {"ops": ops})


@pytest.mark.parametrize(
    "op",
    [
        {"op": "RandomAffine", "degrees": 10, "translate": [3.0, 3.0]},
        {"op": "ColorJitter", "hue": 7.0},
        {"op": "RandomCrop", "size": [1]},
        {"op": "box_blur", "kernel_size": [3]},
        {"op": "box_blur", "kernel_size": [130]},
        {"op": "PatchSequential", "grid_size": [2, 2], "ops": ["invert"]},
    ],
)
def test_wrong_values_are_refused_before_the_first_picture(tmp_path, op):
    def untouched(start, size):
        raise AssertionError("a picture was asked for")

    with pytest.raises(UsageError, match=rf"augment\.ops\[1\] {op['op']}") as caught:
        run(Images(untouched), tmp_path, ["RandomInvert", op])
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "op",
    [
        {"op": "crop_by_indices", "src_box": [[70, 70], [90, 70], [90, 90], [70, 90]]},
        {"op": "gaussian_blur2d", "kernel_size": 129, "sigma": [9.0, 9.0]},
        {"op": "box_blur", "kernel_size": 131},
        {"op": "unsharp_mask", "kernel_size": 129, "sigma": [9.0, 9.0]},
        {"op": "guided_blur", "kernel_size": 129, "eps": 0.1},
        {"op": "motion_blur", "kernel_size": 129, "angle": 45.0, "direction": 0.5},
        {"op": "CenterCrop", "size": [80, 80], "p": 1.0},
        {"op": "ImageSequential", "ops": [{"op": "box_blur", "kernel_size": 129}]},
    ],
)
def test_kernels_and_crops_may_be_as_large_as_the_pictures(tmp_path, op):
    pixels = noise(1, size=96)
    result = run(Images.from_batches([Batch(pixels)]), tmp_path, [op]).array()
    assert not np.array_equal(result, Images.from_batches([Batch(pixels)]).array())


def test_a_crop_that_no_picture_for_trial_is_large_enough_for_waits_for_the_first(tmp_path):
    far = {"op": "crop_by_indices", "src_box": [[9000, 9000], [9010, 9000], [9010, 9010], [9000, 9010]]}
    with pytest.raises(StageError, match=r"augment\.ops\[0\] crop_by_indices failed on pictures 0 to 0"):
        run(Images.from_batches([Batch(noise(1))]), tmp_path, [far])


def test_chance_that_would_mix_sizes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="p below 1"):
        run(tiny_images(20, 16), tmp_path, [{"op": "RandomCrop", "size": [8, 8], "p": 0.5}])


def test_a_failing_operation_is_named(tmp_path):
    with pytest.raises(StageError, match=r"augment\.ops\[0\] RandomClahe"):
        run(tiny_images(1, 4), tmp_path, [{"op": "RandomClahe", "grid_size": [8, 8], "p": 1.0}])
