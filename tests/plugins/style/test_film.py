"""A film's pictures continue one another: no flicker, no jump where a loop closes, no memory of a kill."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import genart
from genart.artifacts import Batch, Images, from_picture
from genart.events import Events
from genart.nn.flow import both_flows, flicker, reliability, warp, warped_difference
from genart.run import Run
from genart.testing import run_stage
from genart_style.film import PREROLL, Carried, Goal, agreement, carry, led, preroll_count, step, walk


def texture(height=64, width=96, seed=0, grain=8):
    """Smooth random colours that go on across the right edge, (1, 3, height, width) in [0, 1]."""
    noise = torch.rand(1, 3, height // grain, width // grain, generator=torch.Generator().manual_seed(seed))
    wide = F.interpolate(noise.repeat(1, 1, 1, 3), size=(height, 3 * width), mode="bicubic", align_corners=False)
    return wide[..., width : 2 * width].clamp(0, 1)


def film(*frames, fps=12.0):
    return Images.from_batches([Batch(frame, [{"number": i}]) for i, frame in enumerate(frames)], fps)


def rolling(count=12, seed=0):
    """A texture that goes once around: a closed loop."""
    picture = texture(seed=seed)
    return film(*(picture.roll(i * picture.shape[3] // count, 3) for i in range(count)))


def rough(run, count):
    """A painter with bad nerves: four tones and strong noise, of its own for every picture, over half of what is carried."""

    def paint(batch, carried):
        noise = torch.randn(1, 3, 64, 96, generator=run.generator("noise", batch.index[0] % count))
        own = (batch.pixels[:, :3] * 3).round() / 3 + 0.1 * F.avg_pool2d(noise, 3, 1, 1)
        return own if carried is None else 0.2 * own + 0.8 * carried.over(own)

    return paint


class FilmParams(genart.Params):
    loop: bool = False
    temporal: bool = True


@genart.stage("film.test", random=True, pointwise=True)
def film_test(images: genart.Images, params: FilmParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint a film roughly."""
    paint = rough(run, len(images))
    if params.temporal:
        return walk(images, run, paint, loop=params.loop)
    return (batch.with_pixels(paint(batch, None)) for batch in images.batches(1))


def painted(images, work, **params):
    return run_stage(film_test, images, work=work, **params)["output"]


def pictures(images):
    return [batch.pixels[i : i + 1] for batch in images for i in range(len(batch))]


def new_run(work, start=0, made=None):
    run = Run(stage_id="film", seed=0, device="cpu", work=work, events=Events(), start=start)
    if made is not None:
        run.made = made.__getitem__
    return run


def steps(frames, results):
    """The warped difference between each picture and the one after it, the last one's to the first included."""
    found = []
    for i in range(len(frames)):
        forward, backward = both_flows(frames[i - 1], frames[i])
        found.append(warped_difference(results[i - 1], results[i], backward, reliability(forward, backward)))
    return found[1:], found[0]


# flicker


def test_a_film_flickers_less_than_half(tmp_path):
    images = rolling()
    frames = pictures(images)
    steady = flicker(frames, pictures(painted(images, tmp_path / "a")))
    free = flicker(frames, pictures(painted(images, tmp_path / "b", temporal=False)))
    assert steady < 0.5 * free


def test_frames_keep_their_metadata_and_the_film_its_speed(tmp_path):
    result = painted(rolling(5), tmp_path)
    assert result.fps == 12.0
    assert [meta["number"] for batch in result for meta in batch.meta] == [0, 1, 2, 3, 4]
    assert len(result) == 5


def test_a_frame_that_stays_keeps_its_picture(tmp_path):
    a, b = texture(seed=1), texture(seed=1).roll(4, 3)
    shown = []

    def paint(batch, carried):
        shown.append(batch.index[0])
        return batch.pixels * 0.5

    results = [batch.array for batch in walk(film(a, a, b, b, b), new_run(tmp_path), paint, loop=False)]
    assert shown == [0, 2]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[2], results[4])
    assert not np.array_equal(results[0], results[2])


# what is carried


