"""What is drawn, against geometry: coverage, fields, cells, patterns and strokes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage import data

from genart.params import resolve
from genart_procedural import mosaic, procedural_strokes, reaction, strokes, warp
from genart_procedural.colour import Palette, named, to_linear
from genart_procedural.flow import Field, Look, Taken, draw, make_field, trace
from genart_procedural.sheet import Sheet, above

#: OpenCV fills every pixel that an edge touches, of which there are four in one of ours: shapes are so many pixels broader on each side.
FAT = 0.15
BLACK, WHITE = Palette.of(("#000000", "#ffffff")).lab


# the sheet


def cover(picture):
    """Share of each pixel that is white on black."""
    return to_linear(picture[..., 0] / 255)


def test_a_polygon_covers_its_area():
    sheet = Sheet((100, 100), BLACK)
    sheet.polygon(np.array([[0.1, 0.1], [0.7, 0.1], [0.7, 0.403], [0.1, 0.403]]), (255, 255, 255))
    picture = sheet.finish()
    assert cover(picture).sum() == pytest.approx(60 * 30.3, abs=180 * FAT)
    assert cover(picture)[40, 50] == pytest.approx(0.3 + FAT, abs=0.13), "the last row is covered in part"
    assert (picture[20, 20:60] == 255).all()
    assert picture[50:].max() == 0


def test_a_ribbon_covers_its_length_times_its_width():
    sheet = Sheet((200, 100), BLACK)
    angle = np.linspace(0, np.pi, 60)
    sheet.ribbon(np.stack([1 - 0.6 * np.cos(angle), 0.2 + 0.6 * np.sin(angle)], 1), np.full(60, 0.05), (255, 255, 255))
    expected = np.pi * 60 * 10 + np.pi * 5**2  # and two round ends
    assert cover(sheet.finish()).sum() == pytest.approx(expected, abs=2 * np.pi * 65 * FAT)


def test_a_ribbon_that_crosses_itself_has_no_hole():
    sheet = Sheet((100, 100), BLACK)
    t = np.linspace(0, 2 * np.pi, 90)
    line = np.stack([0.5 + 0.35 * np.sin(t), 0.5 + 0.3 * np.sin(2 * t)], 1)
    sheet.ribbon(line, np.full(90, 0.04), (255, 255, 255))
    assert (sheet.finish()[48:53, 48:53] == 255).all()


def test_above_has_antialiased_edges():
    ramp = np.linspace(0, 10, 101)[None].repeat(3, 0)
    assert above(ramp, 5.0)[1, 48:53] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)


# flow


def circles():
    cells = round(1.3 * 192)
    x = ((np.arange(cells) + 0.5) / 192 - 0.15)[None] - 0.5
    y = x.reshape(-1, 1)
    return Field(np.stack([-y + 0 * x, x + 0 * y], -1) / np.hypot(x, y)[..., None], (1.0, 1.0))


def test_lines_follow_the_field():
    starts = np.array([[0.5, 0.2], [0.9, 0.5]])
    lines = trace(circles(), starts, 0.005, 300)
    radii = np.hypot(*(lines - 0.5).transpose(2, 0, 1))
    assert np.allclose(radii[0], 0.3, atol=0.004)
    assert np.allclose(radii[1], 0.4, atol=0.004)
    back = trace(circles(), lines[:, -1], -0.005, 300)
    assert np.allclose(back[:, -1], starts, atol=0.004)


@pytest.mark.parametrize("kind", ["curl", "drift", "vortex"])
def test_fields_are_directions_that_change_smoothly(kind):
    field = make_field(kind, 0.6, (1.5, 1.0), np.random.default_rng(4))
    places = np.random.default_rng(5).uniform(0, 1, (400, 2)) * (1.5, 1)
    there = field.at(places)
    assert np.allclose(np.hypot(*there.T), 1, atol=1e-5)
    near = field.at(places + 0.002)
    assert np.quantile((there * near).sum(1), 0.05) > 0.99
    assert there.std(0).max() > 0.3


def test_a_place_is_taken_once():
    taken = Taken((1.0, 1.0))
    line = np.stack([np.linspace(0.2, 0.8, 50), np.full(50, 0.5)], 1)
    assert taken.free(line, 0.01).all()
    taken.take(line, 0.04)
    assert not taken.free(line, 0.01).any()
    assert not taken.free(line + np.array([0, 0.025]), 0.01).any()
    assert taken.free(line + np.array([0, 0.035]), 0.01).all()


def test_ribbons_leave_ground_between_them_and_density_fills_it():
    look = Look("curl", "ribbons", 0.7, 0.02, 1.0, 1.0, 0.0)
    full, sparse = (
        draw(replace(look, density=density), Palette("x", np.stack([BLACK, WHITE])), (96, 96), np.random.default_rng(6))
        for density in (1.0, 0.05)
    )
    assert 0.5 < cover(full).mean() < 0.92
    assert cover(sparse).mean() < 0.75 * cover(full).mean()


# mosaics


def energy(points, weight):
    height, width = weight.shape
    places = (np.mgrid[0:height, 0:width].reshape(2, -1)[::-1].T + 0.5) / min(weight.shape)
    return float((cKDTree(points).query(places)[0] ** 2 * weight.reshape(-1)).mean())


def test_relaxed_points_are_nearer_to_everything():
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1.5, (60, 80))
    points = rng.uniform(size=(40, 2)) * (80 / 60, 1)
    levels = [energy(mosaic.settle(points, weight, rounds), weight) for rounds in (0, 2, 12)]
    assert levels[0] > 1.2 * levels[1] > 1.2 * levels[2] * 0.9
    assert levels[2] < levels[1]


def test_points_lie_as_densely_as_asked():
    density = np.full((120, 120), 1.0)
    density[:, :60] = 5.0
    points = mosaic.dense(density, 600, np.random.default_rng(1))
    left = int((points[:, 0] < 0.5).sum())
    assert left / (600 - left) == pytest.approx(5, rel=0.2)


def test_cells_are_those_of_the_nearest_points():
    rng = np.random.default_rng(2)
    points, colours = mosaic.settle(rng.uniform(size=(30, 2)), np.ones((60, 60)), 3), np.linspace(0.1, 0.9, 30)[:, None] * (1, 0, 0)
    picture = mosaic._cells(points, colours, mosaic.Look("voronoi", 30, 0.0, 0.0), BLACK, (80, 80))
    places = (np.mgrid[0:80, 0:80].reshape(2, -1)[::-1].T + 0.5) / 80
    (near, second), owner = cKDTree(points).query(places, 2)[0].T, cKDTree(points).query(places)[1]
    inside = (second - near) * 80 > 2
    values = picture.reshape(-1, 3)[:, 0].astype(int)
    expected = np.array([np.median(values[inside & (owner == k)]) for k in range(30)])
    assert (np.diff(expected) > 0).all()
    assert np.array_equal(values[inside], expected[owner[inside]])


@pytest.mark.parametrize("shape", ["voronoi", "delaunay"])
def test_a_mosaic_without_joints_keeps_the_pictures_light_and_shows_no_ground(shape):
    photo = cv2.resize(data.astronaut(), (120, 90), interpolation=cv2.INTER_AREA)
    look, ground = mosaic.Look(shape, 150, 0.0, 0.0), Palette.of(("#00ff00",)).ground
    made = mosaic.of_photograph(photo, look, ground, 0.8, np.random.default_rng(0))
    assert np.allclose(to_linear(made / 255).mean((0, 1)), to_linear(photo / 255).mean((0, 1)), atol=0.02)
    assert not ((made[..., 1] > 200) & (made[..., 0] < 60)).any()
    flat = np.full((40, 40, 3), (90, 140, 200), np.uint8)
    assert np.abs(mosaic.of_photograph(flat, look, ground, 0.8, np.random.default_rng(0)).astype(int) - flat).max() <= 1


@pytest.mark.parametrize("shape", ["voronoi", "pebbles", "delaunay"])
def test_joints_show_the_ground(shape):
    flat = np.full((90, 90, 3), 255, np.uint8)
    shares = [
        cover(mosaic.of_photograph(flat, mosaic.Look(shape, 60, gap, 0.0), BLACK, 0.0, np.random.default_rng(0))).mean()
        for gap in (0.1, 0.3)
    ]
    assert 0.6 < shares[0] < 0.95
    assert shares[1] < shares[0] - 0.15


def touched(photo):
    """The same photograph with a small patch painted over in a corner."""
    other = photo.copy()
    other[:12, :38] = np.random.default_rng(7).integers(0, 256, (12, 38, 3))
    return other


def test_where_a_film_does_not_change_a_mosaic_keeps_its_points():
    photo = cv2.resize(data.coffee(), (180, 120), interpolation=cv2.INTER_AREA)
    size = mosaic.raster((180, 120), 400)
    before, after = (
        mosaic.steady(mosaic.detail_of(picture, 0.85, size), 400, np.random.default_rng(3)) for picture in (photo, touched(photo))
    )
    usual = np.sqrt(1.5 / 400)
    moved = cKDTree(after).query(before)[0] / usual
    assert np.median(moved[before[:, 0] > 0.75]) < 0.05
    assert (moved[before[:, 0] > 0.75] < 0.1).mean() > 0.6
    assert moved[(before < (0.3, 0.1)).all(1)].mean() > 0.1, "the patch itself does change"
    look = mosaic.Look("voronoi", 400, 0.1, 0.0)
    frames = [mosaic.of_photograph(picture, look, BLACK, 0.85, np.random.default_rng(3)).astype(int) for picture in (photo, touched(photo))]
    assert (np.abs(frames[1] - frames[0]).max(2)[:, 90:] > 16).mean() < 0.35


def test_points_of_a_film_lie_as_densely_as_those_of_a_picture():
    density = np.full((120, 120), 1.0)
    density[:, :60] = 5.0
    points = mosaic.steady(density, 600, np.random.default_rng(1))
    left = int((points[:, 0] < 0.5).sum())
    assert left / (600 - left) == pytest.approx(5, rel=0.2)
    assert len(mosaic.steady(np.ones((4, 5)), 30, np.random.default_rng(1))) == 30, "more points than places"


def test_detail_draws_points():
    picture = np.full((100, 200, 3), 128, np.uint8)
    picture[:, 100:] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    density = mosaic.detail_of(picture, 1.0, (100, 50))
    assert density[:, 60:].mean() > 10 * density[:, :40].mean()
    assert np.allclose(mosaic.detail_of(picture, 0.0, (100, 50)), 1)


# warped noise


def test_a_film_of_warped_noise_closes():
    look = warp.Look(0.5, 1.5, 4, 0, 0.5)
    frames = [warp.draw(look, named("ink"), (48, 48), np.random.default_rng(1), phase).astype(int) for phase in (0, 0.02, 0.5, 1.0)]
    assert np.array_equal(frames[0], frames[3])
    assert 0 < np.abs(frames[0] - frames[1]).mean() < 0.35 * np.abs(frames[0] - frames[2]).mean()


def test_bands_are_terraces():
    t = np.linspace(0, 1, 2001)[None].repeat(5, 0)
    terraces = warp._banded(t, 4)[2]
    steps = np.diff(terraces)
    assert (steps > -1e-9).all()
    assert (steps > 0.02).sum() <= 4 * 2
    assert terraces[[250, 750, 1250, 1750]] == pytest.approx([0.125, 0.375, 0.625, 0.875], abs=0.01)


# reaction and diffusion


def calm(pattern="coral", drift=0.0, side=48):
    return reaction.Reaction(reaction.Look(pattern, side, 100, drift, 0.0), (side, side), np.random.default_rng(3))


def test_a_step_is_that_of_the_equations():
    state = calm()
    u, v = state.u.astype(np.float64), state.v.astype(np.float64)
    feed, kill = reaction.PATTERNS["coral"]

    def laplacian(field):
        near = sum(np.roll(field, shift, axis) for shift in (1, -1) for axis in (0, 1))
        far = sum(np.roll(field, (a, b), (0, 1)) for a in (1, -1) for b in (1, -1))
        return 0.2 * near + 0.05 * far - field

    for _ in range(3):
        eaten = u * v * v
        u, v = u + laplacian(u) - eaten + feed * (1 - u), v + 0.5 * laplacian(v) + eaten - (feed + kill) * v
    state.advance(3)
    assert np.allclose(state.u, u, atol=1e-5)
    assert np.allclose(state.v, v, atol=1e-5)


@pytest.mark.parametrize("pattern", reaction.PATTERNS)
def test_every_pattern_lives_and_stays_within_bounds(pattern):
    state = calm(pattern, drift=0.6, side=96)
    state.advance(1500)
    assert state.v.max() > reaction.EDGE
    assert 0.01 < (state.v > reaction.EDGE).mean() < 0.99
    assert state.u.min() >= 0
    assert state.u.max() <= 1.001
    assert state.v.min() >= 0


# strokes


def manner(**params):
    return strokes.manner_of(resolve(procedural_strokes.params, "procedural.strokes", params))


def test_what_is_given_stands_instead_of_the_manners():
    assert manner(manner="expressionist").opacity == 0.7
    own = manner(manner="expressionist", opacity=0.4, length=2, brushes=[3])
    assert (own.opacity, own.longest, own.shortest, own.brushes, own.curvature) == (0.4, 2, 2, (3.0,), 0.25)


def test_a_spline_begins_and_ends_where_its_points_do_and_is_smooth():
    points = np.array([[0, 0], [10, 0], [10, 10], [20, 10], [20, 30]], np.float32)
    curve = strokes.spline(points)
    assert np.allclose(curve[[0, -1]], points[[0, -1]], atol=1e-4)
    assert np.allclose(strokes._basis(5).sum(1), 1, atol=1e-6)
    assert strokes._basis(5).min() >= 0, "it stays within its points"
    step = np.diff(curve, axis=0)
    turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0])[np.hypot(*step.T) > 1e-3])))
    assert turn.max() < 0.9
    assert np.array_equal(strokes.spline(points[:1]), points[:1])


def stripes():
    x = np.arange(64)
    grey = (127 + 100 * np.sin(x / 5)).astype(np.float32) / 255
    return np.repeat(np.repeat(grey[None, :, None], 64, 0), 3, 2)


def test_strokes_run_along_the_photographs_lines():
    picture = stripes()
    starts = np.array([[20, 30], [35, 20], [40, 40]])
    lines, lengths = strokes.trace(picture, np.zeros_like(picture), starts, 2.0, manner())
    assert (lengths > 5).all()
    for line, length in zip(lines, lengths, strict=True):
        assert np.ptp(line[:length, 0]) < 1.5
        assert np.ptp(line[:length, 1]) > 8


def test_strokes_without_curvature_are_straight_and_no_dots():
    picture = stripes() + np.linspace(0, 0.3, 64, dtype=np.float32)[:, None, None] ** 2
    starts = np.array([[20, 30], [35, 20], [40, 40]])
    lines, lengths = strokes.trace(picture, np.zeros_like(picture), starts, 2.0, manner(curvature=0.0))
    assert (lengths > 5).all()
    for line, length in zip(lines, lengths, strict=True):
        steps = np.diff(line[:length], axis=0)
        assert np.allclose(steps, steps[0], atol=1e-3)


def test_strokes_begin_where_the_canvas_is_wrong():
    reference = np.full((40, 40, 3), 0.5, np.float32)
    canvas = reference.copy()
    canvas[22:26, 9:13] = 1.0
    starts, cells = strokes.wanted(reference, canvas, 4.0, manner(threshold=0.1))
    assert len(starts)
    assert (starts >= (9, 22)).all()
    assert (starts < (13, 26)).all()
    assert cells.tolist() == [y // 4 * 10 + x // 4 for x, y in starts]
    for threshold in (0.2, 1.0):
        assert len(strokes.wanted(reference, None, 4.0, manner(threshold=threshold))[0]) == 100, "a bare canvas is painted everywhere"
    assert not len(strokes.wanted(reference, reference, 4.0, manner())[0])


def test_a_dab_covers_a_disc_and_opacity_lets_through():
    canvas, body = np.zeros((40, 40, 3), np.float32), np.zeros((40, 40), np.float32)
    brush = strokes.Brush(canvas, body, 6.0, 0.5)
    brush.stroke(np.array([[20.0, 20.0]]), np.ones(3), np.full(brush.bristles, 128))
    assert canvas[..., 0].sum() == pytest.approx(0.5 * np.pi * 36, abs=0.5 * 12 * np.pi * FAT)
    assert canvas.max() == pytest.approx(0.5, abs=0.01)


def test_finer_brushes_come_nearer_to_the_photograph():
    photo = cv2.resize(data.coffee(), (150, 100), interpolation=cv2.INTER_AREA)
    distance = [
        np.abs(
            strokes.paint(photo, manner(brushes=brushes, threshold=0.1, relief=0.0), np.random.default_rng(0)).astype(int) - photo
        ).mean()
        for brushes in ([32], [32, 12], [32, 12, 4])
    ]
    assert distance[0] > 1.15 * distance[1] > 1.15**2 * distance[2]
    assert distance[2] < 14


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({"manner": "impressionist"}, 0.03),
        ({"manner": "expressionist"}, 0.03),
        ({"manner": "pointillist"}, 0.01),
        ({"manner": "expressionist", "brushes": [16, 8], "threshold": 0.1}, 0.05),  # of which both have bristles
    ],
)
def test_where_a_film_does_not_change_its_strokes_stay(params, most):
    photo = cv2.resize(data.coffee(), (180, 120), interpolation=cv2.INTER_AREA)
    before, after = (strokes.paint(picture, manner(**params), np.random.default_rng(0)).astype(int) for picture in (photo, touched(photo)))
    change = np.abs(after - before).max(2)
    assert (change[:, 90:] > 8).mean() < most
    assert (change[:12, :38] > 8).mean() > 0.3, "the patch itself does change"
