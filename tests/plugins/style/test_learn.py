import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st
from kornia.color import rgb_to_yuv
from PIL import Image
from safetensors.torch import load_file, save_file

from genart.artifacts import Batch, Images, Model, StoredImages
from genart.errors import DataError, DivergedError, Interrupted, ResourceError
from genart.events import Events
from genart.nn import vgg
from genart.params import ParamProblem, input_paths, resolve
from genart.run import Run, Stop
from genart.testing import run_stage
from genart_style import _transfer, strips
from genart_style import apply as applying
from genart_style import learn as module
from genart_style._learn import style_apply, style_learn
from genart_style.networks import InstanceNorm, StyleNetwork, framed, initialise, mirrored

from .made import pictures, waves

TINY = {"iterations": 4, "width": 8, "resolution": 32, "batch_size": 1, "style_layers": ["relu1_1", "relu2_1"], "content_layers": "relu2_1"}


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


@pytest.fixture
def backbone(network):
    def fresh(name, device):
        network.precision = torch.float32
        return network

    return fresh


@pytest.fixture
def content():
    return pictures(waves(40, 48), waves(64, 36, 1))


def painter_of(seed=0, width=8, blocks=2):
    """An untrained painter, in evaluation mode."""
    painter = StyleNetwork(width, blocks)
    initialise(painter, torch.Generator().manual_seed(seed))
    return painter.eval().requires_grad_(False)


def model_of(painter, work, **header):
    run = Run(stage_id="learn", seed=0, device="cpu", work=work, events=Events())
    return run.model(dict(painter.state_dict()), family="style", parameters=painter.arguments, **header)


@pytest.fixture
def model(tmp_path):
    return model_of(painter_of(), tmp_path / "model")


def painted(given, model, work, **params):
    """Run style.apply with a model; returns its pictures."""
    return run_stage(style_apply, given, work=work, sides={"learn": model}, model="learn", **params)["output"]


# the network


@given_that(st.sampled_from([8, 16, 24, 32]), st.integers(1, 6))
@settings(max_examples=8, deadline=None)
def test_number_of_weights_in_closed_form(width, blocks):
    w = width
    convolutions = 25 * 3 * w + 9 * (2 * w * w + 8 * w * w) + blocks * 2 * 9 * 16 * w * w + 9 * (8 * w * w + 2 * w * w)
    norms = 2 * (w + 2 * w + 4 * w + blocks * 2 * 4 * w + 2 * w + w)
    output = 25 * w * 3 + 3
    assert sum(p.numel() for p in StyleNetwork(width, blocks).parameters()) == convolutions + norms + output


def test_instance_norm_is_its_closed_form():
    norm, x = InstanceNorm(3), torch.rand(2, 3, 5, 7) * torch.tensor([1.0, 10, 0.1]).view(1, 3, 1, 1)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 3]))
        norm.bias.copy_(torch.tensor([0.0, 1, -1]))
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-3).sqrt() * norm.weight.view(3, 1, 1) + norm.bias.view(3, 1, 1)
    assert torch.allclose(norm(x), expected, atol=1e-5)


@given_that(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=30, deadline=None)
def test_any_size_comes_out_as_it_went_in(height, width):
    images = torch.rand(1, 3, height, width)
    result = applying.paint(painter_of(), images)
    assert result.shape == images.shape
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1
    frame = framed(images)
    assert frame.shape[2] % 4 == frame.shape[3] % 4 == 0
    assert min(frame.shape[2:]) >= 32
    assert torch.equal(frame[:, :, :height, :width], images)


@given_that(st.integers(2, 40), st.integers(1, 120))
@settings(max_examples=40, deadline=None)
def test_mirrored_goes_back_and_forth_like_numpys_reflection(side, wanted):
    expected = np.pad(np.arange(side), (0, wanted), mode="reflect")[:wanted]
    assert np.array_equal(mirrored(side, wanted).numpy(), expected)


