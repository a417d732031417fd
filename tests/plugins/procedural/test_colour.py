"""Palettes and noise against what is known of them."""

import numpy as np
import pytest

from genart_procedural._palettes import PALETTES
from genart_procedural.colour import Palette, from_oklab, named, of_picture, to_bytes, to_oklab
from genart_procedural.noise import SIDE, Noise, grid

#: From Ottosson's page, to four digits.
KNOWN = {
    "#ffffff": (1, 0, 0),
    "#ff0000": (0.6280, 0.2249, 0.1258),
    "#00ff00": (0.8664, -0.2339, 0.1795),
    "#0000ff": (0.4520, -0.0325, -0.3115),
}


@pytest.mark.parametrize("colour", KNOWN)
def test_oklab_of_known_colours(colour):
    lab = Palette.of((colour, "#000000")).lab
    assert lab[0] == pytest.approx(KNOWN[colour], abs=2e-4)
    assert lab[1] == pytest.approx((0, 0, 0), abs=1e-6)


def test_oklab_and_back():
    srgb = np.random.default_rng(0).uniform(size=(500, 3))
    assert np.allclose(from_oklab(to_oklab(srgb)), srgb, atol=1e-5)
    assert to_bytes(np.array([-1, 0.5, 2.0])).tolist() == [0, 128, 255]


@pytest.mark.parametrize("name", PALETTES)
def test_palettes_run_from_end_to_end(name):
    palette = named(name)
    ends = palette.along(np.array([-1.0, 0.0, 1.0, 2.0]))
    assert np.allclose(ends, palette.lab[[0, 0, -1, -1]])
    assert palette.along(np.linspace(0, 1, 7).reshape(7, 1)).shape == (7, 1, 3)
    low, high = palette.lab.min(0), palette.lab.max(0)
    ramp = palette.ramp()
    assert ((ramp >= low - 1e-9) & (ramp <= high + 1e-9)).all(), "the ramp overshoots"
    assert abs(palette.lab[-1, 0] - palette.ground[0]) > 0.5, "the ground does not stand out from the last colour"


def test_a_palette_of_a_picture_has_its_colours_in_order():
    colours = [(250, 245, 230), (230, 120, 60), (40, 90, 110), (20, 20, 30)]
    picture = np.repeat(np.array(colours, np.uint8), (60, 20, 15, 5), axis=0)[None].repeat(90, 0)
    palette = of_picture(picture, "x")
    assert np.allclose(from_oklab(palette.lab) * 255, colours, atol=1)
    dark = of_picture(255 - picture, "x")
    assert dark.ground[0] < dark.lab[-1, 0], "the ground is the end that fills more of the picture"


def test_a_palette_of_one_colour_and_of_many():
    assert of_picture(np.full((9, 9, 3), 77, np.uint8), "x").lab.shape == (2, 3)
    many = np.random.default_rng(3).integers(0, 256, (70, 300, 3), np.uint8)
    found = of_picture(many, "x")
    assert 3 <= len(found.lab) <= 6
    assert np.array_equal(found.lab, of_picture(many, "x").lab)
    assert np.hypot(*found.lab[:, 1:].T).max() > 0.06, "mud"


@pytest.mark.parametrize("octaves", [1, 5])
def test_noise_is_bounded_and_about_nothing(octaves):
    noise = Noise(np.random.default_rng(1), octaves)
    values = noise(np.linspace(0, 90, 700)[None], np.linspace(0, 90, 700)[:, None])
    assert values.dtype == np.float32
    assert values.shape == (700, 700)
    assert abs(values.mean()) < 0.05
    assert 0.25 < values.std() < 0.6
    assert np.quantile(np.abs(values), 0.995) < 1.25


def test_noise_vanishes_on_its_lattice_is_smooth_and_repeats():
    noise = Noise(np.random.default_rng(2))
    k = np.arange(20)
    assert np.allclose(noise(k, 3 * k), 0, atol=1e-6)
    x = np.linspace(0.3, 9.7, 4000)
    assert np.abs(np.diff(noise(x, 0.4 * x))).max() < 0.02
    assert np.allclose(noise(x, x), noise(x + SIDE, x - 2 * SIDE), atol=2e-3)
    assert not np.allclose(noise(x, x), Noise(np.random.default_rng(3))(x, x), atol=0.1)


def test_grid_has_the_middles_of_pixels_in_shorter_sides():
    x, y = grid((8, 4))
    assert x.shape == (1, 8)
    assert y.shape == (4, 1)
    assert (x[0, 0], x[0, -1], y[-1, 0]) == (0.125, 1.875, 0.875)
