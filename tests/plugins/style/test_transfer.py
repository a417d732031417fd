import importlib
import io
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st
from kornia.color import rgb_to_lab, rgb_to_yuv
from PIL import Image, ImageCms

from genart.artifacts import Batch, Images, StoredImages, read_sealed, write_sealed
from genart.errors import DataError, DivergedError, Interrupted, ResourceError
from genart.events import Events
from genart.nn import vgg
from genart.nn.flow import flicker
from genart.params import ParamProblem, input_paths, resolve
from genart.plugins import Plugins
from genart.run import Run, Stop
from genart.testing import run_stage
from genart_style import _transfer, colour, genart_backbones, genart_statistics, scene, schedule, style_transfer
from genart_style import transfer as module
from genart_style.memory import Plan
from genart_style.objective import Objective
from genart_style.optimizers import LBFGS, Adam

from .made import pictures, waves

TINY = {"iterations": 3, "scales": 1}


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


@pytest.fixture
def backbone(network):
    return lambda name, device: network


@pytest.fixture
def content():
    return pictures(waves(40, 48))


def told(given, work, backbone, **params):
    """Run the stage; returns (outputs, events)."""
    events = []
    outputs = run_stage(style_transfer, given, work=work, backbone=backbone, observer=events.append, **{**TINY, **params})
    return outputs, events


def losses(events, name="style"):
    """The values of a loss over time."""
    return [event[name] for event in events if event["event"] == "metric" and name in event]


# optimisers


def bowl(x):
    """A badly conditioned quadratic with its least at 0.3."""
    scale = torch.linspace(1, 100, x.numel()).view_as(x)
    return float((scale * (x - 0.3) ** 2).sum()), 2 * scale * (x - 0.3)


def test_lbfgs_finds_the_least_of_a_quadratic_and_never_rises():
    optimizer = LBFGS(torch.rand(1, 3, 4, 4))
    seen = [optimizer.step(bowl) for _ in range(80)]
    assert all(b <= a for a, b in itertools.pairwise(seen))
    assert torch.allclose(optimizer.best, torch.full((1, 3, 4, 4), 0.3), atol=1e-3)


def test_lbfgs_takes_back_steps_into_nothing():
    """A loss that is NaN beyond 0.6 is left again."""

    def cliff(x):
        loss, gradient = bowl(x)
        return (loss, gradient) if float(x.max()) < 0.6 else (float("nan"), gradient * float("nan"))

    optimizer = LBFGS(torch.full((1, 3, 4, 4), 0.5))
    for _ in range(60):
        optimizer.step(cliff)
    assert torch.isfinite(optimizer.best).all()
    assert bowl(optimizer.best)[0] < 0.1


@pytest.mark.parametrize("make", [LBFGS, lambda x: Adam(x, 0.05)])
def test_an_optimiser_restored_goes_on_to_the_bit(make):
    start = torch.rand(1, 3, 4, 4)
    whole, half = make(start), make(start)
    for _ in range(30):
        whole.step(bowl)
    for _ in range(13):
        half.step(bowl)
    tensors, scalars = half.state()
    other = make(torch.zeros(1, 3, 4, 4))
    other.restore({name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(scalars)))
    for _ in range(17):
        other.step(bowl)
    assert torch.equal(other.best, whole.best)


def test_adam_carries_its_moments_to_a_larger_picture():
    small, large = Adam(torch.rand(1, 3, 4, 4), 0.01), Adam(torch.rand(1, 3, 8, 8), 0.01)
    large.carry(small)
    assert not large.adam.state[large.x], "nothing was learnt yet"
    small.step(bowl)
    large.carry(small)
    assert large.adam.state[large.x]["exp_avg"].shape == (1, 3, 8, 8)
    assert float(large.adam.state[large.x]["step"]) == 1


def test_lbfgs_carries_what_it_learnt_of_the_curvature_to_a_larger_picture():
    """Its first step there has the right length: the loss falls at once as it would after many steps of its own."""

    def mean_bowl(x):
        return float((x - 0.3).square().mean()), 2 * (x - 0.3) / x.numel()

    small, large, alone = LBFGS(torch.rand(1, 3, 8, 8)), LBFGS(torch.rand(1, 3, 16, 16)), LBFGS(torch.rand(1, 3, 16, 16))
    for _ in range(4):
        small.step(mean_bowl)
    large.carry(small)
    assert [step.shape for step in large.steps] == [(1, 3, 16, 16)] * len(small.steps)
    for optimizer in (large, alone):
        optimizer.step(mean_bowl)
        optimizer.step(mean_bowl)
    assert large.loss < 1e-3 * alone.loss
    large.carry(Adam(torch.rand(1, 3, 8, 8), 0.1))
    assert len(large.steps) <= large.history


# sizes and times


@given_that(st.integers(1, 6), st.integers(1, 9))
def test_a_list_is_spread_over_the_sizes_and_its_last_is_for_the_last(count, sizes):
    values = list(range(count))
    spread = [module.scheduled(values, k, sizes) for k in range(sizes)]
    assert spread[-1] == values[-1]
    assert spread == sorted(spread)
    if sizes >= count:
        assert set(spread) == set(values)


@given_that(st.integers(16, 4000), st.integers(16, 4000), st.integers(1, 12) | st.none())
def test_a_ladder_of_sizes_ends_at_the_picture_and_grows(height, width, count):
    sizes = schedule.ladder((height, width), count)
    assert sizes[-1] == (height, width)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(sizes))
    assert all(min(size) >= schedule.SHORTEST for size in sizes[:-1])


def test_the_usual_ladder():
    assert [max(size) for size in schedule.ladder((384, 512))] == [128, 181, 256, 362, 512]


