import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genart.nn import latent

SIZES = st.integers(2, 300)


def keys(count, z_dim=16):
    return torch.stack([latent.latent(z_dim, seed) for seed in range(count)])


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_slerp_stays_on_the_sphere_and_divides_the_angle(seed_a, seed_b, t):
    a, b = (v / v.norm() for v in (latent.latent(8, seed_a), latent.latent(8, seed_b)))
    z = latent.slerp(a, b, t)
    assert math.isclose(float(z.norm()), 1, abs_tol=1e-3)
    whole, part = (math.acos(max(-1, min(1, float(torch.dot(a, x))))) for x in (b, z))
    assert math.isclose(part, t * whole, abs_tol=5e-3)


def test_slerp_of_parallel_and_opposite_vectors():
    a = torch.tensor([1.0, 0.0])
    assert torch.equal(latent.slerp(a, a, 0.5), a)
    assert bool(torch.isfinite(latent.slerp(a, -a, 0.5)).all())


@given(SIZES, st.integers(2, 20), st.booleans())
def test_every_place_is_between_two_keys_and_the_ends_are_exact(frames, count, loop):
    places = [latent.place(i, frames, count, loop=loop) for i in range(frames)]
    assert places[0] == (0, 0.0)
    assert all(0 <= key < count and 0 <= t < 1 for key, t in places)
    assert places == sorted(places)
    assert len(set(places)) == frames
    if not loop:
        assert places[-1] == (count - 1, 0.0)


NAMES = [*sorted(latent.INTERPOLATIONS), "spline"]


@given(SIZES, st.integers(2, 12), st.sampled_from(NAMES), st.sampled_from(sorted(latent.EASINGS)))
def test_a_loop_closes_to_the_bit(frames, count, interpolation, easing):
    path = {"loop": True, "interpolation": interpolation, "easing": easing}
    k = keys(count)
    for i in (0, 1, frames // 2):
        assert torch.equal(latent.walk(k, i, frames, **path), latent.walk(k, i + frames, frames, **path))


def test_a_loop_moves_evenly_across_its_seam():
    k = keys(5)
    film = [latent.walk(k, i, 50, loop=True) for i in range(50)]
    steps = [float((b - a).norm()) for a, b in zip(film, film[1:] + film[:1], strict=True)]
    assert min(steps) > 0.3 * max(steps)


@pytest.mark.parametrize("name", sorted(latent.EASINGS))
def test_easings_rise_from_0_to_1(name):
    values = [latent.EASINGS[name](i / 100) for i in range(101)]
    assert values[0] == 0
    assert values[-1] == pytest.approx(1)
    assert values == sorted(values)
    assert values[50] == pytest.approx(0.5)


def test_an_open_walk_passes_through_its_keys():
    k = keys(3)
    film = [latent.walk(k, i, 9, loop=False) for i in range(9)]
    for key, frame in enumerate((0, 4, 8)):
        assert torch.equal(film[frame], k[key])


def test_a_film_of_one_frame():
    assert torch.equal(latent.walk(keys(2), 0, 1, loop=False), keys(2)[0])
    assert torch.equal(latent.walk(keys(2), 0, 1, loop=True), keys(2)[0])


@given(st.sampled_from([16, 32, 64, 128, 256, 512, 2048]))
def test_batches_have_a_bounded_number_of_pixels(resolution):
    size = latent.batch_size_for(resolution)
    assert size == 1 or size * resolution**2 <= 1 << 18
    assert 1 <= size <= 64


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("sphere", [True, False])
def test_a_spline_passes_its_keys_without_a_corner(loop, sphere):
    k = keys(5)
    path = {"loop": loop, "interpolation": "spline", "sphere": sphere}
    frames = 5000 if loop else 4001
    for key in range(0 if loop else 1, 5 if loop else 4):
        at = 1000 * key
        assert torch.equal(latent.walk(k, at, frames, **path), k[key])
        before, now, after = (latent.walk(k.double(), at + step, frames, **path) for step in (-1, 0, 1))
        a, b = now - before, after - now
        assert float(torch.dot(a, b) / (a.norm() * b.norm())) > 0.999
    if sphere:
        lengths = [float(latent.walk(k, i, frames, **path).norm()) for i in range(0, 4000, 50)]
        assert min(lengths) > 0.9 * float(k.norm(dim=1).min())


def test_a_spline_through_equal_keys_stays_there():
    k = torch.stack([latent.latent(16, seed) for seed in (1, 1, 2)])
    assert torch.allclose(latent.spline(k, 0, 0.5, loop=True), k[0], atol=1e-3)
    assert bool(torch.isfinite(latent.spline(k, 1, 0.5, loop=False)).all())


def test_further_keys_change_no_earlier_stretch_of_a_spline():
    few, many = (latent.spline(keys(count), 1, 0.3, loop=False) for count in (4, 9))
    assert torch.equal(few, many)


@given(SIZES, st.integers(2, 20), st.booleans(), st.data())
def test_rests_are_as_long_as_told(frames, count, loop, data):
    hold = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    steps = frames if loop else frames - 1
    if sum(hold) >= steps:
        with pytest.raises(ValueError, match="held for"):
            latent.place(0, frames, count, loop=loop, hold=hold)
        return
    places = [latent.place(i, frames, count, loop=loop, hold=hold) for i in range(frames)]
    assert places == sorted(places)
    assert all(0 <= t < 1 for _, t in places)
    for key, held in enumerate(hold):
        assert sum(place == (key, 0.0) for place in places) >= held
    if loop:
        assert latent.place(frames + 3, frames, count, loop=True, hold=hold) == places[3 % frames]


@given(SIZES, st.integers(2, 20), st.booleans())
def test_rests_of_no_length_are_none(frames, count, loop):
    for i in (0, frames // 3, frames - 1):
        assert latent.place(i, frames, count, loop=loop, hold=[0] * count) == latent.place(i, frames, count, loop=loop)