def test_a_picture_of_one_pixel_is_continued():
    assert torch.equal(mirrored(1, 5), torch.zeros(5, dtype=torch.int64))


def test_a_flat_picture_stays_flat_to_the_edge():
    """No frame is drawn: what lies beyond the edge looks like what lies within it."""
    result = applying.paint(painter_of(), torch.full((1, 3, 48, 48), 0.3))
    assert float((result - result[:, :, 24:25, 24:25]).abs().max()) < 1e-4


# applying


def test_a_picture_depends_on_no_other_to_the_bit(model, tmp_path):
    given = [waves(40, 48, i) for i in range(3)]
    together = painted(pictures(*given), model, tmp_path / "w")
    one_batch = painted(Images.from_batches([Batch.from_array(np.stack(given))]), model, tmp_path / "b")
    for i, array in enumerate(given):
        alone = painted(pictures(array), model, tmp_path / str(i)).array()[0]
        assert np.array_equal(alone, together.array()[i])
        assert np.array_equal(alone, one_batch.array()[i])
    assert not np.array_equal(together.array()[0], given[0])


def test_strength_mixes_pixels(content, model, tmp_path):
    nothing, half, all_ = (painted(content, model, tmp_path / str(s), strength=s)[0].pixels for s in (0.0, 0.5, 1.0))
    assert torch.equal(nothing, content[0].pixels)
    assert float((half - (nothing + all_) / 2).abs().max()) < 1.5 / 255
    assert float((all_ - nothing).abs().mean()) > 0.02


def test_luminance_alone_is_painted(content, model, tmp_path):
    before, after = (rgb_to_yuv(x[0].pixels) for x in (content, painted(content, model, tmp_path / "w", preserve_color="luminance")))
    assert float((before[:, 1:] - after[:, 1:]).abs().max()) < 1.5 / 255, "chroma, up to rounding"
    assert float((before[:, :1] - after[:, :1]).abs().mean()) > 0.01


def test_matched_colours_have_the_pictures_mean(content, model, tmp_path):
    plain, matched = (painted(content, model, tmp_path / c, preserve_color=c)[0].pixels.mean((2, 3)) for c in ("none", "match"))
    wanted = content[0].pixels.mean((2, 3))
    assert float((matched - wanted).abs().max()) < 0.04 < float((plain - wanted).abs().max())


def test_transparency_is_kept_and_what_it_hides_changes_nothing(model, tmp_path):
    rgba = np.concatenate([waves(32, 32), np.full((32, 32, 1), 255, np.uint8)], -1)
    rgba[:, :16, 3] = 0
    hidden = rgba.copy()
    hidden[:, :16, :3] = 7
    one, two = (painted(pictures(x), model, tmp_path / str(i)).array() for i, x in enumerate((rgba, hidden)))
    assert np.array_equal(one[..., 3], rgba[None, ..., 3])
    assert np.array_equal(one, two)


def test_resolution_brings_the_longer_side(content, model, tmp_path):
    sizes = [batch.array.shape[1:] for batch in painted(content, model, tmp_path / "w", resolution=32).batches(1)]
    assert sizes == [(27, 32, 3), (32, 18, 3)]


def test_metadata_and_places_stay(content, model, tmp_path):
    assert [batch.meta for batch in painted(content, model, tmp_path / "w").batches(1)] == [[{"number": 0}], [{"number": 1}]]


def test_going_on_gives_the_same_pictures(content, model, tmp_path):
    whole = painted(content, model, tmp_path / "w")
    kept = Images.from_batches([whole[0]])
    rest = run_stage(style_apply, content, work=tmp_path / "r", sides={"learn": model}, model="learn", kept=kept)["output"]
    assert np.array_equal(rest[0].array, whole[1].array)


def test_bfloat16_is_close(model, tmp_path):
    given = pictures(waves(96, 96))
    a, b = (painted(given, model, tmp_path / p, precision=p).array().astype(int) for p in ("fp32", "bf16"))
    assert 0 < np.abs(a - b).mean() < 2
    assert len(np.unique(b)) > 100, "no bands"


