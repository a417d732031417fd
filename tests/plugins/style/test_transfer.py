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
from kornia.color import rgb_to_yuv
from PIL import Image, ImageCms

from genart.artifacts import Batch, Images, StoredImages
from genart.errors import DataError, DivergedError, Interrupted
from genart.events import Events
from genart.nn import vgg
from genart.params import ParamProblem, input_paths, resolve
from genart.run import Run, Stop
from genart.testing import run_stage
from genart_style import colour, genart_backbones, schedule, style_transfer
from genart_style import transfer as module
from genart_style.objective import Objective, Weights, relative_error, style_target, total_variation
from genart_style.optimizers import LBFGS, Adam
from genart_style.statistics import STATISTICS, gram, mean_covariance

TINY = {"iterations": 3, "scales": 1}


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


@pytest.fixture
def backbone(network):
    return lambda name, device: network


def waves(height, width, seed=0, channels=3):
    """A smooth picture (H, W, C) uint8, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    parts = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-2, 2, (channels, 3))]
    picture = np.stack(parts, -1) * 0.4 + 0.5
    return (picture * 255).astype(np.uint8)


def pictures(*arrays):
    return Images.from_batches([Batch.from_array(array[None], [{"number": i}]) for i, array in enumerate(arrays)])


@pytest.fixture
def style(tmp_path):
    path = tmp_path / "style.png"
    rng = np.random.default_rng(5)
    Image.fromarray(np.kron(rng.integers(0, 255, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def content():
    return pictures(waves(40, 48))


def told(given, work, backbone, **params):
    """Run the stage; returns (outputs, events)."""
    events = []
    outputs = run_stage(style_transfer, given, work=work, backbone=backbone, observer=events.append, **{**TINY, **params})
    return outputs, events


def losses(events, name="style"):
    return [event[name] for event in events if event["event"] == "metric"]


# what is minimised


@given_that(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_gram_is_its_closed_form(channels, height, width, seed):
    features = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    expected = np.zeros((channels, channels))
    for y in range(height):
        for x in range(width):
            f = features[0, :, y, x].double().numpy()
            expected += np.outer(f, f) / (height * width)
    assert np.allclose(gram(features)[0].numpy(), expected, atol=1e-5)


def test_mean_and_covariance_are_numpys():
    features = torch.rand(1, 4, 5, 7)
    mean, covariance = mean_covariance(features)
    flat = features[0].flatten(1).numpy()
    assert np.allclose(mean, flat.mean(1), atol=1e-6)
    assert np.allclose(covariance, np.cov(flat, bias=True), atol=1e-6)


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_do_not_see_where_things_are_nor_how_large_the_picture_is(name):
    features = torch.rand(1, 4, 6, 6)
    shuffled = features.flatten(2)[..., torch.randperm(36)].view(1, 4, 6, 6)
    doubled = torch.cat([features, features], 3)
    for a, b, c in zip(*(STATISTICS[name](f) for f in (features, shuffled, doubled)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert torch.allclose(a, c, atol=1e-5)


def test_losses_at_their_limits():
    target = torch.rand(3, 3)
    assert float(relative_error(target, target)) == 0
    assert float(relative_error(torch.zeros(3, 3), target)) == pytest.approx(1, rel=1e-5)
    assert float(total_variation(torch.full((1, 3, 5, 5), 0.3))) == pytest.approx(2 / 255, rel=1e-4), (
        "two directions, at the rounded bottom"
    )
    ramp = torch.linspace(0, 1, 5).expand(1, 3, 5, 5)
    assert float(total_variation(ramp)) == pytest.approx(0.25 + 1 / 255, rel=1e-3)
    assert float(total_variation(torch.rand(1, 3, 1, 1))) == 0


def test_the_gradient_is_that_of_the_loss(network):
    content, style = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    layers = ["relu1_1", "relu2_1"]
    target = style_target(network, gram, layers, [style], [1.0])
    objective = Objective(network, gram, content, ["relu2_2"], target, Weights(0.5, 1.0, 0.1))
    x, direction = torch.rand(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
    _, gradient = objective(x)
    expected = (objective(x + 1e-3 * direction)[0] - objective(x - 1e-3 * direction)[0]) / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=0.05)
    assert objective(x)[0] == pytest.approx(
        0.5 * objective.losses["content"] + objective.losses["style"] + 0.1 * objective.losses["tv"], rel=1e-5
    )


def test_a_picture_in_its_own_style_has_no_style_loss(network):
    picture = torch.rand(1, 3, 32, 32)
    target = style_target(network, gram, ["relu1_1", "relu3_1"], [picture, picture], [0.25, 0.75])
    objective = Objective(network, gram, picture, ["relu2_2"], target, Weights(1, 1, 0))
    assert objective(picture)[0] < 1e-9


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


# sizes and times


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
        {"preserve_color": "match"},
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


def test_blended_statistics_are_the_weighted_mean(network):
    a, b = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 20, 16)
    one, two = (style_target(network, gram, ["relu1_1"], [x], [1.0])["relu1_1"][0] for x in (a, b))
    blend = style_target(network, gram, ["relu1_1"], [a, b], [0.25, 0.75])["relu1_1"][0]
    assert torch.allclose(blend, 0.25 * one + 0.75 * two, rtol=1e-5)


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
    from kornia.color import rgb_to_lab

    generator = torch.Generator().manual_seed(3)
    style = 0.5 + 0.1 * torch.randn(1, 3, 40, 40, generator=generator).clamp(-2, 2)
    content = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1) + 0.04 * torch.randn(1, 3, 30, 30, generator=generator)
    matched = rgb_to_lab(colour.match_colours(style, content))[0].flatten(1)
    wanted = rgb_to_lab(content)[0].flatten(1)
    assert torch.allclose(matched.mean(1), wanted.mean(1), atol=0.3)
    assert torch.allclose(torch.cov(matched), torch.cov(wanted), atol=0.15 * float(torch.cov(wanted).abs().max()))


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
        run = Run(stage_id="paint", seed=0, device="cpu", work=work, events=Events(), stop=stop, backbone=backbone)
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


# bad input


def test_unknown_layers_have_a_nearest_name(content, style, backbone, tmp_path):
    with pytest.raises(DataError, match=r"style_layers: vgg19 has no layer 'relu4_5'; did you mean 'relu4_"):
        told(content, tmp_path / "w", backbone, style=str(style), style_layers=["relu1_1", "relu4_5"])
    with pytest.raises(DataError, match="content_layers"):
        told(content, tmp_path / "v", backbone, style=str(style), content_layers="conv4_2")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "give a style"),
        ({"style": "a.png", "style_weights": [1.0, 2.0]}, "one weight for each of 1 styles"),
        ({"style": ["a.png", "b.png"], "style_weights": [0.0, 0.0]}, "at least one weight above 0"),
        ({"style_photos": "hubbel"}, "did you mean 'hubble'"),
        ({"style": "a.png", "statistic": "grams"}, "statistic"),
        ({"style": "a.png", "content_layers": []}, "content_layers"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_before_anything_runs(params, message):
    with pytest.raises(ParamProblem, match=message):
        resolve(style_transfer.params, "style.transfer", params)


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
    for i, colours in enumerate(("none", "luminance", "match")):
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
    assert module.read_picture(tmp_path / "turned.png", run).shape == (1, 3, 40, 20)
    deep = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = module.read_picture(tmp_path / "deep.png", run)
    assert torch.allclose(read[0, 1], torch.from_numpy(deep.astype(np.float32) / 65535), atol=0.6 / 255)
    lab = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()).getvalue()
    Image.fromarray(waves(20, 20)).save(tmp_path / "profile.png", icc_profile=lab)
    assert np.abs(module.read_picture(tmp_path / "profile.png", run).numpy()[0].transpose(1, 2, 0) * 255 - waves(20, 20)).max() <= 1


def test_every_backbone_that_is_registered_can_be_found():
    for target in genart_backbones().values():
        name, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(name), function))