@given_that(st.floats(1, 1000), st.floats(1e-8, 1e-4), st.integers(64, 3000), st.integers(64, 3000))
def test_planned_iterations_fit_into_the_time(seconds, pixel_sec, height, width):
    size = schedule.largest_affordable(seconds, pixel_sec, (height, width))
    sizes, spent = schedule.ladder(size), 0.0
    assert max(size) <= max(height, width)
    for k, (h, w) in enumerate(sizes):
        count = schedule.affordable(seconds - spent, pixel_sec * h * w, sizes, k)
        if count > schedule.FEWEST:
            spent += count * pixel_sec * h * w
            assert spent <= seconds * 1.0001


def test_coarser_sizes_have_more_iterations():
    sizes = schedule.ladder((384, 512))
    assert [schedule.planned(100, sizes, k) for k in range(5)] == [244, 195, 156, 125, 100]


# the stage


def test_the_loss_falls_and_the_size_stays(content, style, backbone, tmp_path):
    outputs, events = told(content, tmp_path / "w", backbone, style=str(style), iterations=12)
    assert outputs["output"].array().shape == (1, 40, 48, 3)
    assert losses(events, "loss")[-1] < 0.6 * losses(events, "loss")[0]
    assert next(iter(outputs["output"])).meta == [{"number": 0}]
    progress = outputs["progress"]
    assert len(progress) == 13
    assert progress.array().shape[1:] == (40, 48, 3)
    assert np.array_equal(progress.array()[-1], outputs["output"].array()[0])


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "adam"},
        {"init": "noise"},
        {"statistic": "mean_covariance"},
        {"statistic": "w2"},
        {"statistic": "sliced"},
        {"statistic": "nearest"},
        {"statistic": ["mean_covariance", "gram"], "scales": 2},
        {"optimizer": ["lbfgs", "adam"], "scales": 2},
        {"preserve_color": "match"},
        {"preserve_color": "histogram"},
        {"style_layer_weights": [1.0, 0.0, 0.0, 0.0, 1.0]},
        {"style_scale": 0.5},
        {"scales": 2},
    ],
    ids=str,
)
def test_each_choice_lowers_the_style_loss_and_changes_the_picture(params, content, style, backbone, tmp_path):
    params = {"resolution": 64, **params}
    plain, _ = told(content, tmp_path / "plain", backbone, style=str(style), resolution=64)
    outputs, events = told(content, tmp_path / "w", backbone, style=str(style), **params)
    assert losses(events)[2] < losses(events)[0], "at the first size"
    assert losses(events, "loss")[-1] < losses(events, "loss")[-3], "at the last one"
    assert not np.array_equal(plain["output"].array(), outputs["output"].array())