@pytest.mark.parametrize("size", [(96, 64), (36, 200), (132, 32)])
def test_a_large_picture_through_strips_is_the_whole_one(size, monkeypatch):
    painter, images = painter_of(), torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    whole = painter(images)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 8 * size[1])
    assert float((strips.paint_in_strips(painter, images) - whole).abs().max()) < 1e-4
    calls = []
    monkeypatch.setattr(applying, "paint_in_strips", lambda *given: calls.append(1) or strips.paint_in_strips(*given))
    monkeypatch.setattr(strips, "MOST_WHOLE", 0)
    assert float((applying.paint(painter, images) - whole.clamp(0, 1)).abs().max()) < 1e-4
    assert calls == [1]


def test_a_picture_too_large_for_the_memory_is_refused(content, model, tmp_path, monkeypatch):
    monkeypatch.setattr(strips, "MOST_WHOLE", 1000)
    monkeypatch.setattr(applying.memory, "available", lambda device: 1e5)
    with pytest.raises(ResourceError, match="painting 48x40 pixels takes about"):
        painted(content, model, tmp_path / "w")
    assert len(painted(content, model, tmp_path / "v", resolution=30)) == 2


@given_that(st.integers(8, 5000), st.integers(8, 5000))
@settings(max_examples=50, deadline=None)
def test_strips_are_all_rows_and_none_is_thin(height, width):
    ranges = list(strips.strips(height, width))
    assert [row for rows in ranges for row in rows] == list(range(height))
    assert min(len(rows) for rows in ranges) >= min(8, height)


# damaged models


def test_a_model_of_another_family(content, tmp_path):
    run = Run(stage_id="train", seed=0, device="cpu", work=tmp_path / "m", events=Events())
    other = run.model({"x": torch.zeros(1)}, family="dcgan", parameters={"width": 8})
    with pytest.raises(DataError, match="family 'dcgan'"):
        painted(content, other, tmp_path / "w")


def test_a_file_that_is_no_model_or_missing(content, tmp_path):
    (tmp_path / "text.safetensors").write_text("not a model")
    for name, words in (("text.safetensors", "not a genart model"), ("missing.safetensors", "cannot be read: no such file")):
        with pytest.raises(DataError, match=words):
            run_stage(style_apply, content, work=tmp_path / "w", model=str(tmp_path / name))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 1 << 20, "blocks": 2}, "width is 1048576"),
        ({"width": 8, "blocks": True}, "blocks is True"),
        ({"width": 12, "blocks": 2}, "width is 12"),
        ({"width": 8}, "how to rebuild it"),
        ({"width": 8, "blocks": 2, "path": "x"}, "how to rebuild it"),
        ({"width": 16, "blocks": 2}, "missing or of another shape"),
        ({"width": 8, "blocks": 3}, "missing or of another shape"),
        ([8, 2], "how to rebuild it"),
    ],
    ids=str,
)
def test_headers_are_not_trusted(parameters, message, content, model, tmp_path):
    wrong = Model(model.path, {**model.header, "parameters": parameters})
    with pytest.raises(DataError, match=message):
        painted(content, wrong, tmp_path / "w")


def test_damaged_weights(content, model, tmp_path):
    data = model.path.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[:-100])
    with pytest.raises(DataError, match=r"cut\.safetensors: its tensors are damaged"):
        run_stage(style_apply, content, work=tmp_path / "w", model=str(cut))
    tensors = load_file(model.path)
    tensors["to_rgb.bias"][0] = float("nan")
    document = {"genart": json.dumps({"model": {"family": "style", "parameters": {"width": 8, "blocks": 2}}})}
    save_file(tensors, tmp_path / "nan.safetensors", document)
    with pytest.raises(DataError, match="not a finite number"):
        run_stage(style_apply, content, work=tmp_path / "w", model=str(tmp_path / "nan.safetensors"))


# learning


