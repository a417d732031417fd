import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genart.nn import latent
from genart_latent import latent_sample, latent_walk

from .toys import Net, draw, metas


def test_samples_have_seeds_that_make_them_again(tmp_path):
    images = draw(tmp_path, latent_sample, count=5)
    assert images.count == 5
    seeds = [meta["seed"] for meta in metas(images)]
    assert len(set(seeds)) == 5
    z = torch.stack([latent.latent(6, seeds[3])])
    again = latent.pictures(Net().eval(), z, latent.batch_size_for(48))
    assert (again.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()[0] == images.array()[3]).all()


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 140), start=st.integers(0, 139), stage=st.sampled_from([latent_sample, latent_walk]))
def test_a_picture_does_not_depend_on_where_a_resume_begins(tmp_path_factory, count, start, stage):
    start = min(start, count - 1)
    name = "count" if stage is latent_sample else "frames"
    whole = draw(tmp_path_factory.mktemp("a"), stage, **{name: count})
    rest = draw(tmp_path_factory.mktemp("b"), stage, start=start, **{name: count})
    assert (whole.array()[start:] == rest.array()).all()
    assert metas(whole)[start:] == metas(rest)
    assert whole.count == count


def test_a_sample_does_not_depend_on_how_many_there_are(tmp_path):
    few = draw(tmp_path, latent_sample, count=3)
    many = draw(tmp_path, latent_sample, count=130)
    assert (few.array() == many.array()[:3]).all()


def test_truncation_brings_pictures_nearer_to_each_other(tmp_path):
    wide = draw(tmp_path, latent_sample, count=20)
    narrow = draw(tmp_path, latent_sample, count=20, truncation_psi=0.1)
    assert narrow.array().std(0).mean() < 0.5 * wide.array().std(0).mean()


@pytest.mark.parametrize("easing", ["linear", "smooth", "smoother", "cosine"])
@pytest.mark.parametrize("interpolation", ["slerp", "lerp"])
def test_a_loop_has_no_double_frame_and_no_seam(tmp_path, interpolation, easing):
    film = draw(tmp_path, latent_walk, frames=40, keys=4, interpolation=interpolation, easing=easing, fps=12)
    assert (film.count, film.fps) == (40, 12)
    frames = film.array().astype(int)
    steps = [abs(frames[i] - frames[(i + 1) % 40]).mean() for i in range(40)]
    assert min(steps) > 0
    assert steps[-1] <= max(steps[:-1])


def test_a_loop_of_any_length_passes_through_its_keys(tmp_path):
    film = draw(tmp_path, latent_walk, frames=30, seeds=[11, 12, 13])
    keys = torch.stack([latent.latent(6, seed) for seed in (11, 12, 13)])
    expected = latent.pictures(Net().eval(), keys, latent.batch_size_for(48)).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert (film.array()[[0, 10, 20]] == expected).all()
    assert metas(film)[10]["seed"] == 12


def test_an_open_walk_ends_at_its_last_key(tmp_path):
    film = draw(tmp_path, latent_walk, frames=9, seeds=[11, 12], loop=False)
    last = latent.pictures(Net().eval(), latent.latent(6, 12)[None], latent.batch_size_for(48)).mul(255).round().to(torch.uint8)
    assert (film.array()[-1] == last.permute(0, 2, 3, 1).numpy()[0]).all()


def test_keys_follow_from_the_frames(tmp_path):
    for frames, keys in ((1, 3), (48, 3), (160, 10)):
        film = draw(tmp_path, latent_walk, frames=frames)
        assert len({meta["seed"] for meta in metas(film)}) == min(frames, keys)


def test_a_walk_starts_at_the_first_sample(tmp_path):
    film = draw(tmp_path, latent_walk, frames=8)
    samples = draw(tmp_path, latent_sample, count=1)
    assert (film.array()[0] == samples.array()[0]).all()


def test_colours_use_the_whole_range(tmp_path):
    pixels = draw(tmp_path, latent_sample, count=4).array()
    assert pixels.min() < 10
    assert pixels.max() > 245