def test_what_is_carried_is_the_last_picture_where_the_motion_brings_it():
    before = texture(seed=2)
    frame = warp(before, torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 96))
    result = 1 - before
    carried = carry(before, result, frame)
    assert carried is not None
    sure = carried.weight > 0.9
    assert sure.float().mean() > 0.7
    assert ((carried.image - (1 - frame)).abs() * sure).max() < 0.1
    assert (carried.weight[..., :3] < 0.5).all(), "what comes in at the edge was never painted"


@pytest.mark.parametrize("factor", [0.5, 3])
def test_results_of_another_size_are_carried_at_theirs(factor):
    before = texture(seed=2)
    frame = before.roll(2, 3)

    def sized(picture):
        return F.interpolate(picture, scale_factor=factor, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)

    carried = carry(before, sized(before), frame)
    assert carried is not None
    assert carried.image.shape == sized(frame).shape
    assert carried.weight.shape[2:] == carried.image.shape[2:]
    middle = (..., slice(8, -8), slice(12, -12))
    assert ((carried.image - sized(frame)).abs() * carried.weight)[middle].mean() < 0.02
    assert carried.weight[middle].mean() > 0.9


def test_a_scene_begins_anew_at_a_cut(tmp_path):
    starts = []

    def paint(batch, carried):
        if carried is None:
            starts.append(batch.index[0])
        return batch.pixels

    first, second = texture(seed=3), texture(seed=4)
    frames = [first, first.roll(2, 3), first.roll(4, 3), second, second.roll(2, 3)]
    list(walk(film(*frames), new_run(tmp_path), paint, loop=False))
    assert starts == [0, 3]


def test_a_cut_between_plain_surfaces_is_seen_though_nothing_moves():
    dark, light = torch.full((1, 3, 48, 48), 0.1), torch.full((1, 3, 48, 48), 0.8)
    assert carry(dark, dark, light) is None
    assert carry(dark, dark, dark + 0.02) is not None
    assert carry(dark, dark, texture()) is None, "frames of two sizes"


def test_agreement_falls_with_the_difference():
    grey = torch.full((1, 3, 16, 16), 0.4)
    levels = [float(agreement(grey, grey + d).mean()) for d in (0.0, 0.04, 0.1, 0.2)]
    assert levels == pytest.approx([1.0, 1.0, 0.5, 0.0], abs=1e-4)


def test_led_is_the_mean_by_trust():
    carried = Carried(torch.zeros(1, 3, 2, 2), torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2))
    goal = Goal(torch.ones(1, 3, 2, 2), 0.25)
    blended = led(carried, goal)
    assert torch.allclose(blended.image, torch.tensor([1.0, 0.25]).expand(1, 3, 2, 2))
    assert torch.allclose(blended.weight, torch.tensor([0.25, 1.0]).expand(1, 1, 2, 2))
    assert torch.equal(led(None, goal).image, goal.image)
    assert led(None, goal).weight.unique() == 0.25


# transparency


def test_transparency_is_kept_and_what_it_hides_does_not_move(tmp_path):
    alpha = torch.zeros(1, 1, 64, 96)
    alpha[..., 16:48, 24:72] = 1
    hidden = [torch.cat([torch.where(alpha > 0, texture(seed=6), texture(seed=7 + i)), alpha], 1) for i in range(3)]
    seen = []

    def paint(batch, carried):
        seen.append((batch.pixels.shape[1], carried is None))
        return F.interpolate(batch.pixels[:, :3], scale_factor=2)

    results = list(walk(film(*hidden), new_run(tmp_path), paint, loop=False))
    assert seen == [(4, True), (4, False), (4, False)]
    assert results[0].array.shape == (1, 128, 192, 4)
    assert set(np.unique(results[0].array[0, 40:90, 60:130, 3])) == {255}
    assert results[0].array[0, :20, :, 3].max() == 0


def test_a_painter_may_give_its_own_transparency():
    frame = torch.cat([texture(seed=1), torch.ones(1, 1, 64, 96)], 1)
    own = torch.cat([texture(seed=1), torch.full((1, 1, 64, 96), 0.2)], 1)
    result = step(Batch(frame), None, None, lambda batch, carried: own, "cpu")
    assert set(np.unique(result.output.array[..., 3])) == {51}
    assert result.result.shape == (1, 3, 64, 96)