def attempt(work, given, backbone, stop=None, act=None, **params):
    """Train in `work`, calling `act` after each iteration with its number; returns (model, film, number of iterations done)."""
    calls = []
    step = module.step
    with pytest.MonkeyPatch.context() as patch:

        def counted(painter, optimizer, lesson, images):
            losses = step(painter, optimizer, lesson, images)
            if any(part is painter for part in trainings):
                calls.append(losses.tolist())
                if act is not None:
                    act(len(calls))
            return losses

        trainings = []
        begin = module.Training.__init__

        def noted(self, run, painter, *rest):
            trainings.append(painter)
            begin(self, run, painter, *rest)

        patch.setattr(module, "step", counted)
        patch.setattr(module.Training, "__init__", noted)
        run = Run(stage_id="learn", seed=params.pop("seed", 0), device="cpu", work=work, events=Events(), stop=stop, backbone=backbone)
        run.sides = params.pop("sides", {})
        try:
            model = style_learn(given, resolve(style_learn.params, "style.learn", {**TINY, **params}), run)
            run.sink("progress").finish()
            return model, StoredImages(run.sink("progress").folder), calls
        finally:
            run.close()


def test_the_loss_falls_and_the_film_shows_it(content, style, backbone, tmp_path):
    model, film, calls = attempt(tmp_path / "w", content, backbone, style=str(style), iterations=60, lr=0.01, content_weight=0.01)
    losses = [style_loss for _, style_loss, _, _ in calls]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert model.header["family"] == "style"
    assert model.header["parameters"] == {"width": 8, "blocks": 5}
    assert model.header["styles"] == [{"name": "style.png", "share": 1.0}]
    assert model.header["trained"]["iterations"] == 60
    assert str(tmp_path) not in json.dumps(model.header)
    assert model.header["history"][-1]["style"] < model.header["history"][0]["style"]
    frames = film.array()
    assert len(frames) >= 4
    assert not np.array_equal(frames[0], frames[-1])
    result = painted(content, model, tmp_path / "a")
    assert float((result[0].pixels - content[0].pixels).abs().mean()) > 0.01


def test_the_same_seed_gives_the_same_model_and_another_seed_another(content, style, backbone, tmp_path):
    one, two, three = (
        attempt(tmp_path / str(i), content, backbone, style=str(style), seed=seed)[0].path.read_bytes() for i, seed in enumerate((3, 3, 4))
    )
    assert one == two
    assert one != three


@pytest.mark.parametrize("moment", [1, 5])
def test_a_stopped_run_goes_on_to_the_same_bytes(moment, content, style, backbone, tmp_path):
    params = {"style": str(style), "iterations": 7}
    whole, film, all_calls = attempt(tmp_path / "whole", content, backbone, **params)
    stop = Stop()
    with pytest.raises(Interrupted):
        attempt(tmp_path / "w", content, backbone, stop, lambda n: setattr(stop, "signal", 2) if n == moment else None, **params)
    again, film_again, calls = attempt(tmp_path / "w", content, backbone, **params)
    assert whole.path.read_bytes() == again.path.read_bytes()
    assert np.array_equal(film.array(), film_again.array())
    assert len(calls) == len(all_calls) - moment, "nothing was computed twice"


def test_going_on_from_a_model_begins_with_its_weights(content, style, backbone, tmp_path):
    first, _, _ = attempt(tmp_path / "first", content, backbone, style=str(style))
    second, _, _ = attempt(
        tmp_path / "second", content, backbone, style=str(style), init="first", sides={"first": first}, lr=1e-9, iterations=1, width=8
    )
    before, after = load_file(first.path), load_file(second.path)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-7) for name in before)
    from_file, _, _ = attempt(tmp_path / "third", content, backbone, style=str(style), init=str(first.path), iterations=3, width=8)
    assert not torch.equal(load_file(from_file.path)["to_rgb.weight"], before["to_rgb.weight"])