def test_the_same_seed_gives_the_same_picture(content, style, backbone, tmp_path):
    first, again, other = (
        told(content, tmp_path / name, backbone, style=str(style), init="noise", seed=seed)[0]["output"].array()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_does_not_depend_on_those_before_it(style, backbone, tmp_path):
    both, _ = told(pictures(waves(32, 40), waves(32, 32, 1)), tmp_path / "both", backbone, style=str(style))
    alone, _ = told(pictures(waves(32, 32, 1)), tmp_path / "alone", backbone, style=str(style))
    assert [batch.array.shape for batch in both["output"].batches(1)] == [(1, 32, 40, 3), (1, 32, 32, 3)]
    assert np.array_equal(both["output"][1].array, alone["output"][0].array)
    assert len(both["progress"]) == 4, "the film is of the first picture"


@pytest.mark.parametrize("params", [{}, {"scales": 3}, {"scales": 2, "budget": 3, "iterations": None}])
def test_all_that_pictures_have_in_common_is_chosen_before_others_begin(params, style, backbone, tmp_path, monkeypatch):
    """What a budget says of each picture is not in common: its choices name the picture."""
    known, apart = [], Run.apart
    monkeypatch.setattr(Run, "apart", lambda run, size: (known.append((size, run.choices)), apart(run, size))[1])
    given = pictures(waves(32, 40), waves(32, 40, 1))
    told(given, tmp_path / "w", backbone, style=str(style), precision="fp32", **params)
    chosen = json.loads((tmp_path / "w/choices.json").read_text())
    size, before = known[0]
    assert size == 1
    assert before
    assert all("picture" in name for name in chosen.keys() - before.keys() - {"sha256"})


def test_styles_are_blended(content, style, backbone, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(waves(48, 48, 9)).save(other)
    results = {}
    for shares in ((1, 0), (0, 1), (1, 1)):
        outputs, _ = told(
            content,
            tmp_path / str(shares),
            backbone,
            style=[str(style), str(other)],
            style_weights=[float(s) for s in shares],
            iterations=8,
        )
        results[shares] = outputs["output"].array().astype(float)
    alone, _ = told(content, tmp_path / "alone", backbone, style=str(style), iterations=8)
    assert np.array_equal(results[1, 0], alone["output"].array())
    mixed = [np.abs(results[1, 1] - results[pure]).mean() for pure in ((1, 0), (0, 1))]
    assert max(mixed) < np.abs(results[1, 0] - results[0, 1]).mean()


def test_an_embedded_photograph_is_a_style(content, backbone, tmp_path):
    outputs, events = told(content, tmp_path, backbone, style_photos="tissue")
    assert losses(events)[-1] < losses(events)[0]
    assert len(outputs["output"]) == 1


def test_luminance_alone_is_painted(content, style, backbone, tmp_path):
    outputs, _ = told(content, tmp_path / "w", backbone, style=str(style), preserve_color="luminance", iterations=8)
    before, after = (rgb_to_yuv(images[0].pixels) for images in (content, outputs["output"]))
    assert float((before[:, 1:] - after[:, 1:]).abs().max()) < 1.5 / 255, "chroma, up to rounding"
    assert float((before[:, :1] - after[:, :1]).abs().mean()) > 0.02


@given_that(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_luminance_keeps_chroma_for_any_picture(seed):
    colours, image = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    result = colour.with_luminance(colours, image)
    assert float((rgb_to_yuv(result) - rgb_to_yuv(colours))[:, 1:].abs().max()) < 1e-3


def test_matched_colours_have_the_contents_mean_and_spread():
    generator = torch.Generator().manual_seed(3)
    style = 0.5 + 0.1 * torch.randn(1, 3, 40, 40, generator=generator).clamp(-2, 2)
    content = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1) + 0.04 * torch.randn(1, 3, 30, 30, generator=generator)
    matched = rgb_to_lab(colour.match_colours(style, content))[0].flatten(1)
    wanted = rgb_to_lab(content)[0].flatten(1)
    assert torch.allclose(matched.mean(1), wanted.mean(1), atol=0.3)
    assert torch.allclose(torch.cov(matched), torch.cov(wanted), atol=0.15 * float(torch.cov(wanted).abs().max()))


def test_matched_histograms_are_the_contents():
    generator = torch.Generator().manual_seed(3)
    style = 0.3 + 0.4 * torch.rand(1, 3, 40, 50, generator=generator)
    content = 0.45 + 0.1 * torch.rand(1, 3, 30, 30, generator=generator).square() + torch.tensor([0.1, 0.0, -0.05]).view(1, 3, 1, 1)
    matched, wanted, before = (rgb_to_lab(image)[0].flatten(1) for image in (colour.match_histograms(style, content), content, style))
    levels = torch.linspace(0.02, 0.98, 25)
    found, aim, start = (torch.quantile(lab, levels, dim=1) for lab in (matched, wanted, before))
    assert float((found - aim).abs().max()) < 0.5
    assert float((start - aim).abs().max()) > 5
    order = rgb_to_lab(style)[0, 0].flatten().argsort()
    assert bool((matched[0][order].diff() > -0.05).all()), "what was darker stays darker"


def test_transparency_is_kept_and_what_it_hides_changes_nothing(style, backbone, tmp_path):
    rgba = np.concatenate([waves(32, 32), np.full((32, 32, 1), 255, np.uint8)], -1)
    rgba[:, :16, 3] = 0
    hidden = rgba.copy()
    hidden[:, :16, :3] = 7
    one, two = (told(pictures(x), tmp_path / str(i), backbone, style=str(style))[0]["output"].array() for i, x in enumerate((rgba, hidden)))
    assert np.array_equal(one[..., 3], rgba[None, ..., 3])
    assert np.array_equal(one, two)


def test_resolution_brings_the_longer_side(content, style, backbone, tmp_path):
    outputs, _ = told(content, tmp_path / "w", backbone, style=str(style), resolution=64, scales=2)
    assert outputs["output"].array().shape == (1, 53, 64, 3)
    assert outputs["progress"].array().shape[1:] == (53, 64, 3)


def test_an_image_to_begin_with(content, style, backbone, tmp_path):
    Image.fromarray(waves(20, 20, 4)).save(tmp_path / "start.png")
    outputs, _ = told(content, tmp_path / "w", backbone, style=str(style), init_image=str(tmp_path / "start.png"), iterations=1)
    resized = module.resized(torch.from_numpy(waves(20, 20, 4)).permute(2, 0, 1)[None] / 255, (40, 48))
    assert float((outputs["output"][0].pixels - resized).abs().mean()) < 0.01, "one evaluation knows nothing better than the start"


def test_a_new_size_begins_with_the_contents_own_detail():
    """A picture that is the reduced content is enlarged into the content itself."""
    guide = torch.from_numpy(waves(64, 64)).permute(2, 0, 1)[None] / 255
    guide[..., ::2] *= 0.9
    small = torch.nn.functional.interpolate(guide, size=(32, 32), mode="bicubic", antialias=True)
    assert float((module.with_detail(small, guide, (64, 64)) - guide).abs().max()) < 1e-5


def test_what_style_instant_makes_is_a_start(content, style, backbone, tmp_path):
    plain, _ = told(content, tmp_path / "plain", backbone, style=str(style), iterations=1)
    outputs, _ = told(content, tmp_path / "w", backbone, style=str(style), init="instant", iterations=1)
    assert np.abs(outputs["output"].array().astype(float) - plain["output"].array()).mean() > 10


# masks


def save_mask(path, left, right, size=(48, 40)):
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:, : size[0] // 2], mask[:, size[0] // 2 :] = left, right
    Image.fromarray(mask).save(path)
    return str(path)


def test_what_no_mask_shows_stays_as_it_is(content, style, backbone, tmp_path):
    mask = save_mask(tmp_path / "m.png", 255, 0)
    outputs, _ = told(content, tmp_path / "w", backbone, style=str(style), mask=mask, iterations=6)
    before, after = content.array()[0].astype(int), outputs["output"].array()[0].astype(int)
    assert np.abs(before - after)[:, 25:].max() <= 1
    assert np.abs(before - after)[:, :20].mean() > 5
    assert np.array_equal(outputs["progress"].array()[0][:, 25:], outputs["output"].array()[0][:, 25:]), "in the film too"


def halves_in_red_and_blue(backbone, tmp_path, **params):
    """Mean colours (3,) of the left half of a grey picture, where the mask of a red style is, and of the right, where a blue one's is."""
    rng = np.random.default_rng(1)
    for name, channel in (("red", 0), ("blue", 2)):
        picture = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
        picture[..., channel] += 180
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    masks = [save_mask(tmp_path / "left.png", 255, 0, (24, 20)), save_mask(tmp_path / "right.png", 0, 255)]
    outputs, _ = told(
        pictures(np.full((40, 48, 3), 120, np.uint8)),
        tmp_path / "w",
        backbone,
        style=[str(tmp_path / "red.png"), str(tmp_path / "blue.png")],
        mask=masks,
        content_weight=0.0,
        style_layers=["relu1_1", "relu2_1"],
        content_layers=["relu2_2"],
        **params,
    )
    return [part.mean((0, 1)) for part in np.split(outputs["output"].array()[0].astype(float), 2, axis=1)]


def test_each_region_takes_its_own_style(backbone, tmp_path):
    left, right = halves_in_red_and_blue(backbone, tmp_path, iterations=20)
    assert left[0] > left[2] + 40
    assert right[2] > right[0] + 40


def test_weights_say_how_much_each_region_counts(backbone, tmp_path):
    left, right = halves_in_red_and_blue(backbone, tmp_path, iterations=20, style_weights=[1.0, 0.0])
    assert left[0] > left[2] + 40
    assert np.abs(right - 120).max() < 10


def test_what_style_instant_makes_of_each_region_is_a_start(backbone, tmp_path):
    left, right = halves_in_red_and_blue(backbone, tmp_path, iterations=1, init="instant")
    assert left[0] > left[2] + 20
    assert right[2] > right[0] + 20


@pytest.mark.parametrize("statistic", ["gram"])
def test_what_is_transparent_counts_for_no_statistic(statistic, style, backbone, tmp_path):
    """The visible half has the style's statistics by itself: no worse than a picture of that half alone."""
    half = np.concatenate([waves(32, 64), np.full((32, 64, 1), 255, np.uint8)], -1)
    half[:, 32:, 3] = 0
    _, events = told(pictures(half), tmp_path / "half", backbone, style=str(style), statistic=statistic, iterations=10)
    _, alone = told(pictures(waves(32, 64)[:, :32]), tmp_path / "alone", backbone, style=str(style), statistic=statistic, iterations=10)
    assert losses(events)[-1] < 2 * losses(alone)[-1]


def test_masks_that_do_not_fit_are_refused(content, style, backbone, tmp_path):
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "square.png")
    with pytest.raises(DataError, match=r"the mask square\.png is 40x40 pixels, the picture 48x40"):
        told(content, tmp_path / "w", backbone, style=str(style), mask=str(tmp_path / "square.png"))
    with pytest.raises(DataError, match="black all over"):
        told(content, tmp_path / "v", backbone, style=str(style), mask=save_mask(tmp_path / "black.png", 0, 0))


def test_styles_and_masks_may_come_from_stages(content, style, backbone, tmp_path):
    with Image.open(style) as picture:
        made = pictures(np.asarray(picture))
    mask = pictures(np.full((40, 48, 3), 255, np.uint8))
    outputs, _ = told(content, tmp_path / "w", backbone, style="dream", mask="spot", sides={"dream": made, "spot": mask})
    plain, _ = told(content, tmp_path / "plain", backbone, style=str(style))
    assert np.abs(outputs["output"].array().astype(int) - plain["output"].array()).mean() < 2


def test_a_stage_gives_a_mask_for_all_pictures_or_one_for_each(style, backbone, tmp_path):
    """Those of a loop's end, which are painted ahead of its beginning, included."""
    frames, white = moving(8, 32), np.full((32, 32, 3), 255, np.uint8)
    params = {"style": str(style), "iterations": 1, "temporal": True, "loop": True}
    plain, _ = told(frames, tmp_path / "plain", backbone, **params)
    for i, masks in enumerate(([white], [white] * 8)):
        one, _ = told(frames, tmp_path / f"mask {i}", backbone, mask="spot", sides={"spot": pictures(*masks)}, **params)
        assert np.abs(one["output"].array().astype(int) - plain["output"].array()).mean() < 2
    one, _ = told(frames, tmp_path / "start", backbone, init_image="start", sides={"start": pictures(waves(32, 32))}, **params)
    assert len(one["output"]) == 8


@pytest.mark.parametrize("name", ["mask", "init_image"])
def test_masks_and_starts_that_are_too_few_are_refused(name, style, backbone, tmp_path):
    few = pictures(*[np.full((32, 32, 3), 255, np.uint8)] * 2)
    with pytest.raises(
        DataError, match=r"style\.transfer: the stage 'few' gave 2 pictures for 3\n  it may give one for all, or one for each"
    ):
        told(pictures(*[waves(32, 32)] * 3), tmp_path / "w", backbone, style=str(style), sides={"few": few}, **{name: "few"})
    outputs, _ = told(pictures(waves(32, 32)), tmp_path / "v", backbone, style=str(style), sides={"few": few}, **{name: "few"})
    assert len(outputs["output"]) == 1, "of a single picture the stage's first is meant"


def test_a_frame_that_stays_is_painted_anew_where_its_mask_moves(style, backbone, tmp_path):
    halves = [np.full((32, 32, 3), 255, np.uint8) for _ in range(2)]
    halves[0][:, 16:], halves[1][:, :16] = 0, 0
    still = pictures(*[waves(32, 32)] * 2)
    results = {}
    for label, masks in (("moves", halves), ("stays", halves[:1])):
        sides = {"spot": pictures(*masks)}
        outputs, _ = told(still, tmp_path / label, backbone, style=str(style), mask="spot", sides=sides, iterations=4, temporal=True)
        results[label] = outputs["output"].array().astype(int)
    assert np.array_equal(*results["stays"])
    assert np.array_equal(results["moves"][1][:, :14], still.array()[1][:, :14]), "no mask shows it any more"
    assert np.abs(results["moves"][0] - results["moves"][1])[:, :14].mean() > 1


# memory


def test_a_picture_in_tiles_is_the_whole_one(style, backbone, tmp_path, monkeypatch):
    """The plan is forced; the same number of iterations leads to nearly the same picture."""
    given = pictures(waves(96, 160))
    whole, _ = told(given, tmp_path / "whole", backbone, style=str(style), iterations=4, precision="fp32")
    monkeypatch.setattr(module.Painter, "_fitting", lambda self, size: Plan(tile=64, cost=2.0))
    tiled, _ = told(given, tmp_path / "tiled", backbone, style=str(style), iterations=4, precision="fp32")
    difference = np.abs(whole["output"].array().astype(int) - tiled["output"].array())
    assert difference.mean() < 0.2
    assert plans_of(tmp_path / "tiled") == {"memory at 160x96": [64, 20]}


def plans_of(work):
    choices = json.loads((work / "choices.json").read_text())
    return {name: [value["tile"], value["history"]] for name, value in choices.items() if name.startswith("memory")}


def test_a_tight_memory_is_told_and_kept_to(style, backbone, tmp_path):
    given = pictures(waves(64, 96))
    with pytest.raises(ResourceError, match="not enough for 96x64 pixels"):
        told(given, tmp_path / "w", backbone, style=str(style), memory="1MB")


def test_the_plan_is_told_before_and_the_peak_after(style, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Painter, "_fitting", lambda self, size: Plan(history=5, tile=64, planned_mb=1234.0, cost=2.0))
    _, events = told(pictures(waves(64, 96)), tmp_path / "w", backbone, style=str(style), iterations=2)
    notes = [event["message"] for event in events if event["event"] == "note"]
    assert notes == ["style.transfer: 96x64: about 1.2 GB of memory, in tiles of 64 px, 5 steps remembered"]
    kinds = [event["event"] for event in events]
    assert kinds.index("note") < kinds.index("preview")
    assert [event["planned_mb"] for event in events if "planned_mb" in event] == [1234.0]
    assert "planned_mb" not in (tmp_path / "w" / "choices.json").read_text(), "the next run's would be another, and its files with it"
    assert all(event["peak_mb"] > 100 for event in events if "peak_mb" in event)


# films


def moving(count=6, size=48):
    """A texture that slides to the right, two pixels a frame."""
    wide = waves(size, size + 2 * count, 3)
    return Images.from_batches([Batch.from_array(np.stack([wide[:, 2 * i : 2 * i + size] for i in range(count)]))], fps=12)


def test_a_film_flickers_less_than_its_frames_alone(style, backbone, tmp_path):
    frames = moving()
    unit = [frames[i].pixels for i in range(len(frames))]
    measured = {}
    for temporal in (False, True):
        outputs, _ = told(frames, tmp_path / str(temporal), backbone, style=str(style), iterations=6, init="noise", temporal=temporal)
        assert outputs["output"].fps == 12
        measured[temporal] = flicker(unit, [outputs["output"][i].pixels for i in range(len(frames))])
    assert measured[True] < 0.5 * measured[False]


def test_a_loop_leads_into_its_beginning(style, backbone, tmp_path):
    """Frames that swing forth and back: the step from the last picture to the first is like any other."""
    order = [0, 1, 2, 3, 2, 1]
    source = moving(4)
    frames = Images.from_batches([Batch.from_array(np.concatenate([source[i].array for i in order]))])
    outputs, _ = told(frames, tmp_path / "w", backbone, style=str(style), iterations=3, temporal=True, loop=True)
    array = outputs["output"].array().astype(float)
    steps = [np.abs(array[i] - array[i - 1]).mean() for i in range(len(order))]
    assert steps[0] <= 1.2 * max(steps[1:])


def test_a_killed_film_goes_on_to_the_same_bytes(style, backbone, tmp_path):
    frames = moving(5)
    params = {"style": str(style), "iterations": 2, "temporal": True, "loop": True}
    whole, _ = told(frames, tmp_path / "whole", backbone, **params)
    kept = Images.from_batches([Batch.from_array(whole["output"].array()[:3])])
    rest, _ = told(frames, tmp_path / "rest", backbone, kept=kept, **params)
    assert np.array_equal(rest["output"].array(), whole["output"].array()[3:])


# going on


def attempt(work, given, backbone, stop=None, act=None, **params):
    """Run in `work`, calling `act` after each evaluation with its number; returns (arrays of the result, of the film)."""
    calls = []
    evaluate = Objective.__call__
    with pytest.MonkeyPatch.context() as patch:

        def counted(self, image):
            calls.append(1)
            if act is not None:
                act(len(calls))
            return evaluate(self, image)

        patch.setattr(Objective, "__call__", counted)
        find = Plugins().load_extension
        run = Run(stage_id="paint", seed=0, device="cpu", work=work, events=Events(), stop=stop, backbone=backbone, extension=find)
        try:
            batches = list(run.stream(style_transfer(given, resolve(style_transfer.params, "style.transfer", params), run)))
            run.sink("progress").finish()
            return [b.array for b in batches], StoredImages(run.sink("progress").folder).array().copy(), len(calls)
        finally:
            run.close()


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("moment", [2, 6])
def test_a_stopped_run_goes_on_to_the_same_bytes(optimizer, moment, style, backbone, tmp_path):
    params = {"style": str(style), "iterations": 4, "scales": 2, "resolution": 48, "optimizer": optimizer}
    given = pictures(waves(48, 48))
    whole, film, all_calls = attempt(tmp_path / "whole", given, backbone, **params)
    stop = Stop()
    with pytest.raises(Interrupted):
        attempt(tmp_path / "w", given, backbone, stop, lambda n: setattr(stop, "signal", 2) if n == moment else None, **params)
    again, film_again, calls = attempt(tmp_path / "w", given, backbone, **params)
    assert np.array_equal(whole[0], again[0])
    assert np.array_equal(film, film_again)
    assert calls == all_calls - moment, "nothing was computed twice"


def test_a_killed_run_goes_on_to_the_same_bytes(style, backbone, tmp_path):
    params = {"style": str(style), "iterations": 4, "scales": 1}
    given = pictures(waves(32, 32), waves(32, 32, 2))
    whole, film, _ = attempt(tmp_path / "whole", given, backbone, **params)

    class Killed(BaseException):
        pass

    def kill(n):
        if n == 6:
            raise Killed

    with pytest.raises(Killed):
        attempt(tmp_path / "w", given, backbone, act=kill, **params)
    again, film_again, _ = attempt(tmp_path / "w", given, backbone, **params)
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    assert np.array_equal(film, film_again)


# budgets


class Clock:
    """Time that passes only while the network is evaluated, in proportion to pixels."""

    def __init__(self, pixel_sec):
        self.now, self.pixel_sec = 100.0, pixel_sec

    def __call__(self):
        return self.now


def with_clock(monkeypatch, pixel_sec):
    clock = Clock(pixel_sec)
    evaluate = Objective.__call__

    def timed(self, image):
        clock.now += clock.pixel_sec * image.shape[2] * image.shape[3]
        return evaluate(self, image)

    monkeypatch.setattr(Objective, "__call__", timed)
    monkeypatch.setattr(module.time, "monotonic", clock)
    monkeypatch.setattr(module.budget, "seconds_per_call", lambda call, *args, **kwargs: -clock() + (call(), clock())[1])
    return clock


def test_a_budget_is_kept_and_used(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 1 / 48**2)
    given = pictures(waves(48, 48))
    result, _, _ = attempt(tmp_path / "w", given, backbone, style=str(style), scales=2, budget=30, resolution=48)
    assert 24 < clock.now - 100 <= 30
    choices = json.loads((tmp_path / "w" / "choices.json").read_text())
    assert choices["size for 48x48"] == [48, 48]
    clock.pixel_sec *= 3  # a remake on a busy machine follows what was chosen
    for checkpoint in (tmp_path / "w" / "checkpoints").glob("*"):
        checkpoint.unlink()
    again, _, _ = attempt(tmp_path / "w", given, backbone, style=str(style), scales=2, budget=30, resolution=48)
    assert np.array_equal(result[0], again[0])


@pytest.mark.parametrize("preserve_color", ["match", "luminance"])
def test_a_stopped_run_under_a_budget_goes_on_to_the_same_bytes(preserve_color, style, backbone, tmp_path, monkeypatch):
    """What was measured before the first iteration leaves no trace in it."""
    with_clock(monkeypatch, 1 / 48**2)
    given = pictures(waves(48, 48))
    params = {"style": str(style), "scales": 2, "budget": 10, "resolution": 48, "preserve_color": preserve_color}
    whole, film, _ = attempt(tmp_path / "w", given, backbone, **params)
    for checkpoint in (tmp_path / "w" / "checkpoints").glob("*"):
        checkpoint.unlink()
    stop = Stop()
    with pytest.raises(Interrupted):
        attempt(tmp_path / "w", given, backbone, stop, lambda n: setattr(stop, "signal", 2) if n == 4 else None, **params)
    again, film_again, _ = attempt(tmp_path / "w", given, backbone, **params)
    assert np.array_equal(whole[0], again[0])
    assert np.array_equal(film, film_again)


def test_a_machine_that_slows_down_stops_in_time(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 1 / 48**2)

    def slow(n):
        clock.pixel_sec = (1 if n < 8 else 3) / 48**2

    attempt(tmp_path / "w", pictures(waves(48, 48)), backbone, act=slow, style=str(style), scales=1, budget=30, resolution=48)
    assert clock.now - 100 <= 30
    choices = json.loads((tmp_path / "w" / "choices.json").read_text())
    name = "iterations of picture 0 at 48x48"
    assert 8 < choices[f"{name}, done"] < choices[name]


def test_a_large_picture_is_made_as_large_as_the_budget_allows(style, backbone, tmp_path, monkeypatch):
    with_clock(monkeypatch, 1 / 128**2)
    outputs, events = told(pictures(waves(192, 256)), tmp_path / "w", backbone, style=str(style), budget=30, iterations=None, scales=None)
    assert outputs["output"].array().shape == (1, 96, 128, 3)
    assert "enough for 128x96 of 256x192" in next(
        event["message"] for event in events if event["event"] == "warning" and "enough" in event["message"]
    )


def test_a_budget_too_small_for_anything_is_refused(content, style, backbone, tmp_path, monkeypatch):
    with_clock(monkeypatch, 1)
    with pytest.raises(DataError, match="too small"):
        attempt(tmp_path / "w", content, backbone, style=str(style), budget=5)
    with pytest.raises(DataError, match="too small"):
        attempt(tmp_path / "v", pictures(*[waves(48, 48)] * 3), backbone, style=str(style), budget=5, resolution=48)


def test_of_many_pictures_each_gets_an_iteration_however_small_the_budget(style, backbone, tmp_path, monkeypatch):
    with_clock(monkeypatch, 1 / 48**2)
    given = pictures(*[waves(48, 48)] * 3)
    outputs, events = told(given, tmp_path / "w", backbone, style=str(style), budget=1.5, iterations=None, scales=None)
    assert outputs["output"].count == 3
    (warning,) = [event["message"] for event in events if event["event"] == "warning" and "budget" in event["message"]]
    assert (
        warning
        == "a budget of 0.5 s per picture is too small: one iteration at 48x48 takes about 1 s; each gets one, which takes 3 s in all"
    )
    choices = json.loads((tmp_path / "w" / "choices.json").read_text())
    assert [choices[f"iterations of picture {index} at 48x48, done"] for index in range(3)] == [1, 1, 1]


def test_the_time_that_a_picture_is_waited_for_is_not_taken_from_its_budget(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 0.1 / 48**2)
    given = pictures(*[waves(48, 48)] * 3)
    batches = given.batches

    def slow(*arguments):
        for batch in batches(*arguments):
            clock.now += 100
            yield batch

    monkeypatch.setattr(given, "batches", slow)
    attempt(tmp_path / "w", given, backbone, style=str(style), budget=9, resolution=48)
    choices = json.loads((tmp_path / "w" / "choices.json").read_text())
    done = [choices[f"iterations of picture {index} at 48x48, done"] for index in range(3)]
    assert min(done) >= 20


def film_with(work, backbone, style, count=6, kept=None, choices=None, **params):
    """Paint a film of 2 s a frame, 8 s the first, where one knows what was chosen; returns (array, what was chosen)."""
    if choices is not None:
        work.mkdir()
        write_sealed(work / "choices.json", choices)
    params = {"style": str(style), "iterations": None, "temporal": True, "budget": 2.0 * (count + 3)} | params
    outputs, _ = told(moving(count), work, backbone, kept=kept, **params)
    return outputs["output"].array(), read_sealed(work / "choices.json")


def iterations_in(choices):
    return {name: value for name, value in choices.items() if name.startswith("iterations")}


def test_what_a_film_under_a_budget_tells_does_not_grow_with_it(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 0.21 / 48**2)
    expected = {
        "iterations of picture 0 at 48x48": 35,
        "iterations of picture 0 at 48x48, done": 35,
        "iterations from picture 1 on at 48x48": 8,
    }
    for count in (3, 9):
        began = clock.now
        array, choices = film_with(tmp_path / str(count), backbone, style, count)
        assert len(array) == count
        assert 0.8 * 2 * (count + 3) < clock.now - began <= 2 * (count + 3)
        assert iterations_in(choices) == expected
        assert choices["frames painted"] == count


@pytest.mark.parametrize("loop", [False, True])
def test_a_film_under_a_budget_is_made_again_to_the_byte_on_a_slower_machine(loop, style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 0.21 / 48**2)
    array, choices = film_with(tmp_path / "w", backbone, style, loop=loop)
    clock.pixel_sec *= 3
    again, chosen = film_with(tmp_path / "v", backbone, style, loop=loop, choices=choices)
    assert np.array_equal(again, array)
    assert chosen == choices


def test_a_film_under_a_budget_goes_on_with_what_was_chosen_and_ends_in_time(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 0.21 / 48**2)
    whole, choices = film_with(tmp_path / "w", backbone, style)
    kept = Images.from_batches([Batch.from_array(whole[:3])])
    del choices["frames painted"]
    rest, _ = film_with(tmp_path / "v", backbone, style, kept=kept, choices=choices)
    assert np.array_equal(rest, whole[3:])
    clock.pixel_sec *= 3
    began = clock.now
    film_with(tmp_path / "u", backbone, style, kept=kept, choices=choices)
    assert clock.now - began <= 3 * 2


def test_frames_of_a_film_that_run_out_of_time_are_told_and_the_next_are_given_less(style, backbone, tmp_path, monkeypatch):
    clock = with_clock(monkeypatch, 0.21 / 48**2)
    paint = module.Painter._paint

    def slower(self, task, index, saved):
        clock.pixel_sec = (0.21 if index < 2 else 0.5) / 48**2
        return paint(self, task, index, saved)

    monkeypatch.setattr(module.Painter, "_paint", slower)
    array, choices = film_with(tmp_path / "w", backbone, style)
    assert iterations_in(choices) == {
        "iterations of picture 0 at 48x48": 35,
        "iterations of picture 0 at 48x48, done": 35,
        "iterations from picture 1 on at 48x48": 8,
        "iterations of picture 2 at 48x48, done": 3,
        "iterations from picture 3 on at 48x48": 3,
    }
    again, chosen = film_with(tmp_path / "v", backbone, style, choices=choices)
    assert np.array_equal(again, array)
    assert chosen == choices


# bad input


def test_unknown_layers_of_a_plugins_backbone_have_a_nearest_name(content, style, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(_transfer, "BLOCKS", {})
    with pytest.raises(DataError, match=r"style_layers: vgg19 has no layer 'relu4_5'; did you mean 'relu4_"):
        told(content, tmp_path / "w", backbone, style=str(style), style_layers=["relu1_1", "relu4_5"])
    with pytest.raises(DataError, match="content_layers"):
        told(content, tmp_path / "v", backbone, style=str(style), content_layers="conv4_2")


def test_the_layers_of_every_backbone_of_ours_are_known():
    assert set(_transfer.BLOCKS) == set(genart_backbones())
    for backbone in _transfer.BLOCKS:
        names = [f"relu{name}" for name in vgg.names_of(backbone.partition("-")[0])]
        resolve(style_transfer.params, "style.transfer", {"style": "a.png", "backbone": backbone, "style_layers": names})
        with pytest.raises(ParamProblem, match=f"its layers: {', '.join(names)}\\)"):
            resolve(style_transfer.params, "style.transfer", {"style": "a.png", "backbone": backbone, "style_layers": "relu6_1"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "give a style"),
        ({"style": "a.png", "style_weights": [1.0, 2.0]}, "one weight for each of 1 styles"),
        ({"style": ["a.png", "b.png"], "style_weights": [0.0, 0.0]}, "at least one weight above 0"),
        ({"style_photos": "hubbel"}, "did you mean 'hubble'"),
        ({"style": "a.png", "statistic": []}, "statistic"),
        ({"style": "a.png", "content_layers": []}, "content_layers"),
        ({"style": "a.png", "style_layer_weights": [1.0]}, "one weight for each of 5 style layers"),
        ({"style": "a.png", "memory": "lots"}, "expected a size such as 4GB"),
        ({"style": ["a.png", "b.png", "c.png"], "mask": ["a.png", "b.png"]}, "one for each of 3 styles"),
        ({"style": "a.png", "style_scale": [1.0, 2.0]}, "one for each of 1 styles"),
        ({"style": "a.png", "content_layers": "relu4-2"}, r"content_layers: vgg19 has no layer 'relu4-2'; did you mean 'relu4_2'\?"),
        ({"style": "a.png", "style_layers": ["relu3_4"], "backbone": "vgg16-torchvision"}, "style_layers: vgg16-torchvision has no layer"),
        ({"style": "a.png", "lr": 0.1}, "lr: it does nothing without adam in `optimizer`"),
        ({"style": "a.png", "loop": True}, "loop: it does nothing without `temporal = true`"),
        ({"style": "a.png", "temporal_weight": 1.0, "temporal": False}, "temporal_weight: it does nothing without `temporal = true`"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_before_anything_runs(params, message):
    with pytest.raises(ParamProblem, match=message):
        resolve(style_transfer.params, "style.transfer", params)


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.1, "optimizer": ["lbfgs", "adam"]},
        {"loop": True, "temporal": True, "temporal_weight": 1.0},
        {"lr": 0.02, "loop": False, "temporal_weight": 20.0},
    ],
    ids=str,
)
def test_parameters_that_do_something_are_taken_and_defaults_in_any_case(params):
    resolved = resolve(style_transfer.params, "style.transfer", {"style": "a.png", **params})
    assert all(getattr(resolved, name) == value for name, value in params.items() if name != "optimizer")


def test_one_style_or_a_list_are_paths_whose_content_counts():
    for given in ("a.png", ["a.png"]):
        params = resolve(style_transfer.params, "style.transfer", {"style": given, "init_image": "b.png"})
        assert [(name, str(path)) for name, path in input_paths(params)] == [("style", "a.png"), ("init_image", "b.png")]


def test_a_style_that_is_too_small_or_no_picture(content, backbone, tmp_path):
    Image.fromarray(waves(8, 60)).save(tmp_path / "thin.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"thin\.png: a style of 60x8 pixels is too small"):
        told(content, tmp_path / "w", backbone, style=str(tmp_path / "thin.png"))
    with pytest.raises(DataError, match=r"text\.png cannot be read"):
        told(content, tmp_path / "w", backbone, style=str(tmp_path / "text.png"))
    outputs, _ = told(
        content, tmp_path / "v", backbone, style=str(tmp_path / "thin.png"), style_layers=["relu2_1"], content_layers=["relu2_2"]
    )
    assert len(outputs["output"]) == 1


def test_a_small_style_is_used_with_a_warning(content, style, backbone, tmp_path):
    _, events = told(content, tmp_path / "w", backbone, style=str(style))
    assert any("less than the deepest layer looks at (156)" in event.get("message", "") for event in events)


def test_a_picture_of_one_pixel(style, backbone, tmp_path):
    given = pictures(np.full((1, 1, 3), 90, np.uint8))
    with pytest.raises(DataError, match="1x1 pixels is too small"):
        told(given, tmp_path / "w", backbone, style=str(style))
    outputs, _ = told(given, tmp_path / "v", backbone, style=str(style), resolution=32)
    assert outputs["output"].array().shape == (1, 32, 32, 3)


def test_flat_black_pictures_give_finite_ones(backbone, tmp_path):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "black.png")
    for i, colours in enumerate(("none", "luminance", "match", "histogram")):
        outputs, _ = told(
            pictures(np.zeros((32, 32, 3), np.uint8)),
            tmp_path / str(i),
            backbone,
            style=str(tmp_path / "black.png"),
            preserve_color=colours,
        )
        assert outputs["output"].array().shape == (1, 32, 32, 3), "a NaN would have been refused on the way"


def test_a_loss_that_explodes_stops_the_run(content, style, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(Objective, "__call__", lambda self, image: (float("nan"), torch.full_like(image, float("nan"))))
    with pytest.raises(DivergedError):
        told(content, tmp_path / "w", backbone, style=str(style))


def test_a_style_is_read_upright_in_sRGB_and_from_16_bits(tmp_path):
    run = Run(stage_id="x", seed=0, device="cpu", work=tmp_path / "w", events=Events())
    turned = Image.fromarray(waves(20, 40))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert scene.read_picture(tmp_path / "turned.png", run).shape == (1, 3, 40, 20)
    deep = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = scene.read_picture(tmp_path / "deep.png", run)
    assert torch.allclose(read[0, 1], torch.from_numpy(deep.astype(np.float32) / 65535), atol=0.6 / 255)
    lab = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()).getvalue()
    Image.fromarray(waves(20, 20)).save(tmp_path / "profile.png", icc_profile=lab)
    assert np.abs(scene.read_picture(tmp_path / "profile.png", run).numpy()[0].transpose(1, 2, 0) * 255 - waves(20, 20)).max() <= 1


def test_every_backbone_that_is_registered_can_be_found():
    for target in genart_backbones().values():
        name, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(name), function))
    for target in genart_statistics().values():
        name, _, statistic = target.partition(":")
        assert callable(getattr(importlib.import_module(name), statistic).loss)