# loops


def test_a_loop_closes_without_a_jump(tmp_path):
    images = rolling(16)
    frames = pictures(images)
    between, closing = steps(frames, pictures(painted(images, tmp_path / "closed", loop=True)))
    assert closing <= max(between)
    between, jump = steps(frames, pictures(painted(images, tmp_path / "open")))
    assert jump > 1.5 * max(between), "left open it jumps, so that the test above says something"


def test_a_loop_ends_with_the_picture_that_it_began_from(tmp_path):
    images = rolling(8)
    carried_to = {}

    def paint(batch, carried):
        carried_to[batch.index[0]] = carried
        return batch.pixels if carried is None else 0.5 * batch.pixels + 0.5 * carried.image

    run = new_run(tmp_path)
    results = list(walk(images, run, paint, loop=True))
    assert run.count == 8
    assert sorted(carried_to) == [-2, -1, 0, 1, 2, 3, 4, 5, 6], "two ahead, and the last is one of them"
    assert [index for index, carried in carried_to.items() if carried is None] == [-2]
    frames = pictures(images)
    again = carry(frames[7], results[7].pixels, frames[0])
    assert torch.equal(again.image, carried_to[0].image)


def test_frames_are_painted_ahead_in_proportion():
    assert [preroll_count(n) for n in (0, 1, 2, 5, 8, 47, 48, 1000)] == [0, 0, 1, 1, 2, 11, 12, PREROLL]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_shortest_loops(count, tmp_path):
    frames = [texture(seed=1).roll(3 * i, 3) for i in range(count)]
    assert len(painted(film(*frames), tmp_path, loop=True)) == count


def test_a_loop_that_stands_still_stays_still(tmp_path):
    result = painted(film(*[texture(seed=1)] * 9), tmp_path, loop=True)
    assert len({picture.numpy().tobytes() for picture in pictures(result)}) == 1


# going on after a kill


class Killed(Exception):
    pass


def killed_after(paint, paints):
    left = [paints]

    def mortal(batch, carried):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return paint(batch, carried)

    return mortal


@pytest.mark.parametrize("loop", [False, True])
def test_a_killed_run_goes_on_to_the_byte(loop, tmp_path):
    images = rolling(8)
    whole_run = new_run(tmp_path / "whole")
    whole = [batch.array for batch in walk(images, whole_run, rough(whole_run, 8), loop=loop)]
    for paints in range(9):
        work = tmp_path / f"{paints}"
        kept, run = [], new_run(work)
        try:
            for batch in walk(images, run, killed_after(rough(run, 8), paints), loop=loop):
                kept.append(batch)
        except Killed:
            assert len(kept) < 8
        made = Images.from_batches(kept)
        run = new_run(work, len(kept), made)
        rest = [batch.array for batch in walk(from_picture(images, len(kept)), run, rough(run, 8), loop=loop)]
        assert len(kept) + len(rest) == 8
        assert np.array_equal(np.concatenate([batch.array for batch in kept] + rest), np.concatenate(whole)), paints


def test_what_was_painted_ahead_is_not_painted_again(tmp_path):
    images, shown = rolling(8), []

    def paint(batch, carried):
        shown.append(batch.index[0])
        return batch.pixels

    whole = list(walk(images, new_run(tmp_path), paint, loop=True))
    assert shown[:2] == [-2, -1]
    shown.clear()
    list(walk(from_picture(images, 5), new_run(tmp_path, 5, Images.from_batches(whole[:5])), paint, loop=True))
    assert shown == [5, 6]
    shutil.rmtree(tmp_path)
    list(walk(from_picture(images, 5), new_run(tmp_path, 5, Images.from_batches(whole[:5])), paint, loop=True))
    assert shown == [5, 6, -2, -1, 5, 6], "and if it is lost, it is made again"


def test_a_run_can_be_stopped_while_it_paints_ahead(tmp_path):
    run = new_run(tmp_path)
    run._stop.signal = 15
    with pytest.raises(genart.Interrupted):
        next(walk(rolling(8), run, lambda batch, carried: batch.pixels, loop=True))