def test_going_on_from_what_does_not_fit(content, style, backbone, tmp_path):
    first = model_of(painter_of(width=16), tmp_path / "m")
    with pytest.raises(DataError, match="`width` is 8, but the network of `init` has a width of 16"):
        attempt(tmp_path / "w", content, backbone, style=str(style), init=str(first.path), width=8)


def test_pieces_depend_on_the_seed_and_the_iteration_alone(content, tmp_path):
    run, other = (Run(stage_id="x", seed=seed, device="cpu", work=tmp_path, events=Events()) for seed in (0, 1))
    one, two = module.Pieces(content, 32, run), module.Pieces(content, 32, run)
    two.batch(0, 2)
    assert torch.equal(one.batch(5, 2), two.batch(5, 2))
    assert not torch.equal(one.batch(5, 2), one.batch(6, 2))
    assert not torch.equal(one.batch(5, 2), module.Pieces(content, 32, other).batch(5, 2))


def test_pieces_of_pictures_of_any_size_and_kind(tmp_path):
    run = Run(stage_id="x", seed=0, device="cpu", work=tmp_path, events=Events())
    rgba = np.concatenate([waves(50, 70), np.full((50, 70, 1), 255, np.uint8)], -1)
    batch = module.Pieces(pictures(waves(1, 1), waves(7, 300), rgba), 32, run).batch(0, 12)
    assert batch.shape == (12, 3, 32, 32)
    assert 0 <= float(batch.min()) <= float(batch.max()) <= 1


def test_learning_rate_rises_holds_and_falls():
    rates = [module.learning_rate(1.0, i, module.Schedule(1000)) for i in range(1000)]
    assert rates[0] == 1 / 20
    assert rates[19] == rates[500] == 1.0
    assert rates[750] == pytest.approx(0.525)
    assert rates[999] == pytest.approx(0.05, abs=0.005)


@given_that(st.integers(1, 3000), st.data())
@settings(max_examples=50, deadline=None)
def test_what_came_before_a_schedule_is_the_same_without_it(total, data):
    schedule = module.Schedule(total, data.draw(st.integers(0, min(total, 20))))
    for iteration in range(schedule.since):
        assert module.learning_rate(1.0, iteration, schedule) == module.learning_rate(1.0, iteration, None)
        assert not schedule.ticks(iteration + 1)
    assert schedule.frames[0] == 0
    assert schedule.frames[-1] == total
    assert all(place >= 20 for place in schedule.frames[1:-1]), "none while the total may be unknown"
    assert schedule.frames == sorted(set(schedule.frames))


def test_styles_are_brought_to_the_size_of_the_pictures_and_never_enlarged():
    picture = torch.rand(1, 3, 60, 80)
    assert module.at_resolution(picture, 40).shape[2:] == (30, 40)
    assert module.at_resolution(picture, 200) is picture


def test_the_losses_are_those_of_their_definition(style, backbone, tmp_path):
    """Against sums written out, for a batch of two."""
    params = resolve(style_learn.params, "style.learn", {**TINY, "style": str(style), "precision": "fp32"})
    run = Run(stage_id="x", seed=0, device="cpu", work=tmp_path / "w", events=Events())
    network = backbone("vgg19", "cpu")
    styles = module.read_styles(params, run, network)
    lesson, painter = module.Lesson(network, styles, params, run), painter_of()
    images = torch.from_numpy(np.stack([waves(32, 32, i) for i in range(2)])).permute(0, 3, 1, 2) / 255
    content, style_loss, _, outside = lesson.losses(painter, images).tolist()
    result = painter(images)
    wanted, got = (network(x, ["relu1_1", "relu2_1"]) for x in (images, result))
    assert content == pytest.approx(float((got["relu2_1"] - wanted["relu2_1"]).square().sum() / wanted["relu2_1"].square().sum()), rel=1e-3)
    target = network(styles[0].picture, ["relu1_1", "relu2_1"])
    errors = []
    for layer in target:
        a = torch.einsum("chw,dhw->cd", target[layer][0], target[layer][0]) / target[layer][0, 0].numel()
        for i in range(2):
            g = torch.einsum("chw,dhw->cd", got[layer][i], got[layer][i]) / got[layer][i, 0].numel()
            errors.append(float((g - a).square().sum() / a.square().sum()))
    assert style_loss == pytest.approx(sum(errors) / 4, rel=1e-3)
    assert outside == pytest.approx(float(((result - result.clamp(0, 1)) ** 2).mean()), rel=1e-4, abs=1e-9)


# budgets


class Clock:
    """Time that passes only while the painter is taught."""

    def __init__(self, step_sec):
        self.now, self.step_sec = 100.0, step_sec

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock, step = Clock(1.0), module.step

    def timed(*args):
        clock.now += clock.step_sec
        return step(*args)

    monkeypatch.setattr(module, "step", timed)
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def choices(work):
    return json.loads((work / "choices.json").read_text())


def made_again_elsewhere(clock, work):
    """As a remake finds it: the choices are there, the checkpoints aren't, and the machine is another."""
    for checkpoint in (work / "checkpoints").glob("*"):
        checkpoint.unlink()
    clock.now, clock.step_sec = 100.0, 0.01


@pytest.mark.parametrize(("budget", "total", "since"), [(20, 18, 2), (60, 54, 6)])
def test_a_budget_is_kept_and_the_choice_remembered(budget, total, since, content, style, backbone, tmp_path, clock):
    params = {"style": str(style), "budget": budget, "iterations": None}
    model, film, calls = attempt(tmp_path / "w", content, backbone, **params)
    assert 0.8 * budget < clock.now - 100 <= budget
    assert model.header["trained"]["iterations"] == len(calls) == total
    assert choices(tmp_path / "w")["schedule"] == {"total": total, "since": since}
    made_again_elsewhere(clock, tmp_path / "w")
    again, film_again, _ = attempt(tmp_path / "w", content, backbone, **params)
    assert model.path.read_bytes() == again.path.read_bytes()
    assert np.array_equal(film.array(), film_again.array())


@pytest.mark.parametrize("moment", [1, 9])
def test_a_stopped_run_under_a_budget_goes_on_to_the_same_bytes(moment, content, style, backbone, tmp_path, clock):
    params = {"style": str(style), "budget": 20, "iterations": None}
    stop = Stop()
    with pytest.raises(Interrupted):
        attempt(tmp_path / "w", content, backbone, stop, lambda n: setattr(stop, "signal", 2) if n == moment else None, **params)
    model, _, calls = attempt(tmp_path / "w", content, backbone, **params)
    assert len(calls) + moment == choices(tmp_path / "w")["schedule"]["total"]
    assert clock.now - 100 <= 20
    made_again_elsewhere(clock, tmp_path / "w")
    again, _, _ = attempt(tmp_path / "w", content, backbone, **params)
    assert model.path.read_bytes() == again.path.read_bytes()


def test_a_machine_that_slows_down_stops_in_time_and_again_there(content, style, backbone, tmp_path, clock):
    params = {"style": str(style), "budget": 20, "iterations": None}

    def slow(n):
        clock.step_sec = 1.0 if n < 6 else 2.0

    model, _, calls = attempt(tmp_path / "w", content, backbone, act=slow, **params)
    assert clock.now - 100 <= 21
    assert 6 < len(calls) < choices(tmp_path / "w")["schedule"]["total"]
    assert choices(tmp_path / "w")["stopped_at"] == len(calls)
    made_again_elsewhere(clock, tmp_path / "w")
    again, _, _ = attempt(tmp_path / "w", content, backbone, **params)
    assert model.path.read_bytes() == again.path.read_bytes()


def test_a_training_that_ended_as_planned_ends_there_on_a_slower_machine_too(content, style, backbone, tmp_path, clock):
    params = {"style": str(style), "budget": 20, "iterations": None}
    model, _, calls = attempt(tmp_path / "w", content, backbone, **params)
    made_again_elsewhere(clock, tmp_path / "w")
    clock.step_sec = 100.0
    again, _, more = attempt(tmp_path / "w", content, backbone, **params)
    assert len(more) == len(calls)
    assert model.path.read_bytes() == again.path.read_bytes()


def test_iterations_limit_a_budget(content, style, backbone, tmp_path, clock):
    _, _, calls = attempt(tmp_path / "w", content, backbone, style=str(style), budget=50, iterations=3)
    assert len(calls) == 3


def test_a_budget_too_small_for_anything_is_refused(content, style, backbone, tmp_path, clock):
    clock.step_sec = 2
    with pytest.raises(DataError, match=r"a budget of 1 s is too small: the first iteration ended after 2 s"):
        attempt(tmp_path / "w", content, backbone, style=str(style), budget=1, iterations=None)


# bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "give a style"),
        ({"style": "a.png", "style_weights": [1.0, 2.0]}, "one weight for each of 1 styles"),
        ({"style_photos": "hubbel"}, "did you mean 'hubble'"),
        ({"style": "a.png", "width": 12}, "multiple of 8"),
        ({"style": "a.png", "resolution": 50}, "multiple of 4"),
        ({"style": "a.png", "budgte": "3m"}, "did you mean 'budget'"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_before_anything_runs(params, message):
    with pytest.raises(ParamProblem, match=message):
        resolve(style_learn.params, "style.learn", params)


def test_files_that_are_read_are_known_beforehand():
    params = resolve(style_learn.params, "style.learn", {"style": "a.png", "init": "b.safetensors"})
    assert [(name, str(path)) for name, path in input_paths(params)] == [("style", "a.png"), ("init", "b.safetensors")]


def test_no_pictures_or_unknown_layers(content, style, backbone, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no pictures to learn on"):
        attempt(tmp_path / "w", pictures(), backbone, style=str(style))
    for error in (ParamProblem, DataError):  # the second as a plugin's backbone, whose layers are known when it is loaded
        with pytest.raises(error, match=r"content_layers: vgg19 has no layer 'relu2_9'; did you mean 'relu2_"):
            attempt(tmp_path / "v", content, backbone, style=str(style), content_layers="relu2_9")
        monkeypatch.setattr(_transfer, "BLOCKS", {})


def test_black_pictures_and_a_black_style_give_finite_weights(backbone, tmp_path):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "black.png")
    model, _, _ = attempt(tmp_path / "w", pictures(np.zeros((32, 32, 3), np.uint8)), backbone, style=str(tmp_path / "black.png"))
    assert all(bool(torch.isfinite(value).all()) for value in load_file(model.path).values())


def test_a_loss_that_explodes_stops_the_run(content, style, backbone, tmp_path):
    with pytest.raises(DivergedError, match="diverged"):
        attempt(tmp_path / "w", content, backbone, style=str(style), lr=10, iterations=30)


def test_a_recipe_learns_and_applies(cli, tmp_path):
    """The model is a second input of style.apply, named by the id of its stage."""
    (tmp_path / "r.toml").write_text("""[recipe]
name = "x"
[[stage]]
uses = "images.samples"
id = "pieces"
photos = ["coffee", "cat"]
crop = 64
count = 8
[[stage]]
uses = "style.learn"
id = "learn"
style_photos = "tissue"
resolution = 32
width = 8
iterations = 2
save = "tissue.safetensors"
[[stage]]
uses = "style.apply"
id = "paint"
from = "pieces"
model = "learn"
save = "painted"
""")
    done = cli("run", tmp_path / "r.toml", "--json")
    assert done.code == 0, done.err
    assert len(list((Path("out") / "x" / "painted").iterdir())) == 8
    again = cli("run", tmp_path / "r.toml", "--json")
    assert "stage_started" not in again.out
    apart = cli("apply", "style.apply", "-i", "out/x/painted", "-o", "twice", "--model", "out/x/tissue.safetensors")
    assert apart.code == 0, apart.err
    assert len(list(Path("twice").iterdir())) == 8
